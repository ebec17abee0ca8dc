import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, uuidOctets } from "../../base/index.ts";
import { FS_OP, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../../optee-abi/index.ts";
import { STORAGE_CMD, STORAGE_UUID } from "../../secure-world/index.ts";
import type { Trace, TraceRecord } from "../../run/index.ts";
import { canonicalTrace } from "./canonical.ts";
import { compareTraces } from "./compare.ts";
import { renderTrace } from "./render.ts";
import {
  EMULATED_NAMES,
  HEADER,
  type Names,
  param,
  REAL_NAMES,
  registers,
  TraceMaker,
} from "./testing/traces.ts";

type Smc = Extract<TraceRecord, { type: "smc" }>;
const INVOKE = { cmd: MSG_CMD.INVOKE_COMMAND, session: 1 };

function made(names: Names, make: (maker: TraceMaker) => void, conduit = "direct"): Trace {
  const maker = new TraceMaker(names);
  make(maker);
  maker.records.push({ type: "end", how: "done" });
  return { header: { ...HEADER, conduit }, records: maker.records };
}

const causeOf = (left: Trace, right: Trace): string | undefined =>
  compareTraces(left, right).cause?.fields[0]?.field;

const waiting = (...times: readonly number[]): Trace =>
  made(EMULATED_NAMES, (maker) => {
    maker.call(1, INVOKE, {}, () => {
      for (const ms of times) {
        maker.rpc(1, { cmd: RPC_CMD.SUSPEND, params: [param(1, ms)] }, {});
      }
      maker.rpc(1, { cmd: RPC_CMD.GET_TIME, params: [param(2)] }, { params: [param(2, 7, 8)] });
    });
  });

test("a wait is a wait: how often it is asked for and for how long is timing", () => {
  expect(causeOf(waiting(500), waiting(500, 480, 12))).toBeUndefined();
  expect(causeOf(waiting(500, 1), waiting(500, 480, 12))).toBeUndefined();
  expect(causeOf(waiting(500), waiting(499))).toBeUndefined();
  expect(compareTraces(waiting(), waiting(500)).cause?.kind).toBe("extra call");
  expect(canonicalTrace(waiting(500, 480, 12))).toHaveLength(canonicalTrace(waiting(500)).length);
});

test("a register that came back as sent after an interrupt is one that came back as sent", () => {
  const left = made(EMULATED_NAMES, (maker) => {
    maker.smc("enter", registers(OPTEE_SMC.CALL_WITH_ARG, 0, 0x4000_0000, 0, 0, 5));
    maker.smc("leave", registers(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
    maker.smc("enter", registers(OPTEE_SMC.RETURN_FROM_RPC));
    maker.smc("leave", registers(SMC_RETURN.OK));
  });
  const right = made(REAL_NAMES, (maker) => {
    maker.smc("enter", registers(OPTEE_SMC.CALL_WITH_ARG, 0, 0x4000_0000, 0, 0, 5));
    maker.smc("leave", registers(SMC_RETURN.OK, 0, 0x4000_0000, 0, 0, 5));
  });
  expect(causeOf(left, right)).toBeUndefined();
});

test("an interrupt that nothing resumes stays where the call ends", () => {
  const trace = made(EMULATED_NAMES, (maker) => {
    maker.smc("enter", registers(OPTEE_SMC.CALL_WITH_ARG, 0, 0x4000_0000));
    maker.smc("leave", registers(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  });
  expect(canonicalTrace(trace).map(({ call }) => call)).toEqual([
    "CALL_WITH_ARG",
    "RPC FOREIGN_INTR",
    "end",
  ]);
});

const opening = (name: string): Trace =>
  made(EMULATED_NAMES, (maker) => {
    maker.call(1, INVOKE, {}, () => {
      const params = [param(1, FS_OP.OPEN), param(5, 0, name.length, 8, name), param(2)];
      maker.rpc(1, { cmd: RPC_CMD.FS, params }, { params });
    });
  });

test("of a file's name only what stands before its NUL counts", () => {
  expect(causeOf(opening("/dirf.db\0left over"), opening("/dirf.db\0LEFT OVER"))).toBeUndefined();
  expect(causeOf(opening("/dirf.db\0left over"), opening("/dirg.db\0left over"))).toBe(
    "params[1].data",
  );
});

test("handles of a TA's own API are symbols, whatever address they are", () => {
  const view = new DataView(uuidOctets(STORAGE_UUID).buffer);
  const uuid = [view.getBigUint64(0, true), view.getBigUint64(8, true)] as const;
  const using = (opened: number, used: number): Trace =>
    made(EMULATED_NAMES, (maker) => {
      const params = [param(0x101, ...uuid), param(0x101)];
      maker.call(1, { cmd: MSG_CMD.OPEN_SESSION, params }, { session: 1 });
      const open = [param(0), param(3, 1)];
      const done = { params: [param(0), param(3, 1, opened)] };
      maker.call(1, { ...INVOKE, func: STORAGE_CMD.OPEN, params: open }, done);
      maker.call(1, { ...INVOKE, func: STORAGE_CMD.CLOSE, params: [param(1, used)] }, {});
    });
  expect(causeOf(using(0x4000_1000, 0x4000_1000), using(0xb_69c0, 0xb_69c0))).toBeUndefined();
  expect(causeOf(using(0x4000_1000, 0x4000_1000), using(0xb_69c0, 0xb_6a00))).toBe("params[0].a");
});

const suspends = (maker: TraceMaker, thread: number): void =>
  maker.smc("leave", registers(SMC_RETURN.RPC_ALLOC, 160, 0, thread));

const ending = (order: readonly number[]): Trace =>
  made(EMULATED_NAMES, (maker) => {
    for (const thread of [0, 1]) {
      maker.smc("enter", registers(OPTEE_SMC.CALL_WITH_ARG, 0, 0x1000 * (thread + 1)));
      suspends(maker, thread);
    }
    for (const thread of order) {
      maker.smc("enter", registers(OPTEE_SMC.RETURN_FROM_RPC, 0, 0x9000, thread, 0, 7 + thread));
      maker.smc("leave", registers(SMC_RETURN.OK));
    }
  });

test("what two calls of one guest do while both are under way is told apart by call, not by time", () => {
  expect(causeOf(ending([0, 1]), ending([1, 0]))).toBeUndefined();
});

const port = (a7: number): TraceRecord[] => [
  {
    type: "smc",
    where: "port",
    phase: "enter",
    registers: registers(OPTEE_SMC.CALLS_UID, 0, 0, 0, 0, 0, 0, 1),
  },
  { type: "smc", where: "port", phase: "leave", registers: registers(1, 2, 3, 4, 0, 0, 0, a7) },
];

const vm = (between: readonly TraceRecord[]): Trace =>
  made(
    EMULATED_NAMES,
    (maker) => {
      maker.smc("enter", registers(OPTEE_SMC.CALLS_UID));
      maker.records.push(...between);
      maker.smc("leave", registers(1, 2, 3, 4));
    },
    "vm",
  );

test("records behind the mediator count where both sides have them", () => {
  expect(causeOf(vm(port(1)), vm([]))).toBeUndefined();
  expect(causeOf(vm([]), vm(port(1)))).toBeUndefined();
  expect(compareTraces(vm(port(1)), vm(port(2))).cause).toMatchObject({
    where: "port",
    fields: [{ field: "a7" }],
  });
});

const registering = (names: Names, used: readonly number[]): Trace =>
  made(names, (maker) => {
    for (const n of [1, 2, 3, 4, 5]) {
      const params = [param(0x20a, names.page(n + 20), 4096, names.cookie(n))];
      maker.call(9, { cmd: MSG_CMD.REGISTER_SHM, params }, {});
    }
    for (const n of used) {
      maker.call(9, { ...INVOKE, params: [param(5, 0, 8, names.cookie(n))] }, {});
    }
  });

test("one cookie in the place of another is found wherever it stands, from either side", () => {
  const cookies = fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 2, maxLength: 10 });
  fc.assert(
    fc.property(cookies, fc.nat(), fc.integer({ min: 1, max: 4 }), (used, pick, step) => {
      const at = pick % used.length;
      const wrong = used.map((n, i) => (i === at ? ((n - 1 + step) % 5) + 1 : n));
      const [left, right] = [registering(EMULATED_NAMES, used), registering(REAL_NAMES, wrong)];
      expect(compareTraces(left, registering(REAL_NAMES, used)).cause).toBeUndefined();
      for (const [a, b] of [
        [left, right],
        [right, left],
      ] as const) {
        const { cause } = compareTraces(a, b);
        expect(cause?.fields.map(({ field }) => field)).toEqual(["params[0].shm_ref"]);
        expect(cause?.leftRecord).toBe(11 + 2 * at);
      }
    }),
    { numRuns: budget(50, 1000) },
  );
});

test("no trace is too strange to be compared and shown", () => {
  const text = fc.string({ maxLength: 8 });
  const anySmc = fc.record({
    type: fc.constant("smc"),
    where: fc.constantFrom("conduit", "port"),
    phase: fc.constantFrom("enter", "leave"),
    guest: fc.option(fc.nat(3), { nil: undefined }),
    registers: fc.array(
      fc.oneof(
        fc
          .constantFrom(...Object.values(OPTEE_SMC), 0xffff_0005, 0xffff_0004, 0)
          .map((n) => `0x${n.toString(16)}`),
        fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n) => `0x${n.toString(16)}`),
        text,
      ),
      { maxLength: 9 },
    ),
    message: fc.option(
      fc.record({
        role: fc.constantFrom("call", "rpc"),
        at: text,
        cmd: fc.nat(30),
        func: fc.nat(),
        session: fc.nat(3),
        cancelId: fc.nat(),
        ret: fc.nat(),
        retOrigin: fc.nat(),
        numParams: fc.nat(200),
        params: fc.array(fc.record({ attr: text, a: text, b: text, c: text }), { maxLength: 4 }),
      }),
      { nil: undefined },
    ),
  }) as fc.Arbitrary<Smc>;
  const anyTrace = fc
    .array(
      fc.oneof(
        anySmc,
        fc.record({
          type: fc.constant("end" as const),
          how: fc.constant("done" as const),
          value: fc.jsonValue(),
        }),
      ),
      { maxLength: 12 },
    )
    .map((records): Trace => ({ header: HEADER, records }));
  fc.assert(
    fc.property(anyTrace, anyTrace, (left, right) => {
      compareTraces(left, right);
      expect(compareTraces(left, left).cause).toBeUndefined();
      expect(renderTrace(right).split("\n").length).toBe(right.records.length + 2);
    }),
    { numRuns: budget(150, 5000) },
  );
});
