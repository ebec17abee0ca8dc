import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { OPTEE_SMC, SMC_RETURN, TEEC } from "../../optee-abi/index.ts";
import type { Trace, TraceRecord } from "../../run/index.ts";
import { compareTraces } from "./compare.ts";
import {
  EMULATED_NAMES,
  type Names,
  type Op,
  REAL_NAMES,
  registers,
  traceOf,
} from "./testing/traces.ts";

const small = fc.integer({ min: 1, max: 6 });
const anOp: fc.Arbitrary<Op> = fc.oneof(
  fc.record({
    op: fc.constant("fast" as const),
    fid: fc.constantFrom(...Object.values(OPTEE_SMC).filter((fid) => fid >>> 31 === 1)),
    answer: fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 1, maxLength: 4 }),
  }),
  fc.record({ op: fc.constant("register" as const), cookie: small, page: small }),
  fc.record({ op: fc.constant("unregister" as const), cookie: small, page: small }),
  fc.record({
    op: fc.constant("open" as const),
    session: small,
    page: small,
    ret: fc.constantFrom(0, TEEC.TEEC_ERROR_BUSY),
  }),
  fc.record({
    op: fc.constant("invoke" as const),
    session: small,
    func: small,
    value: fc.nat(),
    cookie: small,
    page: small,
    interrupts: fc.constant(0),
    file: fc.boolean(),
    ret: fc.constantFrom(0, TEEC.TEEC_ERROR_SHORT_BUFFER),
  }),
  fc.record({ op: fc.constant("time" as const), page: small }),
  fc.record({ op: fc.constant("close" as const), session: small, page: small }),
);
const program = fc.array(anOp, { minLength: 1, maxLength: 12 });
const runs = { numRuns: budget(60, 2000) };
const anything = (): { expectation: string; reason: string } => ({
  expectation: "all",
  reason: "",
});

/** An answer that is a version, an address or a cookie is no constant. */
const isConstantAnswer = ({ fid, answer }: Extract<Op, { op: "fast" }>): boolean =>
  ![OPTEE_SMC.GET_OS_REVISION, OPTEE_SMC.VM_CREATED, OPTEE_SMC.VM_DESTROYED].some(
    (one) => one === fid,
  ) && answer[0] !== 0;

const open = (session: number): Op => ({ op: "open", session, page: 1, ret: 0 });
const close = (session: number): Op => ({ op: "close", session, page: 1 });
const register = (cookie: number, page: number): Op => ({ op: "register", cookie, page });
const count = (answer: number): Op => ({
  op: "fast",
  fid: OPTEE_SMC.CALLS_COUNT,
  answer: [answer],
});
const fast = (fid: number): Op => ({ op: "fast", fid, answer: [0] });
const INVOKE = {
  op: "invoke",
  session: 1,
  func: 7,
  value: 3,
  cookie: 2,
  page: 1,
  interrupts: 0,
  file: true,
  ret: 0,
} as const;
const invoke = (cookie: number): Op => ({ ...INVOKE, cookie, file: false });
const withoutFast = (ops: readonly Op[]): Op[] => ops.filter((op) => op.op !== "fast");
const result = ({ page }: Names): unknown => ({ page: Number(page(1)), count: 3 });

const withRecord = (
  trace: Trace,
  at: number,
  change: (record: TraceRecord) => TraceRecord,
): Trace => ({
  ...trace,
  records: trace.records.map((record, index) => (index === at ? change(record) : record)),
});

test("two platforms that do the same under other names are equal, in both directions", () => {
  fc.assert(
    fc.property(program, (ops) => {
      const constant = ops.filter((op) => op.op !== "fast" || isConstantAnswer(op));
      const [left, right] = [traceOf(constant, EMULATED_NAMES), traceOf(constant, REAL_NAMES)];
      for (const [a, b] of [
        [left, right],
        [right, left],
        [left, left],
      ] as const) {
        const { cause, explained, compared } = compareTraces(a, b);
        expect(cause).toBeUndefined();
        expect(explained).toEqual([]);
        expect(compared).toBe(a.records.length);
      }
    }),
    runs,
  );
});

test("one constant field that differs is the first cause, by its name", () => {
  const fields = ["cmd", "func", "ret", "retOrigin", "cancelId", "numParams"] as const;
  const shown = {
    cmd: "cmd",
    func: "func",
    ret: "ret",
    retOrigin: "ret_origin",
    cancelId: "cancel_id",
    numParams: "num_params",
  };
  fc.assert(
    fc.property(program, fc.nat(), fc.constantFrom(...fields), (ops, pick, name) => {
      const right = traceOf(ops, REAL_NAMES);
      const messages = right.records.flatMap((record, index) =>
        record.type === "smc" && record.message !== undefined ? [index] : [],
      );
      const at = messages[pick % Math.max(1, messages.length)];
      fc.pre(at !== undefined);
      const mutated = withRecord(right, at ?? 0, (record) => {
        if (record.type !== "smc" || record.message === undefined) return record;
        const message = { ...record.message, [name]: record.message[name] + 0x10_0000 };
        return { ...record, message };
      });
      const { cause } = compareTraces(traceOf(ops, REAL_NAMES), mutated);
      expect(cause?.rightRecord).toBe((at ?? 0) + 1);
      // Another command is another call.
      if (name === "cmd") expect(cause).toBeDefined();
      else expect(cause?.fields.map(({ field }) => field)).toEqual([shown[name]]);
    }),
    runs,
  );
});

test("one register that differs is the first cause, by its number", () => {
  const ops: Op[] = [{ op: "fast", fid: OPTEE_SMC.CALLS_UID, answer: [1, 2, 3, 4] }];
  for (const number of [0, 1, 2, 3, 4, 5, 6, 7]) {
    const right = traceOf(ops, EMULATED_NAMES);
    const values = [1, 2, 3, 4, 0, 0, 0, 0].map((value, i) => (i === number ? value + 9 : value));
    const mutated = withRecord(
      right,
      1,
      (record) => ({ ...record, registers: registers(...values) }) as TraceRecord,
    );
    const { cause } = compareTraces(traceOf(ops, EMULATED_NAMES), mutated);
    expect(cause?.kind).toBe("register");
    expect(cause?.fields.map(({ field }) => field)).toEqual([`a${number}`]);
    expect(cause?.clauses).toContain(number > 3 ? "SMC-3.REGISTERS" : "SMC-3.CALLS_UID");
  }
});

test("calls that one side has too many are one difference, and the rest agrees again", () => {
  fc.assert(
    fc.property(program, program, anOp, (before, after, extra) => {
      // An op that is nowhere else, so that there is one place where it can be missing.
      const own: Op = { op: "fast", fid: OPTEE_SMC.BOOT_SECONDARY, answer: [extra.op.length] };
      const [a, b] = [withoutFast(before), withoutFast(after)];
      const short = traceOf([...a, ...b], EMULATED_NAMES);
      const long = traceOf([...a, own, ...b], REAL_NAMES);
      const more = compareTraces(short, long, { explain: anything });
      expect(more.explained.map(({ difference }) => difference.kind)).toEqual(["extra call"]);
      expect(more.explained[0]?.difference.calls).toEqual(["> BOOT_SECONDARY", "< BOOT_SECONDARY"]);
      expect(more.compared).toBe(short.records.length);
      const less = compareTraces(long, short, { explain: anything });
      expect(less.explained.map(({ difference }) => difference.kind)).toEqual(["missing call"]);
    }),
    runs,
  );
});

test("foreign interrupts are timing: where they come does not count", () => {
  const quiet = traceOf([INVOKE], EMULATED_NAMES);
  const busy = traceOf([{ ...INVOKE, interrupts: 3 }], REAL_NAMES);
  expect(compareTraces(quiet, busy).cause).toBeUndefined();
  expect(compareTraces(busy, quiet).cause).toBeUndefined();
});

test("a session that is confused with another is found, though ids are only symbols", () => {
  const left = traceOf([open(1), open(2), close(2)], EMULATED_NAMES);
  const right = traceOf([open(1), open(2), close(1)], REAL_NAMES);
  const { cause } = compareTraces(left, right);
  expect(cause?.fields).toEqual([
    { field: "session", left: "session#2", right: "session#1", leftRaw: "0x2", rightRaw: "0x4" },
  ]);
});

test("a cookie may be used again for something new, and only where it is made up", () => {
  const left = [register(1, 1), invoke(1), register(1, 2), invoke(1)];
  const right = [register(1, 1), invoke(1), register(2, 2), invoke(2)];
  expect(
    compareTraces(traceOf(left, EMULATED_NAMES), traceOf(right, REAL_NAMES)).cause,
  ).toBeUndefined();
  const wrong = [register(1, 1), invoke(1), register(2, 2), invoke(1)];
  const { cause } = compareTraces(traceOf(left, EMULATED_NAMES), traceOf(wrong, REAL_NAMES));
  expect(cause?.fields[0]?.field).toBe("params[1].shm_ref");
});

test("after an explained difference the comparison goes on; after the cause it only counts", () => {
  const left = traceOf([count(1), count(2), count(3), count(4)], EMULATED_NAMES);
  const right = traceOf([count(1), count(20), count(30), count(40)], REAL_NAMES);
  const { cause, explained, echoes } = compareTraces(left, right, {
    explain: ({ fields }) =>
      fields[0]?.right === "0x14" ? { expectation: "x", reason: "why" } : undefined,
  });
  expect(explained.map(({ difference }) => difference.rightRecord)).toEqual([4]);
  expect(cause?.fields[0]).toMatchObject({ field: "a0", left: "0x3", right: "0x1e" });
  expect(echoes).toBe(1);
  expect(cause?.left.filter(({ here }) => here)).toEqual([
    { record: 6, text: "g0 < CALLS_COUNT a0=0x3", here: true },
  ]);
  expect(cause?.left.length).toBeGreaterThan(4);
});

test("an answer of another kind is told by its code, with the calls that follow as echoes", () => {
  const left = traceOf([{ op: "open", session: 1, page: 1, ret: 0 }], EMULATED_NAMES);
  const full = traceOf([{ op: "open", session: 1, page: 1, ret: 0 }], REAL_NAMES);
  const [enter] = full.records;
  const refused: Trace = {
    ...full,
    records: [
      enter as TraceRecord,
      {
        type: "smc",
        where: "conduit",
        phase: "leave",
        guest: 0,
        registers: registers(SMC_RETURN.EBADADDR),
      },
      { type: "end", how: "done", value: null },
    ],
  };
  const { cause, echoes } = compareTraces(left, refused);
  expect(cause?.kind).toBe("missing call");
  expect(cause?.calls?.[0]).toBe("< RPC LOAD_TA");
  expect(echoes).toBeGreaterThan(0);
});

test("results are compared leaf by leaf, and an address in one stands for its page", () => {
  const ops: Op[] = [{ op: "register", cookie: 1, page: 1 }];
  const [left, right] = [
    traceOf(ops, EMULATED_NAMES, { result }),
    traceOf(ops, REAL_NAMES, { result }),
  ];
  expect(compareTraces(left, right).cause).toBeUndefined();
  const end = (value: unknown): Trace => ({
    ...right,
    records: [...right.records.slice(0, -1), { type: "end", how: "done", value }],
  });
  const other = compareTraces(left, end({ page: Number(REAL_NAMES.page(1)), count: 4 }));
  expect(other.cause).toMatchObject({
    kind: "result",
    fields: [{ field: "value.count", left: "3", right: "4" }],
  });
  const wrongPage = compareTraces(left, end({ page: Number(REAL_NAMES.page(2)), count: 3 }));
  expect(wrongPage.cause?.fields[0]?.field).toBe("value.page");
  const crashed: Trace = {
    ...right,
    records: [...right.records.slice(0, -1), { type: "end", how: "crash", reason: "lost" }],
  };
  expect(compareTraces(left, crashed).cause).toMatchObject({ kind: "end", call: "end" });
});

const returning = (names: Names): Trace =>
  traceOf([open(1), INVOKE], names, { result: () => ({ calls: names.thread }) });

test("a count that differs is not taken for a thread that has these two numbers", () => {
  expect(compareTraces(returning(EMULATED_NAMES), returning(REAL_NAMES)).cause).toMatchObject({
    kind: "result",
    fields: [{ field: "value.calls", left: "0", right: "1" }],
  });
});

test("with results only, what came before does not count", () => {
  const left = traceOf([{ op: "time", page: 1 }], EMULATED_NAMES);
  const right = { ...traceOf([], EMULATED_NAMES) };
  expect(compareTraces(left, right).cause).toBeDefined();
  expect(compareTraces(left, right, { resultsOnly: true }).cause).toBeUndefined();
});

test("long traces resynchronise behind each difference, however many there are", () => {
  const calls = budget(2500, 25_000);
  const left = traceOf(
    Array.from({ length: calls }, () => INVOKE),
    EMULATED_NAMES,
  );
  const right = traceOf(
    Array.from({ length: calls }, (_, i) => (i % 50 === 7 ? { ...INVOKE, file: false } : INVOKE)),
    REAL_NAMES,
  );
  const { explained, compared } = compareTraces(left, right, { explain: anything });
  expect(explained.length).toBeGreaterThan(0);
  // What is missing is exactly the RPC of every fiftieth call: the traces resynchronise behind each.
  expect(left.records.length - compared).toBe((2 * calls) / 50);
});

test("traces that have nothing in common end in one difference and its echo", () => {
  const left = traceOf(
    Array.from({ length: 3000 }, () => fast(OPTEE_SMC.CALLS_UID)),
    EMULATED_NAMES,
  );
  const right = traceOf(
    Array.from({ length: 3000 }, () => fast(OPTEE_SMC.CALLS_COUNT)),
    REAL_NAMES,
  );
  const { cause, compared } = compareTraces(left, right);
  expect(cause).toMatchObject({ kind: "missing call", call: "CALLS_UID" });
  expect(compared).toBe(0);
});
