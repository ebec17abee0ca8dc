import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { isRpcReturn, OPTEE_SMC } from "../optee-abi/index.ts";
import { Registers } from "../machine/index.ts";
import type { OpteeBuild } from "./build.ts";
import { SecureKit } from "./testkit/kit.ts";

const UNKNOWN = 0xffff_ffff;
const MARKS = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66];
/** What comes back in x4 to x7. */
const REST = [0x44, 0x55, 0x66, 0];

/** Low words of x0 to x7 with marks in x1 to x6. */
function fast(kit: SecureKit, fid: number, a7 = 0, marks = MARKS): number[] {
  const six = Array.from({ length: 6 }, (_, index) => marks[index] ?? 0);
  const registers = kit.smc(fid, ...six, a7);
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

const virtualized = (build: Partial<OpteeBuild> = {}): SecureKit =>
  new SecureKit({ build: { virtualization: true, ...build } });
/** A kit with a thread that waits in an RPC, and that RPC's registers. */
function withBusyThread(): { kit: SecureKit; rpc: Registers } {
  const kit = new SecureKit({ interruptPending: () => true });
  const rpc = kit.start(kit.put({ cmd: 99 }));
  expect(isRpcReturn(rpc.get(0))).toBe(true);
  return { kit, rpc };
}

test("SMC-3.CALLS_COUNT: 12, and 14 with virtualization", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.CALLS_COUNT)).toEqual([12, 0x11, 0x22, 0x33, ...REST]);
  expect(fast(virtualized(), OPTEE_SMC.CALLS_COUNT)[0]).toBe(14);
});

test("SMC-3.CALLS_UID: the UID of the API in x0 to x3", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.CALLS_UID)).toEqual([
    0x384fb3e0,
    0xe7f811e3,
    0xaf630002,
    0xa5d5c51b,
    ...REST,
  ]);
});

test("SMC-3.CALLS_REVISION: 2.0 in x0 and x1", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.CALLS_REVISION)).toEqual([2, 0, 0x22, 0x33, ...REST]);
});

test("SMC-3.GET_OS_UUID: the UUID of OP-TEE in x0 to x3", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.GET_OS_UUID)).toEqual([
    0x486178e0,
    0xe7f811e3,
    0xbc5e0002,
    0xa5d5c51b,
    ...REST,
  ]);
});

test("SMC-3.GET_OS_REVISION, SMC-0.WIDTH: the version, and a build id of 64 bits in x2", () => {
  const build = { gitSha1: 0x1234_5678_9abc_def0n };
  expect(fast(new SecureKit(), OPTEE_SMC.GET_OS_REVISION)).toEqual([4, 5, 0, 0x33, ...REST]);
  expect(new SecureKit({ build }).smc(OPTEE_SMC.GET_OS_REVISION).get64(2)).toBe(build.gitSha1);
});

test("SMC-3.GET_SHM_CONFIG: address, size and that it is cached", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.GET_SHM_CONFIG)).toEqual([
    0,
    0x42000000,
    0x200000,
    1,
    ...REST,
  ]);
});

test("SMC-3.GET_SHM_CONFIG: an address above 4 GiB comes whole in x1", () => {
  const reservedShm = { base: 0x9_4200_0000, size: 0x20_0000 };
  const registers = new SecureKit({ build: { reservedShm } }).smc(OPTEE_SMC.GET_SHM_CONFIG);
  expect([registers.get64(1), registers.get64(2)]).toEqual([0x9_4200_0000n, 0x20_0000n]);
});

test.each<[string, number, Partial<OpteeBuild>]>([
  ["SMC-3.GET_SHM_CONFIG", OPTEE_SMC.GET_SHM_CONFIG, { reservedShm: undefined }],
  ["SMC-3.L2CC_MUTEX", OPTEE_SMC.L2CC_MUTEX, {}],
  ["SMC-3.ENABLE_ASYNC_NOTIF", OPTEE_SMC.ENABLE_ASYNC_NOTIF, { asyncNotif: false }],
  ["SMC-3.GET_ASYNC_NOTIF_VALUE", OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, { asyncNotif: false }],
  ["SMC-3.GET_PROTMEM_CONFIG", OPTEE_SMC.GET_PROTMEM_CONFIG, {}],
  ["SMC-3.VM_CREATED", OPTEE_SMC.VM_CREATED, {}],
  ["SMC-3.VM_DESTROYED", OPTEE_SMC.VM_DESTROYED, {}],
  ["SMC-1.LOAD_IMAGE", OPTEE_SMC.LOAD_IMAGE, {}],
])("%s: an unknown function where it is not built, with nothing else written", (_, fid, build) => {
  expect(fast(new SecureKit({ build }), fid)).toEqual([UNKNOWN, ...MARKS, 0]);
});

test("SMC-10.NOT_BUILT: the header promises ENOTAVAIL, UNKNOWN_FUNCTION is what comes back", () => {
  const kit = new SecureKit({ build: { reservedShm: undefined, asyncNotif: false } });
  const names = [
    "GET_SHM_CONFIG",
    "ENABLE_ASYNC_NOTIF",
    "GET_ASYNC_NOTIF_VALUE",
    "L2CC_MUTEX",
  ] as const;
  for (const name of names) expect(kit.smc(OPTEE_SMC[name]).get(0)).toBe(UNKNOWN);
});

test("SMC-3.L2CC_MUTEX: an AArch64 core knows none of its operations", () => {
  for (const operation of [0, 1, 2, 3, 4]) {
    expect(fast(new SecureKit(), OPTEE_SMC.L2CC_MUTEX, 0, [operation])[0]).toBe(UNKNOWN);
  }
});

test("SMC-3.EXCHANGE_CAPABILITIES: what the real build announced, and ENOTAVAIL for unknown bits", () => {
  const kit = new SecureKit();
  expect(fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, [0, 0x22, 0x33, 0x44, 0x55, 0x66])).toEqual([
    0,
    0xf5,
    0x42,
    4,
    ...REST,
  ]);
  expect(
    fast(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, [0xffff, 0x22, 0x33, 0x44, 0x55, 0x66]),
  ).toEqual([7, 0xffff, 0x22, 0x33, ...REST]);
});

test("SMC-3.ENABLE_SHM_CACHE, SMC-3.DISABLE_SHM_CACHE: on, and ENOTAVAIL once empty and off", () => {
  const kit = new SecureKit();
  expect(fast(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual([7, ...MARKS, 0]);
  expect(fast(kit, OPTEE_SMC.ENABLE_SHM_CACHE)).toEqual([0, ...MARKS, 0]);
});

test("SMC-3.ENABLE_SHM_CACHE, SMC-3.DISABLE_SHM_CACHE: EBUSY while a thread is in use", () => {
  const { kit, rpc } = withBusyThread();
  expect(fast(kit, OPTEE_SMC.ENABLE_SHM_CACHE)).toEqual([2, ...MARKS, 0]);
  expect(fast(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual([2, ...MARKS, 0]);
  kit.finish(rpc);
  expect(fast(kit, OPTEE_SMC.ENABLE_SHM_CACHE)[0]).toBe(0);
});

test("SMC-3.DISABLE_SHM_CACHE: the cookie's high word in a1, all of it in a2", () => {
  const kit = new SecureKit();
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE);
  const argument = { pages: undefined as never, cookieHigh: 0x1234, cookieLow: 0x5678_9abc };
  const [thread] = kit.world.partitions.all[0]?.threads ?? [];
  if (thread === undefined) throw new Error("no thread");
  thread.rpcArgument = { ...argument, registered: undefined };
  const registers = kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE);
  expect([0, 1].map((index) => registers.get64(index))).toEqual([0n, 0x1234n]);
  expect(registers.get64(2)).toBe(0x1234_5678_9abcn);
  expect(kit.words(OPTEE_SMC.DISABLE_SHM_CACHE)[0]).toBe(7);
});

test("SMC-3.BOOT_SECONDARY: ENOTAVAIL where PSCI starts the cores", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.BOOT_SECONDARY)).toEqual([7, ...MARKS, 0]);
});

test("SMC-3.BOOT_SECONDARY: built in, secondary cores are released and others are EBADCMD", () => {
  const kit = new SecureKit({ build: { bootSecondary: { cores: 4 } } });
  const boot = (core: number, a2 = 0): number | undefined =>
    fast(kit, OPTEE_SMC.BOOT_SECONDARY, 0, [core, a2, 0x4020_0000])[0];
  // a2 is not looked at.
  expect([boot(1), boot(3, 0xffff_ffff)]).toEqual([0, 0]);
  expect([boot(0), boot(4), boot(0xffff_ffff)]).toEqual([5, 5, 5]);
});

test("SMC-3.VM_CREATED: OK for 16 bits of id, ENOTAVAIL for another caller, id 0 and no memory", () => {
  const kit = virtualized();
  const create = (id: number, a7 = 0): number[] => fast(kit, OPTEE_SMC.VM_CREATED, a7, [id]);
  expect(create(1)).toEqual([0, 1, 0, 0, 0, 0, 0, 0]);
  expect(create(5, 1)[0]).toBe(7);
  expect([create(0)[0], create(0x7_0000)[0]]).toEqual([7, 7]);
  // The same id again needs memory and nothing else, and 16 bits are all that count.
  expect(create(0x1_0001)[0]).toBe(0);
  expect(create(2)[0]).toBe(7);
});

test("SMC-3.VM_DESTROYED: OK for any id, ENOTAVAIL for another caller", () => {
  const kit = virtualized();
  const destroy = (id: number, a7 = 0): number[] => fast(kit, OPTEE_SMC.VM_DESTROYED, a7, [id]);
  fast(kit, OPTEE_SMC.VM_CREATED, 0, [1]);
  expect(destroy(1, 1)[0]).toBe(7);
  expect(destroy(99)).toEqual([0, 99, 0, 0, 0, 0, 0, 0]);
  expect([destroy(1)[0], destroy(1)[0]]).toEqual([0, 0]);
});

test("SMC-3.GET_THREAD_COUNT: the threads of the build, and nothing else written", () => {
  expect(fast(new SecureKit(), OPTEE_SMC.GET_THREAD_COUNT)).toEqual([0, 2, 0x22, 0x33, ...REST]);
  expect(fast(new SecureKit({ build: { threads: 7 } }), OPTEE_SMC.GET_THREAD_COUNT)[1]).toBe(7);
});

test("SMC-3.ENABLE_ASYNC_NOTIF: OK where built, any number of times", () => {
  const kit = new SecureKit();
  expect(fast(kit, OPTEE_SMC.ENABLE_ASYNC_NOTIF)).toEqual([0, ...MARKS, 0]);
  expect(fast(kit, OPTEE_SMC.ENABLE_ASYNC_NOTIF)[0]).toBe(0);
});

test("SMC-3.GET_ASYNC_NOTIF_VALUE: a value with VALID, and PENDING while there is another", () => {
  const kit = new SecureKit();
  kit.smc(OPTEE_SMC.ENABLE_ASYNC_NOTIF);
  kit.world.raiseNotification(9);
  kit.world.raiseNotification(4);
  const read = (): number[] => fast(kit, OPTEE_SMC.GET_ASYNC_NOTIF_VALUE);
  expect(read()).toEqual([0, 4, 0b11, 0x33, ...REST]);
  expect(read().slice(0, 3)).toEqual([0, 9, 0b01]);
  expect(read().slice(0, 3)).toEqual([0, 0, 0b00]);
});

const config = (
  protectedMemory: NonNullable<OpteeBuild["protectedMemory"]>,
  minor = 9,
): Registers =>
  new SecureKit({ build: { version: { major: 4, minor }, protectedMemory } }).smc(
    OPTEE_SMC.GET_PROTMEM_CONFIG,
  );

test("SMC-3.GET_PROTMEM_CONFIG: region and address width, ENOTAVAIL without a region", () => {
  const region = { base: 0x9_6000_0000, size: 0x10_0000 };
  const found = config({ region });
  expect(found.get(0)).toBe(0);
  expect([found.get64(1), found.get64(2)]).toEqual([0x9_6000_0000n, 0x10_0000n]);
  expect(found.get(3)).toBeGreaterThanOrEqual(32);
  expect(config({ region: undefined }).get(0)).toBe(7);
  expect(config("lent").get(0)).toBe(UNKNOWN);
  expect(config({ region }, 8).get(0)).toBe(UNKNOWN);
});

/** Every fast call that leaves the secure world alive whatever its arguments. */
const FAST_CALLS = Object.values(OPTEE_SMC).filter((fid) => fid >= 0x8000_0000);

test("SMC-3.FAST: whatever its arguments, a fast call comes back at once and takes no thread", () => {
  const any = fc.tuple(
    fc.constantFrom(...FAST_CALLS),
    fc.array(fc.integer({ min: 0, max: 0xffff_ffff }), { minLength: 6, maxLength: 6 }),
  );
  const kit = new SecureKit({ interruptPending: () => true });
  fc.assert(
    fc.property(any, ([fid, args]) => {
      const a0 = kit.smc(fid, ...args).get(0);
      expect(isRpcReturn(a0)).toBe(false);
      const threads = kit.world.partitions.all.flatMap((partition) => partition.threads);
      expect(threads.filter(({ state }) => state !== "free")).toEqual([]);
    }),
  );
});

const mark = (index: number): bigint => 0xabcd_0000_0000_0000n + BigInt(index);

test("SMC-3.REGISTERS: what a fast call does not write comes back in 64 bits, x4 to x7 always", () => {
  const written: Record<string, number> = {
    CALLS_COUNT: 1,
    CALLS_UID: 4,
    CALLS_REVISION: 2,
    GET_OS_UUID: 4,
    GET_OS_REVISION: 3,
    GET_SHM_CONFIG: 4,
    L2CC_MUTEX: 1,
    DISABLE_SHM_CACHE: 1,
    ENABLE_SHM_CACHE: 1,
    BOOT_SECONDARY: 1,
    GET_THREAD_COUNT: 2,
    ENABLE_ASYNC_NOTIF: 1,
    GET_ASYNC_NOTIF_VALUE: 3,
  };
  for (const [name, count] of Object.entries(written)) {
    const registers = new Registers([OPTEE_SMC[name as keyof typeof OPTEE_SMC]]);
    for (let index = 1; index < 7; index += 1) registers.set64(index, mark(index));
    new SecureKit().world.smc(registers);
    for (let index = count; index < 7; index += 1) {
      expect([name, index, registers.get64(index)]).toEqual([name, index, mark(index)]);
    }
    expect(registers.get64(0)).toBeLessThan(0x1_0000_0000n);
  }
});

test("SMC-6: the cache is empty at first, goes on, and switching it off says so at the end", () => {
  const kit = new SecureKit();
  expect(fast(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual([7, ...MARKS, 0]);
  expect(fast(kit, OPTEE_SMC.ENABLE_SHM_CACHE)).toEqual([0, ...MARKS, 0]);
  const without = new SecureKit({ build: { preallocRpcCache: false } });
  expect(fast(without, OPTEE_SMC.ENABLE_SHM_CACHE)[0]).toBe(0);
});
