import { expect, test } from "@jest/globals";
import { InterruptLine, type Ipa } from "../machine/index.ts";
import { functionName, IMAGE_LOAD_UID, OPTEE_SMC, SEC_CAP } from "../optee-abi/index.ts";
import { Bench, type BootOptions } from "./testkit/boot.ts";
import type { ScriptedWorld } from "./testkit/scripted-world.ts";

const { DYNAMIC_SHM, HAVE_RESERVED_SHM, RPC_ARG, ASYNC_NOTIF, PROTMEM, MEMREF_NULL } = SEC_CAP;
const EINVAL = -22;

const answering =
  (fid: number, ...words: number[]) =>
  (world: ScriptedWorld): void => {
    world.fast.set(fid, () => words);
  };

/** Names of the fast calls that a probe makes. */
function probing(options: BootOptions): string[] {
  const bench = new Bench(options);
  bench.probe();
  return bench.world.functions.filter((fid) => fid >= 0x8000_0000).map((fid) => functionName(fid));
}

const status = (options: BootOptions): number => new Bench(options).probe();

test("SMC-9.P1: a kernel built for it loads OP-TEE's image when EL3 still waits for one", () => {
  const image = Uint8Array.from({ length: 5000 }, (_, index) => index);
  const bench = new Bench({ kernel: { imageLoad: { image } } });
  let waiting = true;
  const { world } = bench;
  const ready = world.fast.get(OPTEE_SMC.CALLS_UID);
  world.fast.set(OPTEE_SMC.CALLS_UID, (r) => (waiting ? IMAGE_LOAD_UID : (ready?.(r) ?? [])));
  world.fast.set(OPTEE_SMC.LOAD_IMAGE, (registers) => {
    waiting = false;
    expect(registers.pair(1)).toBe(5000);
    expect(world.memory.read(registers.pair(3) as Ipa, 5000)).toEqual(image);
    return [0];
  });
  const free = bench.linux.kernel.pages.freePages;
  expect(bench.probe()).toBe(0);
  expect(world.functions.slice(0, 3).map((fid) => functionName(fid))).toEqual([
    "CALLS_UID",
    "LOAD_IMAGE",
    "CALLS_UID",
  ]);
  // Only the messages' page is left.
  expect(bench.linux.kernel.pages.freePages).toBe(free - 1);
});

test("SMC-9.P1: the call is made with zeros when there is no image, and its refusal ends the probe", () => {
  const asked: number[][] = [];
  const before = (world: ScriptedWorld): void => {
    world.fast.set(OPTEE_SMC.CALLS_UID, () => IMAGE_LOAD_UID);
    world.fast.set(OPTEE_SMC.LOAD_IMAGE, (registers) => {
      asked.push([1, 2, 3, 4].map((index) => registers.get(index)));
      return [5];
    });
  };
  expect(status({ before, kernel: { imageLoad: { image: undefined } } })).toBe(-2);
  expect(asked).toEqual([[0, 0, 0, 0]]);
  expect(status({ before, kernel: { imageLoad: { image: new Uint8Array(1) } } })).toBe(-5);
  // A kernel that is not built for it takes the UID for a stranger's.
  expect(status({ before })).toBe(EINVAL);
  expect(asked).toHaveLength(2);
});

test("SMC-9.P2, SMC-9.P3: a strange UID and a revision other than 2.x end the probe", () => {
  expect(status({ before: answering(OPTEE_SMC.CALLS_UID, 1, 2, 3, 4) })).toBe(EINVAL);
  for (const [major, expected] of [
    [1, EINVAL],
    [2, 0],
    [3, EINVAL],
  ] as const) {
    expect(status({ before: answering(OPTEE_SMC.CALLS_REVISION, major, 9) })).toBe(expected);
  }
});

test("SMC-9.P4: without an answer to GET_THREAD_COUNT there is no count", () => {
  expect(new Bench({}).probed().driver.facts.threadCount).toBe(0);
  expect(new Bench({ threads: 3 }).probed().driver.facts.threadCount).toBe(3);
});

test("SMC-9.P5: EXCHANGE_CAPABILITIES must succeed; a uniprocessor says so", () => {
  expect(status({ before: answering(OPTEE_SMC.EXCHANGE_CAPABILITIES, 7) })).toBe(EINVAL);
  for (const [cpus, a1] of [
    [1, 1],
    [4, 0],
  ] as const) {
    const { world } = new Bench({ kernel: { cpus } }).probed();
    const sent = world.sent.find((r) => r.get(0) === OPTEE_SMC.EXCHANGE_CAPABILITIES);
    expect(sent?.get(1)).toBe(a1);
  }
});

const facts = (capabilities: number): [number, number] => {
  const before = answering(OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, capabilities, 71, 0xffff_ff04);
  const found = new Bench({ capabilities, before }).probed().driver.facts;
  return [found.rpcParamCount, found.maxNotification];
};

test("SMC-9.P5: RPC parameters and the largest notification count only with their capabilities", () => {
  expect(facts(DYNAMIC_SHM)).toEqual([0, 255]);
  expect(facts(DYNAMIC_SHM | RPC_ARG)).toEqual([4, 255]);
  expect(facts(DYNAMIC_SHM | ASYNC_NOTIF)).toEqual([0, 71]);
});

const asks = (capabilities: number): boolean =>
  probing({ capabilities }).includes("GET_SHM_CONFIG");

test("SMC-9.P6: the reserved memory is asked for only without dynamic memory, and must be cached", () => {
  expect(asks(DYNAMIC_SHM | HAVE_RESERVED_SHM)).toBe(false);
  expect(asks(HAVE_RESERVED_SHM)).toBe(true);
  expect(asks(0)).toBe(false);
  expect(status({ capabilities: 0 })).toBe(EINVAL);
  const uncached = answering(OPTEE_SMC.GET_SHM_CONFIG, 0, 0x4000_0000, 0x1_0000, 0);
  expect(status({ capabilities: HAVE_RESERVED_SHM, before: uncached })).toBe(EINVAL);
  const absent = answering(OPTEE_SMC.GET_SHM_CONFIG, 7);
  expect(status({ capabilities: HAVE_RESERVED_SHM, before: absent })).toBe(EINVAL);
});

test("SMC-9.P7: the revision of the OS is for information only", () => {
  expect(new Bench().probed().driver.facts.version).toEqual({ major: 4, minor: 5 });
  const before = answering(OPTEE_SMC.GET_OS_REVISION, 0xffff_ffff);
  expect(status({ before })).toBe(0);
});

const enabled = (options: BootOptions): boolean => probing(options).includes("ENABLE_ASYNC_NOTIF");

test("SMC-9.P8, MSG-6.ASYNC_NOTIF: notifications are enabled with capability and interrupt, whatever the answer", () => {
  const notifications = new InterruptLine("test");
  const capabilities = DYNAMIC_SHM | ASYNC_NOTIF;
  expect(enabled({ capabilities, notifications })).toBe(true);
  expect(enabled({ capabilities })).toBe(false);
  expect(enabled({ notifications })).toBe(false);
  const before = answering(OPTEE_SMC.ENABLE_ASYNC_NOTIF, 7);
  expect(status({ capabilities, notifications, before })).toBe(0);
});

const range = (options: BootOptions): unknown =>
  new Bench(options).probed().driver.facts.protectedMemory;

test("SMC-9.P9, MSG-6.PROTMEM: protected memory is asked for with its capability, and may be missing", () => {
  const before = answering(OPTEE_SMC.GET_PROTMEM_CONFIG, 0, 0x8000_0000, 0x10_0000, 40);
  const capabilities = DYNAMIC_SHM | PROTMEM;
  expect(range({ capabilities, before })).toEqual({ base: 0x8000_0000, size: 0x10_0000 });
  expect(range({ capabilities })).toBeUndefined();
  expect(range({ before })).toBeUndefined();
});

test("SMC-9.P10, SMC-6.KEXEC: cookies that an earlier kernel left are thrown away unseen until none is left", () => {
  let left = 3;
  const before = (world: ScriptedWorld): void => {
    world.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, () => {
      left -= 1;
      return left < 0 ? [7] : [0, 0xdead, 0xbeef];
    });
  };
  expect(status({ before })).toBe(0);
  expect(left).toBe(-1);
});

test("SMC-9.P10, SMC-6.LOOP: a busy secure world keeps the driver waiting for another call of this kernel", () => {
  const before = answering(OPTEE_SMC.DISABLE_SHM_CACHE, 2);
  expect(() => status({ before })).toThrow(/optee call queue/);
});

test("SMC-9.P11, SMC-6.KEXEC: the cache is enabled only where RPC arguments do not come with the call", () => {
  expect(probing({ capabilities: DYNAMIC_SHM }).slice(-2)).toEqual([
    "DISABLE_SHM_CACHE",
    "ENABLE_SHM_CACHE",
  ]);
  expect(probing({ capabilities: DYNAMIC_SHM | RPC_ARG }).at(-1)).toBe("DISABLE_SHM_CACHE");
});

test("SMC-9.P1, SMC-9.P12: the whole order of a probe", () => {
  const capabilities = DYNAMIC_SHM | MEMREF_NULL | ASYNC_NOTIF | PROTMEM;
  const notifications = new InterruptLine("test");
  expect(
    probing({ capabilities, notifications, kernel: { imageLoad: { image: undefined } } }),
  ).toEqual([
    "CALLS_UID",
    "CALLS_UID",
    "CALLS_REVISION",
    "GET_THREAD_COUNT",
    "EXCHANGE_CAPABILITIES",
    "GET_OS_REVISION",
    "ENABLE_ASYNC_NOTIF",
    "GET_PROTMEM_CONFIG",
    "DISABLE_SHM_CACHE",
    "ENABLE_SHM_CACHE",
  ]);
});
