import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { OS_TEST_CMD, OS_TEST_UUID } from "./tas/index.ts";
import { openMessage, type Param, rmem, SecureKit, value } from "./testkit/kit.ts";
import { ProbeTa } from "./testkit/probe-ta.ts";

const PAGE = 4096;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;

const noncontig = (pointer: bigint, size: bigint, cookie: bigint, attr = 0x20an): Param => ({
  attr,
  a: pointer,
  b: size,
  c: cookie,
});

function probed(options: ConstructorParameters<typeof SecureKit>[0] = {}): {
  kit: SecureKit;
  probe: ProbeTa;
  session: number;
} {
  const probe = new ProbeTa();
  const kit = new SecureKit({ pseudoTas: [probe.ta], userTas: [], ...options });
  return { kit, probe, session: kit.open(ProbeTa.uuid).session };
}

test("MSG-1.3.CACHE: the cache bits of a parameter are ignored where the type alone counts", () => {
  const { kit, probe, session } = probed();
  kit.register(3n);
  const list = kit.listOf([kit.page()]);
  for (const bits of [0n, 0x1_0000n, 0x7_0000n]) {
    const params = [
      rmem(ATTR_TYPE.RMEM_INPUT, 3n, 0, 8),
      noncontig(list, 8n, 4n, 0x209n),
      value(1, 5n),
    ].map((param) => ({ ...param, attr: (param.attr ?? 0n) | bits }));
    expect(kit.invoke(session, 0, params).ret).toBe(0);
    expect([0, 1, 2].map((index) => probe.param(index).type)).toEqual([5, 5, 1]);
  }
});

test("MSG-1.4.2: the low 12 bits of buf_ptr are where the data starts in its first page", () => {
  const { kit, probe, session } = probed();
  const pages = [kit.page(), kit.page()];
  const list = kit.listOf(pages);
  kit.poke((pages[0] ?? 0) + 4095, Uint8Array.of(1));
  kit.poke(pages[1] ?? 0, Uint8Array.of(2));
  kit.invoke(session, 0, [noncontig(list + 4095n, 2n, 4n, 0x209n)]);
  expect([...probe.param(0).read()]).toEqual([1, 2]);
  // The list itself has to be non-secure RAM too.
  for (const pointer of [0xe10_0000n, 0x9000_0000n, 1n << 51n, 0xffff_ffff_ffff_f000n]) {
    expect(kit.invoke(session, 0, [noncontig(pointer, 8n, 4n, 0x209n)]).ret).toBe(BAD);
  }
});

test("MSG-1.4.5, MSG-2.3.2: a list may go, or change, as soon as REGISTER_SHM has returned", () => {
  const { kit, probe, session } = probed();
  const page = kit.page();
  const list = kit.listOf([page]);
  kit.poke(page, Uint8Array.of(42));
  kit.call({ cmd: MSG_CMD.REGISTER_SHM, params: [noncontig(list, 4096n, 5n)] });
  kit.poke(Number(list), new Uint8Array(PAGE).fill(0xff));
  expect(kit.invoke(session, 0, [rmem(ATTR_TYPE.RMEM_INPUT, 5n, 0, 1)]).ret).toBe(0);
  expect([...probe.param(0).read()]).toEqual([42]);
});

test("MSG-1.4.5: each page of a list is looked at once", () => {
  const looked = new Map<number, number>();
  let armed = false;
  const { kit } = probed({
    build: { heap: 1 << 20 },
    onAccess: (page) => {
      if (armed) looked.set(page, (looked.get(page) ?? 0) + 1);
    },
  });
  const data = Array.from({ length: 600 }, () => kit.page());
  const list = Number(kit.listOf(data));
  const second = new DataView(kit.peek(list + 511 * 8, 8).slice().buffer).getUint32(0, true);
  const at = kit.put({
    cmd: MSG_CMD.REGISTER_SHM,
    params: [noncontig(BigInt(list), BigInt(600 * PAGE), 5n)],
  });
  armed = true;
  kit.finish(kit.start(at));
  expect(kit.get(at).ret).toBe(0);
  // Once to see that it may be shared and once to read it whole.
  for (const page of [list, second]) expect(looked.get(page)).toBeLessThanOrEqual(2);
});

test("MSG-2.UNREGISTER_SHM: only the cookie of its one parameter counts, not the attributes", () => {
  const { kit } = probed();
  for (const attr of [0n, 1n, 5n, 9n, 0x20an, 0x101n, 0xffff_ffff_ffff_ffffn]) {
    kit.register(6n);
    const params = [{ attr, a: 1n, b: 2n, c: 6n }];
    expect(kit.call({ cmd: MSG_CMD.UNREGISTER_SHM, params, ret: 9, ret_origin: 8 })).toMatchObject({
      ret: 0,
      ret_origin: 8,
    });
  }
  const call = (params: readonly Param[]): number[] => {
    const done = kit.call({ cmd: MSG_CMD.UNREGISTER_SHM, params, ret: 9, ret_origin: 8 });
    return [done.a0, done.ret, done.ret_origin];
  };
  // The origin is set for a wrong number of parameters, and for nothing else.
  expect(call([])).toEqual([0, BAD, 3]);
  expect(call([{ c: 6n }, {}])).toEqual([0, BAD, 3]);
  expect(call([{ c: 6n }])).toEqual([0, BAD, 8]);
});

test("MSG-2.3.4: a refused REGISTER_SHM leaves ret_origin alone too", () => {
  const { kit } = probed();
  const params = [noncontig(0x1000n, 1n, 1n)];
  expect(kit.call({ cmd: MSG_CMD.REGISTER_SHM, params, ret_origin: 8 })).toMatchObject({
    ret: BAD,
    ret_origin: 8,
  });
});

test("MSG-2.3.2, MSG-3.4: RPC buffers have their cookies in the table, and cannot be unregistered", () => {
  const kit = new SecureKit();
  const table = kit.world.partitions.all[0]?.registered;
  const call = kit.start(kit.put(openMessage(OS_TEST_UUID)));
  kit.serve(call);
  const cookie = (BigInt(call.get(1)) << 32n) | BigInt(call.get(2));
  const argument = table?.find(call.get(1), call.get(2));
  expect(argument).toMatchObject({ guarded: true, users: 1 });
  expect(argument?.pages.pages[0]).toBe(kit.argumentAt(cookie));
  expect(kit.unregister(cookie).ret).toBe(BAD);
  // A message by that cookie is what lies there: the request SHM_ALLOC reads as DO_BOTTOM_HALF.
  expect(kit.words(OPTEE_SMC.CALL_WITH_REGD_ARG, call.get(1), call.get(2), 0)[0]).toBe(
    SMC_RETURN.OK,
  );
  kit.finish(call);
  expect(table?.count).toBe(0);
});

test("MSG-2.3.2, MSG-2.2.RMEM: other calls use temporary memory by its cookie, and let go of exact references", () => {
  const kit = new SecureKit();
  const table = kit.world.partitions.all[0]?.registered;
  const { session } = kit.open(OS_TEST_UUID);
  const other = kit.open(OS_TEST_UUID).session;
  const wait = (which: number, params: Param[]): ReturnType<SecureKit["start"]> => {
    const call = kit.start(
      kit.put({
        cmd: MSG_CMD.INVOKE_COMMAND,
        session: which,
        func: OS_TEST_CMD.WAIT,
        params: [value(ATTR_TYPE.VALUE_INPUT, 10n), ...params],
      }),
    );
    while (kit.commandOf(call) !== RPC_CMD.SUSPEND) kit.serve(call);
    return call;
  };
  const owner = wait(session, [noncontig(kit.listOf([kit.page()]), 8n, 9n, 0x209n)]);
  const user = wait(other, [rmem(ATTR_TYPE.RMEM_INPUT, 9n, 0, 8)]);
  expect(table?.find(0, 9)?.users).toBe(2);
  kit.finish(owner);
  expect(table?.find(0, 9)?.users).toBe(2);
  kit.finish(user);
  expect(table?.find(0, 9)?.users).toBe(1);
  // Bits that are ignored otherwise keep the use for ever.
  kit.finish(wait(other, [rmem(ATTR_TYPE.RMEM_INPUT | 0x1_0000, 9n, 0, 8)]));
  expect(table?.find(0, 9)?.users).toBe(2);
});

test("MSG-2.3.1, MSG-2.3.6: any sequence of registering and unregistering is that of a list, newest first", () => {
  const step = fc.record({
    cookie: fc.constantFrom(1n, 2n, 0x1_0000_0001n, 0xffff_ffff_ffff_ffffn),
    pages: fc.integer({ min: 1, max: 4 }),
    register: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const { kit, probe, session } = probed({ build: { heap: 12 * 72 } });
      const table = kit.world.partitions.all[0]?.registered;
      let model: { cookie: bigint; heap: number; first: number }[] = [];
      for (const { cookie, pages, register } of steps) {
        if (register) {
          const heap = 64 + 8 * pages;
          const room = model.reduce((sum, one) => sum + one.heap, 0) + heap <= 12 * 72;
          const done = kit.register(cookie, pages);
          expect(done.result.ret).toBe(room ? 0 : BAD);
          if (room) model = [{ cookie, heap, first: done.pages[0] ?? 0 }, ...model];
        } else {
          const at = model.findIndex((one) => one.cookie === cookie);
          expect(kit.unregister(cookie).ret).toBe(at < 0 ? BAD : 0);
          if (at >= 0) model = model.toSpliced(at, 1);
        }
        const found = model.find((one) => one.cookie === cookie);
        const { ret } = kit.invoke(session, 0, [rmem(ATTR_TYPE.RMEM_INOUT, cookie, 0, 1)]);
        expect(ret).toBe(found === undefined ? BAD : 0);
        if (found !== undefined) {
          probe.param(0).write(Uint8Array.of(7));
          expect([...kit.peek(found.first, 1)]).toEqual([7]);
        }
      }
      expect(table?.count).toBe(model.length);
      expect(table?.heap).toBe(model.reduce((sum, one) => sum + one.heap, 0));
    }),
    { numRuns: budget(40, 2000) },
  );
});
