import { expect, test } from "@jest/globals";
import { type Ipa, Registers } from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { createHwdomConduit } from "./hwdom.ts";
import { GUESTS, HEAP, ScriptedPort, finish, rpc } from "./testkit/scripted-port.ts";

const RAM = { base: GUESTS.base, size: 0x10_0000 };
const SHM = { base: HEAP.base, size: 0x4000 };

/** The hardware domain of an OP-TEE without virtualization, static shared memory included. */
function hwdom() {
  const port = new ScriptedPort();
  port.fast.set(OPTEE_SMC.VM_CREATED, (registers) => registers.setAllOnes(0));
  port.fast.set(OPTEE_SMC.GET_SHM_CONFIG, (registers) => {
    registers.set(0, SMC_RETURN.OK);
    registers.set64(1, BigInt(SHM.base));
    registers.set(2, SHM.size);
    registers.set(3, 1);
  });
  const conduit = createHwdomConduit(port, { ram: RAM });
  const smc = (words: readonly number[]): Registers => {
    const registers = new Registers(words);
    conduit.smc(registers);
    return registers;
  };
  return { port, conduit, smc };
}

test("every call of the hardware domain carries its client id in the last register", () => {
  const { port, smc } = hwdom();
  smc([OPTEE_SMC.CALLS_UID, 1, 2, 3, 4, 5, 6, 0x77]);
  port.steps.push(finish(SMC_RETURN.OK));
  smc([OPTEE_SMC.CALL_WITH_ARG, 0, 0x1000, 1, 4, 5, 6, 0x77]);
  expect(port.seen).toEqual([
    [OPTEE_SMC.CALLS_UID, 1, 2, 3, 4, 5, 6, 1],
    [OPTEE_SMC.CALL_WITH_ARG, 0, 0x1000, 1, 4, 5, 6, 1],
  ]);
});

test("SMC-1.FID: EL3 would take one function for another where reserved bits are set, so none goes through", () => {
  const { port, smc } = hwdom();
  for (let bit = 16; bit < 24; bit += 1) {
    for (const fid of [OPTEE_SMC.BOOT_SECONDARY, OPTEE_SMC.RETURN_FROM_RPC, OPTEE_SMC.CALLS_UID]) {
      const registers = smc([fid + 2 ** bit, 1, 2, 3]);
      expect(registers.toArray().slice(0, 4)).toEqual([0xffff_ffff_ffff_ffffn, 1n, 2n, 3n]);
    }
  }
  expect(port.seen).toEqual([]);
});

test("a successful call hands out its results and the domain's other registers stay", () => {
  const { smc } = hwdom();
  const registers = smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, 2, 3, 4, 5, 6, 7]);
  expect(registers.toArray()).toEqual([0, 0xdd, 77, 4, 4, 5, 6, 7].map(BigInt));
  const revision = smc([OPTEE_SMC.GET_OS_REVISION, 1, 2, 3, 4, 5, 6, 7]);
  expect(revision.toArray()).toEqual([4n, 5n, 0x1234_5678_9abc_def0n, 3n, 4n, 5n, 6n, 7n]);
});

test("an error hands out its code alone: no leftover of the secure world's registers", () => {
  const { port, smc } = hwdom();
  port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
    for (const index of [0, 1, 2, 3]) registers.set(index, SMC_RETURN.ENOTAVAIL + index * 16);
  });
  expect(smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 1, 2, 3]).toArray().slice(0, 4)).toEqual([
    7n,
    1n,
    2n,
    3n,
  ]);
  port.steps.push((registers) => {
    for (const index of [0, 1, 2, 3]) registers.set(index, 0x40 + index);
  });
  expect(smc([OPTEE_SMC.CALL_WITH_ARG, 8, 9, 10]).toArray().slice(0, 4)).toEqual([
    0x40n,
    8n,
    9n,
    10n,
  ]);
});

test("static shared memory is granted to the domain, which may touch it from then on", () => {
  const { conduit, smc } = hwdom();
  const at = SHM.base as Ipa;
  expect(() => conduit.memory.read(at, 16)).toThrow(RangeError);
  expect(conduit.memory.page(at)).toBeUndefined();
  const registers = smc([OPTEE_SMC.GET_SHM_CONFIG]);
  expect(registers.get64(1)).toBe(BigInt(SHM.base));
  conduit.memory.write(at, Uint8Array.of(1, 2, 3));
  expect(conduit.memory.read(at, 3)).toEqual(Uint8Array.of(1, 2, 3));
  const page = conduit.memory.page(at);
  page?.fill(9);
  conduit.memory.dirty(at, 4096);
  expect(conduit.memory.read(at, 1)).toEqual(Uint8Array.of(9));
  expect(() => conduit.memory.write((SHM.base + SHM.size) as Ipa, Uint8Array.of(1))).toThrow(
    RangeError,
  );
  expect(() => conduit.memory.read((RAM.base + RAM.size - 1) as Ipa, 2)).toThrow(RangeError);
});

test("the domain may not manage other clients nor boot anything", () => {
  const { port, smc } = hwdom();
  for (const name of ["VM_CREATED", "VM_DESTROYED", "BOOT_SECONDARY", "LOAD_IMAGE"] as const) {
    expect(smc([OPTEE_SMC[name], 5]).toArray().slice(0, 2)).toEqual([0xffff_ffff_ffff_ffffn, 5n]);
  }
  expect(smc([0x8400_0000]).get64(0)).toBe(0xffff_ffff_ffff_ffffn);
  expect(port.seen).toEqual([]);
});

test("a resume is passed on only for a thread that this domain has suspended, and once", () => {
  const { port, smc } = hwdom();
  expect(smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0]).get(0)).toBe(SMC_RETURN.ERESUME);
  port.steps.push(rpc(SMC_RETURN.RPC_CMD, 1, 2, 3));
  expect(smc([OPTEE_SMC.CALL_WITH_ARG]).toArray().slice(0, 4)).toEqual([
    BigInt(SMC_RETURN.RPC_CMD),
    1n,
    2n,
    3n,
  ]);
  expect(smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 4]).get(0)).toBe(SMC_RETURN.ERESUME);
  port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0xaa, 0xbb, 3), finish(SMC_RETURN.OK));
  expect(smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 3]).toArray().slice(0, 4)).toEqual([
    BigInt(SMC_RETURN.RPC_FOREIGN_INTR),
    0n,
    0n,
    3n,
  ]);
  expect(smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 3]).get(0)).toBe(SMC_RETURN.OK);
  expect(smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 3]).get(0)).toBe(SMC_RETURN.ERESUME);
});

test("another client id can be given, as the host of a virtualized OP-TEE has one", () => {
  const port = new ScriptedPort();
  const conduit = createHwdomConduit(port, { ram: RAM, clientId: 1234 });
  conduit.smc(new Registers([OPTEE_SMC.CALLS_COUNT]));
  expect(port.last[7]).toBe(1234);
  expect(conduit).toMatchObject({ kind: "hwdom", ram: RAM });
});
