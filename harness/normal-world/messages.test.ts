import { expect, test } from "@jest/globals";
import { type Ipa, PAGE_SIZE, type Task } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  MSG_CMD,
  OPTEE_SMC,
  PAGE_LIST,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
  WORD,
} from "../optee-abi/index.ts";
import { Param, PARAM_ATTR } from "../tee-uapi/index.ts";
import { kernelCaller } from "./supplicant-queue.ts";
import { Bench } from "./testkit/boot.ts";
import { pagesOf, type Script, type ScriptedCall } from "./testkit/scripted-world.ts";

const { DYNAMIC_SHM, HAVE_RESERVED_SHM, RPC_ARG } = SEC_CAP;
const COMMUNICATION = { ret: TEEC.TEEC_ERROR_COMMUNICATION, origin: 2 };

/** A script that stays in the secure world for `turns` foreign interrupts. */
function* busy(turns: number): Script {
  for (let turn = 0; turn < turns; turn += 1) yield [SMC_RETURN.RPC_FOREIGN_INTR, 0, 0];
  return 0;
}

/** `count` invocations at once, each `turns` interrupts long; where their messages lay. */
function atOnce(bench: Bench, count: number, turns = 3): ScriptedCall[] {
  const calls: ScriptedCall[] = [];
  bench.world.onMessage = (call) => {
    if (call.message.cmd !== MSG_CMD.INVOKE_COMMAND) return undefined;
    calls.push(call);
    return busy(turns);
  };
  const tasks = Array.from({ length: count }, (_, index) =>
    bench.scheduler.spawn(`call ${index}`, bench.driver.invoke(index, 0, 0, [], kernelCaller())),
  );
  bench.scheduler.runUntil(() => tasks.every(({ finished }) => finished));
  for (const task of tasks) task.result();
  return calls;
}

test("SMC-9.BUFFERS_DYN_RPC_ARG: several messages share a registered page, 384 bytes apart", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG, threadLimit: 16 }).probed();
  const calls = atOnce(bench, 11, 100);
  expect(new Set(calls.map(({ entry }) => entry.get(0)))).toEqual(
    new Set([OPTEE_SMC.CALL_WITH_REGD_ARG]),
  );
  const offsets = calls.map(({ entry }) => entry.get(3));
  expect(offsets.slice(0, 10).toSorted((a, b) => a - b)).toEqual(
    Array.from({ length: 10 }, (_, index) => index * 384),
  );
  expect(bench.world.registered.size).toBe(2);
});

test("SMC-9.BUFFERS_DYN: a guest's messages lie alone at the start of zeroed pages", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  const calls = atOnce(bench, 3, 100);
  expect(calls.map(({ entry }) => entry.get(0))).toEqual(
    Array.from({ length: 3 }, () => OPTEE_SMC.CALL_WITH_ARG),
  );
  expect(calls.map(({ address }) => address % PAGE_SIZE)).toEqual([0, 0, 0]);
  expect(new Set(calls.map(({ address }) => address)).size).toBe(3);
  expect(bench.world.registered.size).toBe(0);
  for (const { address } of calls) {
    const rest = bench.world.memory.read((address + 224) as Ipa, PAGE_SIZE - 224);
    expect(rest.every((byte) => byte === 0)).toBe(true);
  }
});

test("SMC-9.BUFFERS_RESERVED_RPC_ARG, SMC-9.BUFFERS_RESERVED: without dynamic memory messages share the static pool", () => {
  for (const [capabilities, fid] of [
    [HAVE_RESERVED_SHM | RPC_ARG, OPTEE_SMC.CALL_WITH_RPC_ARG],
    [HAVE_RESERVED_SHM, OPTEE_SMC.CALL_WITH_ARG],
  ] as const) {
    const bench = new Bench({ capabilities }).probed();
    const calls = atOnce(bench, 3, 100);
    const { base, size } = bench.world.reserved;
    for (const { entry, address } of calls) {
      expect(entry.get(0)).toBe(fid);
      expect(address).toBeGreaterThanOrEqual(base);
      expect(address).toBeLessThan(base + size);
    }
    expect(new Set(calls.map(({ address }) => Math.floor(address / PAGE_SIZE))).size).toBe(1);
    expect(new Set(calls.map(({ address }) => address)).size).toBe(3);
  }
});

test("SMC-9.BUFFERS_REGISTER: messages about registration have a private page of their own", () => {
  for (const [capabilities, fid] of [
    [DYNAMIC_SHM | RPC_ARG, OPTEE_SMC.CALL_WITH_RPC_ARG],
    [DYNAMIC_SHM, OPTEE_SMC.CALL_WITH_ARG],
  ] as const) {
    const bench = new Bench({ capabilities }).probed();
    const seen: ScriptedCall[] = [];
    bench.world.onMessage = (call): undefined => {
      seen.push(call);
    };
    const { kernel } = bench.linux;
    const used = kernel.pages.usedPages;
    bench.run(
      (function* (): Task {
        const shm = yield* bench.driver.allocateShm(8192);
        if (shm === undefined) throw new Error("no memory");
        yield* bench.driver.releaseShm(shm);
      })(),
    );
    expect(seen.map(({ message }) => message.cmd)).toEqual([
      MSG_CMD.REGISTER_SHM,
      MSG_CMD.UNREGISTER_SHM,
    ]);
    for (const { entry, address } of seen) {
      expect([entry.get(0), address % PAGE_SIZE]).toEqual([fid, 0]);
      const registered = [...bench.world.registered.values()].flat();
      expect(registered).not.toContain(address);
    }
    expect(kernel.pages.usedPages).toBe(used);
  }
});

test("SMC-9.1: a message has at most 6 parameters, and the registers behind its address are 0", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  const counts: number[] = [];
  bench.world.onMessage = ({ message, entry }) => {
    counts.push(message.numParams);
    expect([3, 4, 5, 6, 7].map((index) => entry.get64(index))).toEqual([0n, 0n, 0n, 0n, 0n]);
    message.ret = 0;
    return 0;
  };
  const params = Array.from({ length: 4 }, () => ({
    param: new Param().set(PARAM_ATTR.VALUE_INPUT, 1, 2, 3),
    shm: undefined,
  }));
  const request = {
    uuid: new Uint8Array(16),
    clientUuid: new Uint8Array(16),
    login: 0,
    cancelId: 0,
  };
  bench.run(bench.driver.openSession(undefined, request, params, kernelCaller()));
  bench.invoke();
  expect(counts).toEqual([6, 0]);
});

test("SMC-9.2: with a known count the kernel runs no more calls at once, and none is turned away", () => {
  const bench = new Bench({ threads: 2 }).probed();
  let most = 0;
  const { world } = bench;
  const tasks = 6;
  world.onMessage = (call) => {
    if (call.message.cmd !== MSG_CMD.INVOKE_COMMAND) return undefined;
    most = Math.max(most, world.suspended + 1);
    return busy(3);
  };
  const running = Array.from({ length: tasks }, (_, index) =>
    bench.scheduler.spawn(`c${index}`, bench.driver.invoke(1, 0, 0, [], kernelCaller())),
  );
  bench.scheduler.runUntil(() => running.every(({ finished }) => finished));
  expect(most).toBe(2);
  expect(bench.driver.callsRunning).toBe(0);
});

test("SMC-9.2: without a count ETHREAD_LIMIT sends the same registers again after another call", () => {
  const bench = new Bench({ threadLimit: 1, capabilities: DYNAMIC_SHM }).probed();
  const from = bench.world.sent.length;
  expect(atOnce(bench, 3)).toHaveLength(3);
  const entries = bench.world.sent
    .slice(from)
    .filter((registers) => registers.get(0) === OPTEE_SMC.CALL_WITH_ARG)
    .map((registers) => registers.toArray().join(" "));
  // Three messages, two of them turned away at least once.
  expect(new Set(entries).size).toBe(3);
  expect(entries.length).toBeGreaterThan(4);
});

test("SMC-9.2: a call that is turned away while no other runs sleeps for ever", () => {
  const bench = new Bench({ threadLimit: 0, before: (world) => (world.onMessage = undefined) });
  expect(() => bench.probe()).toThrow(/optee call queue/);
});

test("SMC-9.3, MSG-2.4.TRANSPORT_FAILED: any other answer is COMMUNICATION from COMMS", () => {
  const bench = new Bench().probed();
  for (const a0 of [SMC_RETURN.EBUSY, 3, 4, 5, 6, 7, 0x1234, SMC_RETURN.UNKNOWN_FUNCTION]) {
    bench.world.onMessage = () => a0;
    expect(bench.invoke()).toEqual(COMMUNICATION);
  }
});

const result =
  (ret: number) =>
  ({ message }: ScriptedCall): number => {
    message.ret = ret;
    return 0;
  };

test("SMC-9.10: a registration that fails in any way is EINVAL, and its list is freed at once", () => {
  const bench = new Bench().probed();
  const { kernel } = bench.linux;
  const outcome = (answer: (call: ScriptedCall) => number | undefined): number => {
    bench.world.onMessage = answer;
    const shm = kernel.allocateShm(4096, undefined, 0);
    if (shm === undefined) throw new Error("no memory");
    const used = kernel.pages.usedPages;
    const status = bench.run(bench.driver.registerShm(shm));
    expect(kernel.pages.usedPages).toBe(used);
    kernel.freeShm(shm);
    return status;
  };
  expect(outcome(result(TEEC.TEEC_SUCCESS))).toBe(0);
  expect(outcome(result(TEEC.TEEC_ERROR_OUT_OF_MEMORY))).toBe(-22);
  expect(outcome(result(TEEC.TEEC_ERROR_BAD_PARAMETERS))).toBe(-22);
  expect(outcome(() => SMC_RETURN.EBADCMD)).toBe(-22);
});

test("SMC-9.10, MSG-5.KERNEL: a list whose entries fill its last page links to what lies behind", () => {
  const bench = new Bench().probed();
  const { kernel } = bench.linux;
  const seen: { attr: number; links: number[]; at: number; pages: number[] }[] = [];
  bench.world.onMessage = ({ message, world }) => {
    const at = message.number(0, WORD.buf_ptr);
    const size = message.number(0, WORD.size);
    const lists = Math.ceil(size / PAGE_SIZE / PAGE_LIST.entries);
    const links = Array.from({ length: lists }, (_, index) => {
      const page = world.memory.read((at + index * PAGE_SIZE) as Ipa, PAGE_SIZE);
      return Number(new DataView(page.buffer).getBigUint64(PAGE_LIST.link * 8, true));
    });
    seen.push({ attr: message.low(0, WORD.attr), links, at, pages: pagesOf(world, at, size) });
    message.ret = 0;
    return 0;
  };
  for (const pages of [510, 511, 512, 1022]) {
    const shm = kernel.allocateShm(pages * PAGE_SIZE, undefined, 0);
    if (shm === undefined) throw new Error("no memory");
    expect(bench.run(bench.driver.registerShm(shm))).toBe(0);
    expect(seen.at(-1)?.pages).toEqual(shm.span.pages);
    kernel.freeShm(shm);
  }
  expect(seen.map(({ attr }) => attr)).toEqual(Array.from(seen, () => ATTR_TMEM_OUTPUT_NONCONTIG));
  expect(seen.map(({ links, at }) => links.map((link) => (link === 0 ? 0 : link - at)))).toEqual([
    [0],
    [4096],
    [4096, 0],
    [4096, 8192],
  ]);
});

/** Words of a memory reference and of a NULL one on the wire. */
function words(capabilities: number): unknown[] {
  const bench = new Bench({ capabilities }).probed();
  const seen: unknown[] = [];
  bench.run(
    (function* (): Task {
      const shm = yield* bench.driver.allocateShm(8192);
      if (shm === undefined) throw new Error("no memory");
      const memref = { param: new Param().set(PARAM_ATTR.MEMREF_INOUT, 100, 50, 0), shm };
      const nothing = {
        param: new Param().setNullMemref(PARAM_ATTR.MEMREF_INPUT),
        shm: undefined,
      };
      bench.world.onMessage = ({ message }) => {
        const cookie = (BigInt(shm.cookieHigh) << 32n) | BigInt(shm.cookieLow);
        const page = BigInt(shm.span.pages[0] ?? 0);
        const first = message.big(0, WORD.a);
        seen.push(
          message.big(0, WORD.attr),
          first >= page ? first - page : first,
          message.big(0, WORD.size),
          message.big(0, WORD.shm_ref) === cookie,
          ...[WORD.attr, WORD.a, WORD.b, WORD.c].map((word) => message.big(1, word)),
        );
        return 0;
      };
      yield* bench.driver.invoke(1, 0, 0, [memref, nothing], kernelCaller());
    })(),
  );
  return seen;
}

test("MSG-5.KERNEL, MSG-5.NULL: dynamic memory goes by cookie, the pool's by address, NULL as zeros", () => {
  const nothing = [BigInt(ATTR_TYPE.TMEM_INPUT), 0n, 0n, 0n];
  const { RMEM_INOUT, TMEM_INOUT } = ATTR_TYPE;
  expect(words(DYNAMIC_SHM)).toEqual([BigInt(RMEM_INOUT), 100n, 50n, true, ...nothing]);
  expect(words(HAVE_RESERVED_SHM)).toEqual([BigInt(TMEM_INOUT), 100n, 50n, true, ...nothing]);
});

test("TEE-3.2, SMC-9.2: a system session keeps a thread for itself where there are several", () => {
  const bench = new Bench({ threads: 2 }).probed();
  expect(new Bench({ threads: 1 }).probed().driver.systemSession(1)).toBe(false);
  expect(new Bench().probed().driver.systemSession(1)).toBe(false);
  const { driver, scheduler, world } = bench;
  expect(driver.systemSession(9)).toBe(true);
  expect(driver.systemSession(9)).toBe(true);
  const order: number[] = [];
  world.onMessage = ({ message }) => {
    if (message.cmd !== MSG_CMD.INVOKE_COMMAND) return undefined;
    order.push(message.session);
    return busy(5);
  };
  const call = (session: number) =>
    scheduler.spawn(`s${session}`, driver.invoke(session, 0, 0, [], kernelCaller()));
  const ordinary = [call(1), call(2), call(3)];
  scheduler.runUntil(() => order.length === 1);
  const [first = 0] = order;
  const system = call(9);
  scheduler.runUntil(() => order.length === 2);
  // One ordinary call leaves the second thread alone; the system session takes it at once.
  expect(order).toEqual([first, 9]);
  scheduler.runUntil(() => [...ordinary, system].every(({ finished }) => finished));
  bench.run(driver.closeSession(9, kernelCaller()));
  order.length = 0;
  const both = [call(1), call(2)];
  scheduler.runUntil(() => order.length === 2);
  expect(world.suspended).toBe(2);
  scheduler.runUntil(() => both.every(({ finished }) => finished));
});
