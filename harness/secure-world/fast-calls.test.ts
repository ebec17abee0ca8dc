import { expect, test } from "@jest/globals";
import { OPTEE_SMC, SEC_CAP } from "../optee-abi/index.ts";
import { DEBIAN_4_5 } from "./build.ts";
import { secureCapabilities } from "./fast-calls.ts";
import { SecureKit } from "./testkit/kit.ts";

const UNKNOWN = 0xffff_ffff;
const MARKS = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66];

/** Low words of x0 to x7 with marks in x1 to x6. */
function fast(kit: SecureKit, fid: number, a7 = 0, marks = MARKS): number[] {
  const six = Array.from({ length: 6 }, (_, index) => marks[index] ?? 0);
  const registers = kit.smc(fid, ...six, a7);
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

test("SMC-3: the stock build answers as the real one did", () => {
  const kit = new SecureKit();
  const rest = [0x44, 0x55, 0x66, 0];
  expect(fast(kit, OPTEE_SMC.CALLS_COUNT)).toEqual([12, 0x11, 0x22, 0x33, ...rest]);
  expect(fast(kit, OPTEE_SMC.CALLS_UID)).toEqual([
    0x384fb3e0,
    0xe7f811e3,
    0xaf630002,
    0xa5d5c51b,
    ...rest,
  ]);
  expect(fast(kit, OPTEE_SMC.CALLS_REVISION)).toEqual([2, 0, 0x22, 0x33, ...rest]);
  expect(fast(kit, OPTEE_SMC.GET_OS_UUID)).toEqual([
    0x486178e0,
    0xe7f811e3,
    0xbc5e0002,
    0xa5d5c51b,
    ...rest,
  ]);
  expect(fast(kit, OPTEE_SMC.GET_OS_REVISION)).toEqual([4, 5, 0, 0x33, ...rest]);
  expect(fast(kit, OPTEE_SMC.GET_SHM_CONFIG)).toEqual([0, 0x42000000, 0x200000, 1, ...rest]);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, [0, 0, 0])).toEqual([
    0, 0xf5, 0x42, 4, 0, 0, 0, 0,
  ]);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, [0xffff]).slice(0, 2)).toEqual([7, 0xffff]);
  expect(fast(kit, OPTEE_SMC.GET_THREAD_COUNT)).toEqual([0, 2, 0x22, 0x33, ...rest]);
});

test("SMC-3: what is not built is an unknown function, with nothing else written", () => {
  const kit = new SecureKit({ build: { reservedShm: undefined, asyncNotif: false } });
  for (const fid of [
    OPTEE_SMC.GET_SHM_CONFIG,
    OPTEE_SMC.L2CC_MUTEX,
    OPTEE_SMC.ENABLE_ASYNC_NOTIF,
    OPTEE_SMC.GET_ASYNC_NOTIF_VALUE,
    OPTEE_SMC.GET_PROTMEM_CONFIG,
    OPTEE_SMC.VM_CREATED,
    OPTEE_SMC.VM_DESTROYED,
  ]) {
    expect(fast(kit, fid)).toEqual([UNKNOWN, ...MARKS, 0]);
  }
  expect(fast(kit, OPTEE_SMC.BOOT_SECONDARY)[0]).toBe(7);
});

test("SMC-3: the build id fills all 64 bits of a2", () => {
  const kit = new SecureKit({ build: { gitSha1: 0x1234_5678_9abc_def0n } });
  expect(kit.smc(OPTEE_SMC.GET_OS_REVISION).get64(2)).toBe(0x1234_5678_9abc_def0n);
});

test("SMC-3.1: each capability bit follows its build option", () => {
  const base = { ...DEBIAN_4_5, reservedShm: undefined, dynamicShm: false, asyncNotif: false };
  const none = { ...base, rpmbProbe: false };
  const always = SEC_CAP.MEMREF_NULL | SEC_CAP.RPC_ARG;
  expect(secureCapabilities(none)).toBe(always);
  const bits = {
    dynamicShm: SEC_CAP.DYNAMIC_SHM,
    asyncNotif: SEC_CAP.ASYNC_NOTIF,
    rpmbProbe: SEC_CAP.RPMB_PROBE,
    virtualization: SEC_CAP.VIRTUALIZATION,
  };
  for (const [option, bit] of Object.entries(bits)) {
    expect(secureCapabilities({ ...none, [option]: true })).toBe(always | bit);
  }
});

test("SMC-1: owners outside the trusted OS never reach it, and PSCI answers for itself", () => {
  const kit = new SecureKit();
  expect(kit.smc(0x8400_0000).get(0)).toBe(0x1_0001);
  expect(kit.smc(0x8100_0000).get64(0)).toBe(0xffff_ffff_ffff_ffffn);
});

test("SMC-6: the cache is empty at first, goes on, and switching it off says so at the end", () => {
  const kit = new SecureKit();
  expect(fast(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual([7, ...MARKS, 0]);
  expect(fast(kit, OPTEE_SMC.ENABLE_SHM_CACHE)).toEqual([0, ...MARKS, 0]);
  const without = new SecureKit({ build: { preallocRpcCache: false } });
  expect(fast(without, OPTEE_SMC.ENABLE_SHM_CACHE)[0]).toBe(0);
});

const virtualized = (): SecureKit => new SecureKit({ build: { virtualization: true } });

test("SMC-8.4: a client that was not announced gets ENOTAVAIL for every fast call", () => {
  const kit = virtualized();
  for (const fid of [OPTEE_SMC.CALLS_UID, OPTEE_SMC.GET_THREAD_COUNT, 0xb200_00ff]) {
    expect(fast(kit, fid, 1)).toEqual([7, ...MARKS, 1]);
  }
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0)[0]).toBe(0x384fb3e0);
  expect(fast(kit, OPTEE_SMC.CALLS_COUNT, 0)[0]).toBe(14);
});

test("SMC-8.1: an announced client is served, another is not", () => {
  const kit = virtualized();
  expect(fast(kit, OPTEE_SMC.VM_CREATED, 0, [1])[0]).toBe(0);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 1, [0]).slice(0, 4)).toEqual([
    0, 0xfd, 0x42, 4,
  ]);
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 6, [0])[0]).toBe(7);
});

test("SMC-8.2: partitions end where the memory for them does", () => {
  const kit = virtualized();
  const create = (id: number, a7 = 0): number | undefined =>
    fast(kit, OPTEE_SMC.VM_CREATED, a7, [id])[0];
  const destroy = (id: number, a7 = 0): number | undefined =>
    fast(kit, OPTEE_SMC.VM_DESTROYED, a7, [id])[0];
  expect([create(1), create(2), create(3)]).toEqual([0, 0, 7]);
  // Duplicate ids are not detected: they only need memory, and the newest hides the older.
  expect(destroy(2)).toBe(0);
  expect([create(1), create(4)]).toEqual([0, 7]);
  const newest = kit.world.partitions.select(1);
  expect(destroy(1)).toBe(0);
  expect(kit.world.partitions.select(1)).not.toBe(newest);
  expect(kit.world.partitions.select(1)).toBeDefined();
  // An id that is not known is destroyed with success, and only the hypervisor may ask.
  expect([destroy(99), destroy(1, 1), create(5, 1)]).toEqual([0, 7, 7]);
});

test("SMC-10: id 0 is refused since 4.5.0 and accepted before", () => {
  expect(fast(virtualized(), OPTEE_SMC.VM_CREATED, 0, [0])[0]).toBe(7);
  const old = new SecureKit({
    build: { virtualization: true, version: { major: 4, minor: 4 } },
  });
  expect(fast(old, OPTEE_SMC.VM_CREATED, 0, [0])[0]).toBe(0);
});

test("SMC-8.6: client ids that are equal modulo 65536 select one partition", () => {
  const kit = virtualized();
  fast(kit, OPTEE_SMC.VM_CREATED, 0, [0x1_0001]);
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0x7_0001)[0]).toBe(0x384fb3e0);
  expect(fast(kit, OPTEE_SMC.CALLS_UID, 0x1_0000)[0]).toBe(7);
});

test("SMC-8.7: notifications of no guest panic the core, and it stays dead", () => {
  const kit = virtualized();
  expect(() => fast(kit, OPTEE_SMC.ENABLE_ASYNC_NOTIF, 0)).toThrow(/panicked/);
  expect(() => fast(kit, OPTEE_SMC.CALLS_UID, 0)).toThrow(/panicked/);
});
