import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { Registers } from "../machine/index.ts";
import { isRpcReturn, OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { openMessage, SecureKit } from "./testkit/kit.ts";

const ALL_ONES = 0xffff_ffff_ffff_ffffn;
const UID = 0x384fb3e0;

/** x0 to x7 in 64 bits after an SMC with these. */
function smc64(kit: SecureKit, ...values: readonly bigint[]): bigint[] {
  const registers = new Registers();
  for (const [index, value] of values.entries()) registers.set64(index, value);
  kit.world.smc(registers);
  return registers.toArray();
}

test("SMC-11.1: owners 50 to 63 reach OP-TEE, all others end at EL3 with all ones in 64 bits", () => {
  const kit = new SecureKit();
  for (let owner = 0; owner < 64; owner += 1) {
    for (const type of [0x8000_0000, 0]) {
      const fid = (type | (owner << 24) | 0x1234) >>> 0;
      const [a0] = smc64(kit, BigInt(fid));
      // OP-TEE does not know the function either, and says so in 32 bits or by EBADCMD.
      const optee = type === 0 ? BigInt(SMC_RETURN.EBADCMD) : BigInt(SMC_RETURN.UNKNOWN_FUNCTION);
      expect([owner, type, a0]).toEqual([owner, type, owner < 50 ? ALL_ONES : optee]);
    }
  }
});

test("SMC-11.1: what is EL3's own is answered there", () => {
  expect(new SecureKit().smc(0x8400_0000).get(0)).toBe(0x1_0001);
});

test("SMC-1.UNASSIGNED: functions 5 and 6 and all of owner 62 are unknown", () => {
  const kit = new SecureKit();
  const unassigned = [0xb200_0005, 0xb200_0006, 0xbe00_0000, 0xbe00_0001, 0xbe00_0007];
  for (const fid of unassigned) expect(kit.smc(fid).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
  const table: readonly number[] = Object.values(OPTEE_SMC);
  expect(unassigned.filter((fid) => table.includes(fid))).toEqual([]);
});

test("SMC-1.FID: EL3 takes the hint in bit 16 out of a function id and refuses fast calls with bits 23 to 17", () => {
  const kit = new SecureKit();
  expect(kit.smc(0xbf01_ff01).get(0)).toBe(UID);
  for (let bit = 17; bit < 24; bit += 1) {
    expect(smc64(kit, BigInt(0xbf00_ff01 + 2 ** bit))[0]).toBe(ALL_ONES);
    expect(kit.smc(OPTEE_SMC.CALL_WITH_ARG + 2 ** bit).get(0)).toBe(SMC_RETURN.EBADCMD);
  }
  // The argument is nowhere: so this is CALL_WITH_ARG.
  expect(kit.smc(OPTEE_SMC.CALL_WITH_ARG + 2 ** 16, 0, 1).get(0)).toBe(SMC_RETURN.EBADADDR);
});

test("SMC-3.EXCHANGE_CAPABILITIES: the upper half of x1 is not looked at", () => {
  const kit = new SecureKit();
  for (const [bits, a0] of [
    [1n << 40n, 0n],
    [(1n << 40n) + 1n, 0n],
    [(1n << 40n) + 2n, 7n],
  ] as const) {
    expect(smc64(kit, BigInt(OPTEE_SMC.EXCHANGE_CAPABILITIES), bits)[0]).toBe(a0);
  }
});

test("SMC-11.2: the function id is cut to 32 bits, x7 arrives whole", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  expect(smc64(kit, 0xdead_beef_bf00_ff01n)[0]).toBe(BigInt(UID));
  // x7 decides which guest it is; one that only differs above bit 31 is not the hypervisor.
  const created = (a7: bigint): bigint | undefined =>
    smc64(kit, BigInt(OPTEE_SMC.VM_CREATED), 1n, 0n, 0n, 0n, 0n, 0n, a7)[0];
  expect([created(1n << 32n), created(0n)]).toEqual([7n, 0n]);
  expect(smc64(kit, BigInt(OPTEE_SMC.CALLS_UID), 0n, 0n, 0n, 0n, 0n, 0n, 1n)[0]).toBe(BigInt(UID));
});

test("SMC-11.2: x1, x2, x4 and x5 of a resume are the reply to the RPC", () => {
  const kit = new SecureKit();
  const ta = [...kit.images.keys()][0] ?? "";
  expect(ta).not.toBe("");
  const registers = kit.start(kit.put(openMessage(ta)));
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_ALLOC);
  registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
  const page = kit.page();
  registers.setPair(1, page);
  registers.set(4, 0x1234);
  registers.set(5, 0x5678);
  kit.world.smc(registers);
  expect([0, 1, 2].map((index) => registers.get(index))).toEqual([
    SMC_RETURN.RPC_CMD,
    0x1234,
    0x5678,
  ]);
  expect(kit.get(page).cmd).toBeGreaterThan(0);
});

test("SMC-11.3: x4 to x7 keep the caller's 64 bits on every return", () => {
  const kit = new SecureKit({ interruptPending: () => true });
  const quad = fc.bigInt({ min: 0n, max: ALL_ONES });
  const fids = fc.constantFrom(
    OPTEE_SMC.CALLS_UID,
    OPTEE_SMC.GET_OS_REVISION,
    OPTEE_SMC.CALL_WITH_ARG,
    OPTEE_SMC.RETURN_FROM_RPC,
    0x8400_0000,
    0x8100_0000,
  );
  fc.assert(
    fc.property(fids, fc.array(quad, { minLength: 7, maxLength: 7 }), (fid, args) => {
      expect(smc64(kit, BigInt(fid), ...args).slice(4)).toEqual(args.slice(3));
    }),
  );
});

test("SMC-11.3: a yielding call returns 32-bit values in x0 to x3, a fast one 64-bit values", () => {
  const kit = new SecureKit({ build: { gitSha1: 0x1234_5678_9abc_def0n } });
  const high = 0xffff_ffff_0000_0000n;
  const at = BigInt(kit.put({ cmd: 99 }));
  const call = BigInt(OPTEE_SMC.CALL_WITH_ARG);
  expect(smc64(kit, call | high, high, at | high, high).slice(0, 4)).toEqual([5n, 0n, 0n, 0n]);
  expect(smc64(kit, BigInt(OPTEE_SMC.GET_OS_REVISION))[2]).toBe(0x1234_5678_9abc_def0n);
});

test("SMC-0.WIDTH: a yielding call uses the low 32 bits of every register", () => {
  const kit = new SecureKit();
  const at = kit.put({ cmd: 99 });
  const high = 0xabcd_ef01_0000_0000n;
  const [a0] = smc64(
    kit,
    BigInt(OPTEE_SMC.CALL_WITH_ARG),
    high,
    BigInt(at) | high,
    high,
    high,
    high,
    high,
    high,
  );
  expect(a0).toBe(BigInt(SMC_RETURN.EBADCMD));
});

test("SMC-11.4: an interrupted call comes back to its caller, and nobody else goes on with it", () => {
  let pending = true;
  const kit = new SecureKit({ interruptPending: () => pending });
  const registers = kit.start(kit.put({ cmd: 99 }));
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
  pending = false;
  const suspended = (): number =>
    kit.world.partitions.all
      .flatMap(({ threads }) => threads)
      .filter(({ state }) => state === "suspended").length;
  expect(suspended()).toBe(1);
  // Other calls come and go meanwhile.
  kit.smc(OPTEE_SMC.CALLS_UID);
  expect(kit.call({ cmd: 98 }).a0).toBe(SMC_RETURN.EBADCMD);
  expect(suspended()).toBe(1);
  kit.serve(registers);
  expect(isRpcReturn(registers.get(0))).toBe(false);
  expect(suspended()).toBe(0);
});
