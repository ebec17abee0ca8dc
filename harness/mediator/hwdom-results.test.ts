import { expect, test } from "@jest/globals";
import { AccessRecorder, InterruptLine, type Ipa, type Pa, Registers } from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { createHwdomConduit } from "./hwdom.ts";
import { anonymous } from "./testkit/copied-memory.ts";
import { GUESTS, HEAP, ScriptedPort, finish, rpc } from "./testkit/scripted-port.ts";

const RAM = { base: GUESTS.base, size: 0x10_0000 };

/** The domain's a0 to a7 after a call that the secure world answers with `a0` and a mark in the rest. */
function answered(fid: number, a0: number): bigint[] {
  const port = new ScriptedPort();
  port.fast.set(fid, (registers) => {
    registers.set(0, a0);
    for (let index = 1; index < 8; index += 1) registers.set64(index, BigInt(index) << 40n);
  });
  const registers = new Registers([fid, 1, 2, 3, 4, 5, 6, 7]);
  createHwdomConduit(port, { ram: RAM }).smc(registers);
  return registers.toArray();
}

/** What the domain has then: the first `count` registers from the secure world, the others its own. */
const handed = (a0: number, count: number): bigint[] =>
  [0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n].map((own, index) => {
    if (index === 0) return BigInt(a0);
    return index < count ? BigInt(index) << 40n : own;
  });

test.each([
  ["CALLS_COUNT", 1],
  ["CALLS_UID", 4],
  ["CALLS_REVISION", 2],
  ["GET_OS_UUID", 4],
  ["GET_OS_REVISION", 3],
  ["GET_SHM_CONFIG", 4],
  ["EXCHANGE_CAPABILITIES", 4],
  ["DISABLE_SHM_CACHE", 3],
  ["ENABLE_SHM_CACHE", 1],
  ["GET_THREAD_COUNT", 2],
  ["ENABLE_ASYNC_NOTIF", 1],
  ["GET_ASYNC_NOTIF_VALUE", 3],
  ["GET_PROTMEM_CONFIG", 4],
] as const)("%s hands out %i registers when it succeeds, all 64 bits of each", (name, count) => {
  expect(answered(OPTEE_SMC[name], SMC_RETURN.OK)).toEqual(handed(SMC_RETURN.OK, count));
});

test.each([
  ["CALLS_UID", 4],
  ["CALLS_REVISION", 2],
  ["GET_OS_UUID", 4],
  ["GET_OS_REVISION", 3],
  ["EXCHANGE_CAPABILITIES", 1],
  ["DISABLE_SHM_CACHE", 1],
  ["GET_THREAD_COUNT", 1],
  ["GET_ASYNC_NOTIF_VALUE", 1],
  ["GET_PROTMEM_CONFIG", 1],
] as const)(
  "%s with an a0 of 7 hands out %i registers: a0 is its code or its data",
  (name, count) => {
    expect(answered(OPTEE_SMC[name], 7)).toEqual(handed(7, count));
  },
);

test("a GET_SHM_CONFIG that fails grants nothing", () => {
  const port = new ScriptedPort();
  port.fast.set(OPTEE_SMC.GET_SHM_CONFIG, (registers) => {
    registers.set(0, SMC_RETURN.ENOTAVAIL);
    registers.set64(1, BigInt(HEAP.base));
    registers.set64(2, 0x4000n);
  });
  const conduit = createHwdomConduit(port, { ram: RAM });
  conduit.smc(new Registers([OPTEE_SMC.GET_SHM_CONFIG]));
  expect(conduit.memory.page(HEAP.base as Ipa)).toBeUndefined();
});

test("the domain has the platform's interrupt of notifications where there is one", () => {
  const port = new ScriptedPort();
  expect(createHwdomConduit(port, { ram: RAM }).notifications).toBeUndefined();
  const line = new InterruptLine("notifications");
  const wired = Object.assign(new ScriptedPort(), { notifications: line });
  expect(createHwdomConduit(wired, { ram: RAM }).notifications).toBe(line);
});

test("no other call grants memory, whatever addresses it hands out", () => {
  const port = new ScriptedPort();
  const conduit = createHwdomConduit(port, { ram: RAM });
  for (const fid of [OPTEE_SMC.EXCHANGE_CAPABILITIES, OPTEE_SMC.GET_PROTMEM_CONFIG]) {
    port.fast.set(fid, (registers) => {
      registers.set(0, SMC_RETURN.OK);
      registers.set64(1, BigInt(HEAP.base));
      registers.set64(2, 0x4000n);
    });
    conduit.smc(new Registers([fid]));
  }
  expect(conduit.memory.page(HEAP.base as Ipa)).toBeUndefined();
});

test("a new call leaves suspended ones alone, and an RPC hands out no register after a3", () => {
  const port = new ScriptedPort();
  const conduit = createHwdomConduit(port, { ram: RAM });
  const call = (words: readonly number[]): number[] => {
    const registers = new Registers(words);
    conduit.smc(registers);
    return registers.toArray().map(Number);
  };
  port.steps.push((registers, secure) => {
    for (let index = 4; index < 8; index += 1) registers.set(index, 99);
    rpc(SMC_RETURN.RPC_FREE, 10, 11, 1)(registers, secure);
  });
  const first = call([OPTEE_SMC.CALL_WITH_ARG, 1, 2, 3, 4, 5, 6, 7]);
  expect(first).toEqual([SMC_RETURN.RPC_FREE, 10, 11, 1, 4, 5, 6, 7]);
  port.steps.push(finish(SMC_RETURN.OK), finish(SMC_RETURN.OK));
  call([OPTEE_SMC.CALL_WITH_ARG, 0, 0, 1]);
  expect(call([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 1])[0]).toBe(SMC_RETURN.OK);
});

test("only the owners of the trusted OS and of its API are served", () => {
  const port = new ScriptedPort();
  const conduit = createHwdomConduit(port, { ram: RAM });
  const reached = Array.from({ length: 64 }, (_, owner) => owner).filter((owner) => {
    port.seen.length = 0;
    const registers = new Registers([(0x8000_0000 | (owner << 24)) >>> 0, 9]);
    conduit.smc(registers);
    if (port.seen.length === 0)
      expect(registers.toArray().slice(0, 2)).toEqual([2n ** 64n - 1n, 9n]);
    return port.seen.length > 0;
  });
  expect(reached).toEqual([50, 63]);
});

test("RPCs hand out a0 to a3, and a resume that is an RPC again may be resumed again", () => {
  const port = new ScriptedPort();
  const conduit = createHwdomConduit(port, { ram: RAM });
  port.steps.push(rpc(SMC_RETURN.RPC_ALLOC, 8, 9, 1), rpc(SMC_RETURN.RPC_FREE, 10, 11, 1));
  const registers = new Registers([OPTEE_SMC.CALL_WITH_ARG, 1, 2, 3, 4, 5, 6, 7]);
  conduit.smc(registers);
  expect(registers.toArray().map(Number)).toEqual([SMC_RETURN.RPC_ALLOC, 8, 9, 1, 4, 5, 6, 7]);
  registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
  conduit.smc(registers);
  expect(registers.toArray().map(Number)).toEqual([SMC_RETURN.RPC_FREE, 10, 11, 1, 4, 5, 6, 7]);
});

test("the domain reaches its RAM to the last byte and not one more", () => {
  const conduit = createHwdomConduit(new ScriptedPort(), { ram: RAM });
  const end = RAM.base + RAM.size;
  const { memory } = conduit;
  memory.write((end - 4) as Ipa, Uint8Array.of(1, 2, 3, 4));
  expect(memory.read((end - 4) as Ipa, 4)).toEqual(Uint8Array.of(1, 2, 3, 4));
  expect(memory.read(RAM.base as Ipa, 1)).toEqual(Uint8Array.of(0));
  expect(memory.page((end - 1) as Ipa)).toBeDefined();
  for (const [at, length] of [
    [RAM.base - 1, 1],
    [RAM.base - 1, 4],
    [end - 3, 4],
    [end, 1],
    [0, 0x1000],
  ] as const) {
    const why = new RangeError(`0x${at.toString(16)} is not memory of the hardware domain`);
    expect(() => memory.read(at as Ipa, length)).toThrow(why);
    expect(() => memory.write(at as Ipa, new Uint8Array(length))).toThrow(why);
  }
  expect(memory.page((RAM.base - 1) as Ipa)).toBeUndefined();
  expect(memory.page(end as Ipa)).toBeUndefined();
});

test("the domain's accesses are attributed to it, what it reports as changed included", () => {
  const port = new ScriptedPort();
  const recorder = new AccessRecorder();
  port.sparse.probe = recorder.probe;
  const { memory } = createHwdomConduit(port, { ram: RAM });
  memory.write(RAM.base as Ipa, Uint8Array.of(1));
  memory.dirty((RAM.base + 8) as Ipa, 2);
  expect(recorder.touching(RAM.base as Pa, 16, "write", "hwdom")).toHaveLength(2);
});

test("memory that cannot attribute accesses will do", () => {
  const port = new ScriptedPort(undefined, anonymous);
  const { memory } = createHwdomConduit(port, { ram: RAM });
  memory.write(RAM.base as Ipa, Uint8Array.of(5));
  expect(memory.read(RAM.base as Ipa, 1)).toEqual(Uint8Array.of(5));
});
