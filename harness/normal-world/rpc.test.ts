import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { type Ipa, PAGE_SIZE, sleep, type Task } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  RPC_CMD,
  SEC_CAP,
  SHM_TYPE,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import { kernelCaller } from "./supplicant-queue.ts";
import { Bench } from "./testkit/boot.ts";
import { inSecureWorld, rpc, VALUE_IN, VALUE_INOUT, VALUE_OUT } from "./testkit/rpc.ts";
import type { RpcReply, Script, ScriptedCall } from "./testkit/scripted-world.ts";

const { DYNAMIC_SHM, HAVE_RESERVED_SHM, RPC_ARG } = SEC_CAP;
const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const RMEM_INOUT = ATTR_TYPE.RMEM_INOUT;

test("SMC-9.4, SMC-5.ALLOC: RPC ALLOC gives a private page and its pointer as cookie, or four zeros", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM, ramSize: 128 * 1024 }).probed();
  const { kernel } = bench.linux;
  bench.invoke();
  const used = kernel.pages.usedPages;
  const replies = bench.run(
    inSecureWorld(bench, function* exhaust(): Script<number[][]> {
      const given: number[][] = [];
      for (;;) {
        const reply = yield [SMC_RETURN.RPC_ALLOC, 160, 0];
        given.push([1, 2, 4, 5].map((index) => reply.get(index)));
        if (reply.pair(1) === 0) break;
      }
      for (const [, , high = 0, low = 0] of given.slice(0, -1)) {
        yield [SMC_RETURN.RPC_FREE, high, low];
      }
      return given;
    }),
  );
  expect(replies.length).toBeGreaterThan(5);
  for (const [high, low = 1, cookie] of replies.slice(0, -1)) {
    expect([high, low % PAGE_SIZE, cookie]).toEqual([0, 0, 0xffff_0000]);
  }
  expect(new Set(replies.map((reply) => reply.join())).size).toBe(replies.length);
  expect(replies.at(-1)).toEqual([0, 0, 0, 0]);
  expect(kernel.pages.usedPages).toBe(used);
});

test("SMC-9.4: without dynamic memory RPC ALLOC takes pages of the reserved pool", () => {
  const bench = new Bench({ capabilities: HAVE_RESERVED_SHM }).probed();
  const at = bench.run(
    inSecureWorld(bench, function* allocate(): Script {
      return (yield [SMC_RETURN.RPC_ALLOC, 160, 0]).pair(1);
    }),
  );
  expect(at).toBeGreaterThanOrEqual(bench.world.reserved.base);
});

test("SMC-9.5: a cookie that is no pointer to shared memory crashes the kernel", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  const crash = (registers: readonly number[]): void => {
    bench.run(
      inSecureWorld(bench, function* bad(): Script {
        yield registers;
        return 0;
      }),
    );
  };
  expect(() => crash([SMC_RETURN.RPC_CMD, 0, 0])).toThrow(/Linux crashed: RPC CMD/);
  const other = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  const free = inSecureWorld(other, function* bad(): Script {
    yield [SMC_RETURN.RPC_FREE, 0xffff_0000, 0x1234];
    return 0;
  });
  expect(() => other.run(free)).toThrow(/Linux crashed: RPC FREE/);
});

test("SMC-9.6, MSG-3.SHM_ALLOC, MSG-3.SHM_TYPES: kernel memory is whole pages in a list; other types are refused", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG }).probed();
  const { kernel } = bench.linux;
  bench.invoke();
  const used = kernel.pages.usedPages;
  bench.run(
    inSecureWorld(bench, function* allocate(call): Script {
      const { reply, cookie, pages } = yield* call.allocate(SHM_TYPE.KERNEL, 5000);
      expect(reply.ret).toBe(OK);
      expect(reply.params[0]).toMatchObject({
        attr: BigInt(ATTR_TMEM_OUTPUT_NONCONTIG),
        b: 8192n,
      });
      expect(pages).toHaveLength(2);
      // Two pages and their list.
      expect(kernel.pages.usedPages).toBe(used + 3);
      const freed = yield* call.rpc(RPC_CMD.SHM_FREE, {
        attr: VALUE_IN,
        a: SHM_TYPE.KERNEL,
        b: cookie,
      });
      expect(freed.ret).toBe(OK);
      // The list lives until the call ends.
      expect(kernel.pages.usedPages).toBe(used + 1);
      for (const type of [SHM_TYPE.GLOBAL, 3, 0xffff]) {
        expect((yield* call.allocate(type, 4096)).reply.ret).toBe(BAD);
      }
      return 0;
    }),
  );
  expect(kernel.pages.usedPages).toBe(used);
});

test("SMC-9.6: the next SHM_ALLOC of a call, failing or not, frees the page list of the one before", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG }).probed();
  const { kernel } = bench.linux;
  bench.invoke();
  bench.run(
    inSecureWorld(bench, function* allocate(call): Script {
      const used = kernel.pages.usedPages;
      const first = yield* call.allocate(SHM_TYPE.KERNEL, 4096);
      expect(kernel.pages.usedPages).toBe(used + 2);
      const second = yield* call.allocate(SHM_TYPE.KERNEL, 4096);
      expect(kernel.pages.usedPages).toBe(used + 3);
      yield* call.allocate(SHM_TYPE.GLOBAL, 4096);
      expect(kernel.pages.usedPages).toBe(used + 2);
      for (const { cookie } of [first, second]) {
        yield* call.rpc(RPC_CMD.SHM_FREE, { attr: VALUE_IN, a: SHM_TYPE.KERNEL, b: cookie });
      }
      return 0;
    }),
  );
});

test("SMC-9.6, MSG-3.SHM_ALLOC: memory of the reserved pool is described by its address", () => {
  const bench = new Bench({ capabilities: HAVE_RESERVED_SHM | RPC_ARG }).probed();
  const { base } = bench.world.reserved;
  const attr = bench.run(
    inSecureWorld(bench, function* allocate(call): Script {
      const { reply } = yield* call.allocate(SHM_TYPE.KERNEL, 100);
      expect(Number(reply.params[0]?.a)).toBeGreaterThanOrEqual(base);
      const { reply: tooMuch } = yield* call.allocate(SHM_TYPE.KERNEL, 1024 * 1024);
      expect(tooMuch.ret).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
      return Number(reply.params[0]?.attr);
    }),
  );
  expect(attr).toBe(ATTR_TYPE.TMEM_OUTPUT);
});

test("SMC-9.6: SHM_ALLOC with other shapes is BAD_PARAMETERS, and without memory OUT_OF_MEMORY", () => {
  const bench = new Bench({ ramSize: 256 * 1024 }).boot();
  const alloc = (...params: Parameters<typeof rpc>[2][]): number =>
    rpc(bench, RPC_CMD.SHM_ALLOC, ...params).ret;
  const kernel = { attr: VALUE_IN, a: SHM_TYPE.KERNEL, b: 4096 };
  expect(alloc()).toBe(BAD);
  expect(alloc({ ...kernel, attr: VALUE_INOUT })).toBe(BAD);
  expect(alloc(kernel, kernel)).toBe(BAD);
  expect(alloc({ ...kernel, b: 1024 * 1024 })).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  expect(alloc({ ...kernel, a: SHM_TYPE.APPL }, { attr: 0 })).not.toBe(BAD);
});

test("SMC-9.7, MSG-3.SHM_FREE: freeing an unknown type succeeds and does nothing", () => {
  const bench = new Bench().probed();
  const free = (...params: Parameters<typeof rpc>[2][]): number =>
    rpc(bench, RPC_CMD.SHM_FREE, ...params).ret;
  for (const type of [SHM_TYPE.GLOBAL, 7]) {
    expect(free({ attr: VALUE_IN, a: type, b: 0x1234 })).toBe(OK);
  }
  expect(free()).toBe(BAD);
  expect(free({ attr: VALUE_OUT, a: 1, b: 0x1234 })).toBe(BAD);
});

test("MSG-3.GET_TIME: seconds and nanoseconds since the epoch of the kernel's clock", () => {
  const bench = new Bench({ kernel: { epochMs: 1_700_000_000_250 } }).probed();
  const reply = rpc(bench, RPC_CMD.GET_TIME, { attr: VALUE_OUT });
  expect([reply.ret, reply.params[0]?.a, reply.params[0]?.b]).toEqual([
    OK,
    1_700_000_000n,
    250_000_000n,
  ]);
  bench.run(sleep(1000));
  expect(rpc(bench, RPC_CMD.GET_TIME, { attr: VALUE_OUT }).params[0]?.a).toBe(1_700_000_001n);
  expect(rpc(bench, RPC_CMD.GET_TIME, { attr: VALUE_IN }).ret).toBe(BAD);
  expect(rpc(bench, RPC_CMD.GET_TIME).ret).toBe(BAD);
});

test("MSG-3.SUSPEND: the call sleeps for so many milliseconds, less when its client is killed", () => {
  const bench = new Bench().probed();
  const before = bench.scheduler.nowMs;
  expect(rpc(bench, RPC_CMD.SUSPEND, { attr: VALUE_IN, a: 25 }).ret).toBe(OK);
  expect(bench.scheduler.nowMs - before).toBe(25);
  expect(rpc(bench, RPC_CMD.SUSPEND, { attr: VALUE_OUT, a: 25 }).ret).toBe(BAD);
  const process = bench.linux.process();
  bench.run(
    (function* (): Task {
      const suspend = inSecureWorld(
        bench,
        (call) => call.rpc(RPC_CMD.SUSPEND, { attr: VALUE_IN, a: 100_000 }),
        process,
      );
      const call = bench.scheduler.spawn("suspended", suspend);
      yield* sleep(10);
      process.kill();
      expect((yield* call.join()).ret).toBe(OK);
    })(),
  );
  expect(bench.scheduler.nowMs - before).toBeLessThan(1000);
});

/** Two calls: one that waits for a notification, one that sends it after `delayMs`. */
function notification(wait: readonly [number, number], sent: number | undefined, delayMs = 5) {
  const bench = new Bench({ kernel: { hz: 250 } }).probed();
  const [value, timeout] = wait;
  let waited: RpcReply | undefined;
  const start = bench.scheduler.nowMs;
  const waiter = bench.scheduler.spawn(
    "waiter",
    inSecureWorld(bench, (call) =>
      call.rpc(RPC_CMD.NOTIFICATION, { attr: VALUE_IN, a: 0, b: value, c: timeout }),
    ),
  );
  bench.run(
    (function* (): Task {
      yield* sleep(delayMs);
      if (sent !== undefined) {
        const reply = yield* inSecureWorld(bench, (call) =>
          call.rpc(RPC_CMD.NOTIFICATION, { attr: VALUE_IN, a: 1, b: sent }),
        );
        expect(reply.ret).toBe(OK);
      }
      waited = yield* waiter.join();
    })(),
  );
  return { ret: waited?.ret, after: bench.scheduler.nowMs - start };
}

test("SMC-9.9, MSG-3.NOTIFICATION: WAIT ends when its value is sent, or times out in jiffies", () => {
  expect(notification([7, 0], 7)).toEqual({ ret: OK, after: 5 });
  expect(notification([7, 1000], 7)).toEqual({ ret: OK, after: 5 });
  // 10 jiffies of a kernel with 250 Hz, although 10 ms were meant.
  expect(notification([7, 10], 8)).toEqual({ ret: TEEC.TEEC_ERROR_TIMEOUT, after: 40 });
});

test("MSG-6.NOTIFICATION_TIMEOUT: a secure world that knows no timeout sends 0, which waits for ever", () => {
  expect(notification([7, 0], 7, 1_000_000)).toEqual({ ret: OK, after: 1_000_000 });
});

test("SMC-9.9, MSG-3.NOTIFICATION: values out of range and operations that do not exist are BAD_PARAMETERS", () => {
  const bench = new Bench().probed();
  const notify = (a: number, b: number): number =>
    rpc(bench, RPC_CMD.NOTIFICATION, { attr: VALUE_IN, a, b }).ret;
  // Without asynchronous notifications the largest value is 255.
  expect([notify(1, 255), notify(1, 256), notify(0, 256), notify(2, 1)]).toEqual([
    OK,
    BAD,
    BAD,
    BAD,
  ]);
  expect(notify(0, 255)).toBe(OK);
  expect(rpc(bench, RPC_CMD.NOTIFICATION).ret).toBe(BAD);
  expect(rpc(bench, RPC_CMD.NOTIFICATION, { attr: VALUE_INOUT }).ret).toBe(BAD);
});

test("SMC-9.9: a second waiter for the same value is BAD_PARAMETERS", () => {
  const bench = new Bench().probed();
  const wait = (): Task<RpcReply> =>
    inSecureWorld(bench, (call) =>
      call.rpc(RPC_CMD.NOTIFICATION, { attr: VALUE_IN, a: 0, b: 3, c: 1000 }),
    );
  bench.scheduler.spawn("first", wait());
  bench.run(sleep(1));
  expect(bench.run(wait()).ret).toBe(BAD);
});

test("MSG-3.9: NOTIFICATION has the numbers of the wait queue that it was: SLEEP 0, WAKEUP 1", () => {
  const bench = new Bench().probed();
  const words = { attr: VALUE_IN, b: 9 };
  expect(rpc(bench, 4, { ...words, a: 1 }).ret).toBe(OK);
  expect(rpc(bench, 4, { ...words, a: 0 }).ret).toBe(OK);
});

test("SMC-9.8, MSG-3.8, MSG-3.UNASSIGNED, MSG-3.SQL_FS, MSG-3.BENCH_REG: whatever the kernel does not serve goes to the supplicant, which does not know it", () => {
  const bench = new Bench().boot();
  const unknown = [8, 13, 14, 15, 16, 17, 18, 19, RPC_CMD.BENCH_REG, 22, 23, 24, 25, 4711];
  for (const command of unknown) {
    const { ret, params } = rpc(bench, command, { attr: VALUE_INOUT, a: 1, b: 2, c: 3 });
    expect(ret).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
    expect(params).toEqual([{ attr: 3n, a: 1n, b: 2n, c: 3n }]);
  }
  const { served } = bench.linux.supplicant ?? {};
  expect([...(served ?? new Map<number, number>()).keys()]).toEqual(unknown);
});

test("SMC-9.8: the kernel's own services do not need a supplicant", () => {
  const bench = new Bench().boot();
  rpc(bench, RPC_CMD.GET_TIME, { attr: VALUE_OUT });
  rpc(bench, RPC_CMD.NOTIFICATION, { attr: VALUE_IN, a: 1, b: 1 });
  rpc(bench, RPC_CMD.SUSPEND, { attr: VALUE_IN, a: 1 });
  rpc(bench, RPC_CMD.I2C_TRANSFER);
  bench.run(
    inSecureWorld(bench, function* memory(call): Script {
      const { cookie } = yield* call.allocate(SHM_TYPE.KERNEL, 1);
      const words = { attr: VALUE_IN, a: SHM_TYPE.KERNEL, b: cookie };
      return (yield* call.rpc(RPC_CMD.SHM_FREE, words)).ret;
    }),
  );
  expect(bench.linux.supplicant?.served.size).toBe(0);
});

test("SMC-9.8: parameters of a type that does not exist are BAD_PARAMETERS before anybody is asked", () => {
  const bench = new Bench().boot();
  for (const attr of [4, 8, 0xc, 0x7f]) expect(rpc(bench, 13, { attr }).ret).toBe(BAD);
  expect(bench.linux.supplicant?.served.size).toBe(0);
});

function* interrupted(): Script {
  for (let turn = 0; turn < 20; turn += 1) yield [SMC_RETURN.RPC_FOREIGN_INTR, 0, 0];
  return 0;
}

test("SMC-5.FOREIGN_INTR: others run before a call that was interrupted goes on", () => {
  const bench = new Bench().probed();
  let others = 0;
  bench.scheduler.spawn(
    "other",
    (function* (): Task {
      for (;;) {
        others += 1;
        yield null;
      }
    })(),
  );
  bench.world.onMessage = () => interrupted();
  const before = others;
  bench.run(bench.driver.invoke(1, 0, 0, [], kernelCaller()));
  expect(others).toBeGreaterThan(before);
});

test("SMC-5.7: a4 and a5 of an ALLOC reply stay in later resumes of the call", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  const [given, later] = bench.run(
    inSecureWorld(bench, function* keep(): Script<number[][]> {
      const reply = yield [SMC_RETURN.RPC_ALLOC, 160, 0];
      const cookie = [reply.get(4), reply.get(5)];
      const resume = yield [SMC_RETURN.RPC_FOREIGN_INTR, 0, 0];
      return [cookie, [resume.get(4), resume.get(5)]];
    }),
  );
  expect(later).toEqual(given);
});

test("MSG-3.4: references by cookie and by address name the same bytes to the supplicant", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG }).boot();
  const name = "a-file\0";
  const seen = bench.run(
    inSecureWorld(bench, function* both(call: ScriptedCall): Script<number[]> {
      const { cookie, pages } = yield* call.allocate(SHM_TYPE.APPL, 4096);
      const [page = 0] = pages;
      call.world.memory.write((page + 100) as Ipa, new TextEncoder().encode(name));
      const create = { attr: VALUE_IN, a: 1 };
      const byCookie = yield* call.rpc(
        RPC_CMD.FS,
        create,
        { attr: ATTR_TYPE.RMEM_INPUT, a: 100, b: name.length, c: cookie },
        { attr: VALUE_OUT },
      );
      const byAddress = yield* call.rpc(
        RPC_CMD.FS,
        create,
        { attr: ATTR_TYPE.TMEM_INPUT, a: page + 100, b: name.length, c: cookie },
        { attr: VALUE_OUT },
      );
      const byNothing = yield* call.rpc(
        RPC_CMD.FS,
        create,
        { attr: ATTR_TYPE.TMEM_INPUT, a: 0, b: 0, c: 0 },
        { attr: VALUE_OUT },
      );
      return [byCookie.ret, byAddress.ret, byNothing.ret];
    }),
  );
  expect(seen).toEqual([OK, OK, BAD]);
  expect(bench.linux.disk.list("/var/lib/tee")).toEqual(["a-file"]);
});

test("SMC-9.8: any RPC whatsoever is answered, and the driver goes on", () => {
  const words = fc.record({
    attr: fc.oneof(fc.nat(16), fc.constantFrom(0x101, 0x20a, RMEM_INOUT)),
    a: fc.oneof(fc.nat(8), fc.nat(0xffff_ffff)),
    b: fc.oneof(fc.nat(5000), fc.nat(0xffff_ffff)),
    // A cookie that is no pointer would crash the kernel, as it does Linux.
    c: fc.constant(0),
  });
  fc.assert(
    fc.property(
      fc.constantFrom(...Object.values(RPC_CMD)),
      fc.array(words, { maxLength: 4 }),
      (command, params) => {
        fc.pre(command !== RPC_CMD.SHM_FREE);
        fc.pre(command !== RPC_CMD.NOTIFICATION || params[0]?.a !== 0);
        const bench = new Bench({ ramSize: 512 * 1024 }).boot();
        const { ret } = rpc(bench, command, ...params);
        expect(ret).not.toBe(TEEC.TEEC_ERROR_COMMUNICATION);
        expect(bench.driver.callsRunning).toBe(0);
        expect(rpc(bench, RPC_CMD.GET_TIME, { attr: VALUE_OUT }).ret).toBe(OK);
      },
    ),
    { numRuns: budget(150, 3000) },
  );
});
