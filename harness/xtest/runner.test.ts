import { expect, test } from "@jest/globals";
import { EXIT, InterruptedError, silentProgress, UsageError } from "../base/index.ts";
import type { CaseResult } from "../run/index.ts";
import { type ExpectedList, runXtest, type XtestSelection, type XtestSummary } from "./index.ts";
import {
  CollectingSink,
  FakeBoard,
  type FakeBoardOptions,
  type FaultPlan,
} from "./testing/fake-board.ts";
import { type FakeCase, fakeCase } from "./testing/fake-xtest.ts";

const CASES: readonly FakeCase[] = [
  fakeCase("regression_1001"),
  fakeCase("regression_1004", { subcases: ["pass", "pass"] }),
  fakeCase("regression_1005"),
  fakeCase("regression_1006"),
  fakeCase("regression_1007", { subcases: ["skip"] }),
  fakeCase("pkcs11_1004"),
  fakeCase("pkcs11_1005"),
];
const PANIC = {
  kind: "crash",
  what: "kernel panic",
  stream: "normal",
  line: "lockstep:~# [   34.714419] Kernel panic - not syncing: Oops",
} as const;
const LOCKUP = {
  kind: "hang",
  what: "hard lockup",
  stream: "normal",
  line: "hard LOCKUP",
} as const;

function listOf(cases: readonly FakeCase[]): ExpectedList {
  return {
    xtest: "4.5.0",
    file: "test.yaml",
    cases: cases.map(({ id, title, suite }) => ({ id, title, suite })),
    records: [],
  };
}

interface Ran {
  readonly board: FakeBoard;
  readonly sink: CollectingSink;
  readonly summary: XtestSummary;
  readonly statuses: Record<string, string>;
  readonly live: CaseResult[];
}

const ALL: XtestSelection = { level: 0, suites: ["regression", "pkcs11"] };

async function run(
  options: Partial<FakeBoardOptions>,
  selection: XtestSelection = ALL,
  expected = listOf(CASES),
  retries = 0,
): Promise<Ran> {
  const board = new FakeBoard({ cases: CASES, ...options });
  const sink = new CollectingSink();
  const live: CaseResult[] = [];
  const summary = await runXtest(board, selection, {
    sink,
    progress: silentProgress,
    abort: new AbortController().signal,
    expected,
    retries,
    timers: board.timers,
    onCase: (result) => live.push(result),
  });
  const statuses: Record<string, string> = {};
  for (const one of sink.results.values()) statuses[one.id.replace("xtest.", "")] = one.status;
  return { board, sink, summary, statuses, live };
}

const GOOD = {
  regression_1001: "pass",
  regression_1004: "pass",
  regression_1005: "pass",
  regression_1006: "pass",
  regression_1007: "skip",
  pkcs11_1004: "pass",
  pkcs11_1005: "pass",
};

test("a run of everything is one start of xtest without test ids, and streams each case", async () => {
  const { board, sink, summary, statuses, live } = await run({});
  expect(board.commands).toEqual(["xtest -l 0 -t regression+pkcs11"]);
  expect(statuses).toEqual(GOOD);
  expect(summary.exitCode).toBe(EXIT.ok);
  expect(live.map((one) => one.id)).toEqual(CASES.map((one) => `xtest.${one.id}`));
  expect(sink.totalsSeen).toEqual([
    { target: "fake", suite: "xtest", cases: 7, failed: 0, skipped: 0, subtests: { seen: 70 } },
  ]);
  expect(sink.bytes).toBeGreaterThan(500);
  expect(sink.events.filter((one) => one.type === "case-start")).toHaveLength(7);
  expect(sink.events.filter((one) => one.type === "case-end")).toHaveLength(7);
  expect(sink.results.get("xtest.regression_1007")?.reason).toMatch(/skip tests/);
});

test("a case selected by its id runs alone although the id matches as a substring", async () => {
  const { board, statuses } = await run({}, { ...ALL, only: ["xtest.regression_1004"] });
  expect(board.commands).toEqual(["xtest -l 0 -t regression regression_1004"]);
  expect(statuses).toEqual({ regression_1004: "pass" });
});

test("exclusions match as substrings, as xtest's own do", async () => {
  const { statuses } = await run({}, { ...ALL, exclude: ["1004", "1006"] });
  expect(Object.keys(statuses)).toEqual([
    "regression_1001",
    "regression_1005",
    "regression_1007",
    "pkcs11_1005",
  ]);
});

test("a crash during a case is that case's, and the run goes on with the next one", async () => {
  const { board, sink, summary, statuses } = await run({
    faults: { "regression_1005 start": [{ incident: PANIC }] },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1005: "crash" });
  expect(sink.results.get("xtest.regression_1005")?.reason).toBe(
    "kernel panic on normal: Kernel panic - not syncing: Oops",
  );
  expect(board.recoveries).toBe(1);
  expect(board.commands).toHaveLength(2);
  expect(board.commands[1]).not.toMatch(/ regression_1001| regression_1005(?! -x)$/);
  expect(summary.exitCode).toBe(EXIT.crashed);
});

test("what the host fails to provide is nobody's crash but an infrastructure error", async () => {
  const { board, sink, summary, statuses } = await run({
    faults: {
      "regression_1005 start": [
        {
          incident: {
            kind: "lost",
            what: "port lockstep.rpmb of the guest is served no more",
            stream: "qemu",
            line: "the RPMB part cannot be kept: no space left on device",
            infrastructure: true,
          },
        },
      ],
    },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1005: "error", run: "error" });
  expect(sink.results.get("xtest.regression_1005")?.reason).toMatch(/no space left on device/);
  expect(sink.problems.join()).toMatch(/served no more/);
  expect(board.recoveries).toBe(1);
  expect(summary.exitCode).toBe(EXIT.infrastructure);
});

test("two crashes and a failure: each case has its own status, none runs twice", async () => {
  const cases = CASES.map((one) => (one.id === "pkcs11_1004" ? fakeCase(one.id, "fail") : one));
  const { board, sink, statuses, summary } = await run({
    cases,
    faults: {
      "regression_1001 start": [{ incident: PANIC }],
      "regression_1006 start": [{ incident: PANIC }],
    },
  });
  expect(statuses).toEqual({
    ...GOOD,
    regression_1001: "crash",
    regression_1006: "crash",
    pkcs11_1004: "fail",
  });
  expect(board.recoveries).toBe(2);
  const starts = sink.events.flatMap((one) => (one.type === "case-start" ? [one.id] : []));
  expect(new Set(starts).size).toBe(starts.length);
  expect(summary.exitCode).toBe(EXIT.crashed);
});

test("silence ends a case as a timeout and does not blame the next one", async () => {
  const { statuses, summary, board, sink } = await run({
    faults: { "regression_1005 start": [{ silentMs: 60_000 }] },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1005: "timeout" });
  expect(sink.results.get("xtest.regression_1005")?.reason).toBe("xtest was silent for 60 s");
  expect(board.recoveries).toBe(1);
  expect(summary.exitCode).toBe(EXIT.timeout);
});

test("a case that talks for ever ends at its own deadline", async () => {
  const { statuses, sink } = await run({
    faults: { "regression_1006 start": [{ busyMs: 400_000 }] },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1006: "timeout" });
  expect(sink.results.get("xtest.regression_1006")?.reason).toBe("no verdict after 300 s");
});

test("a lockup on the console ends the case at once, long before any deadline", async () => {
  const { statuses, board } = await run({
    faults: { "regression_1006 start": [{ incident: LOCKUP }] },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1006: "timeout" });
  expect(board.killed).toBe(1);
});

test("a lost connection is a crash of the running case", async () => {
  const { statuses, sink } = await run({
    faults: { "regression_1005 start": [{ lost: "no keep-alive" }] },
  });
  expect(statuses["regression_1005"]).toBe("crash");
  expect(sink.results.get("xtest.regression_1005")?.reason).toMatch(
    /connection was lost.*keep-alive/,
  );
});

test("an xtest that ends in the middle is a crash of the running case", async () => {
  const { statuses } = await run({ faults: { "regression_1005 start": [{ exit: 139 }] } });
  expect(statuses).toEqual({ ...GOOD, regression_1005: "crash" });
});

test("a panic between two cases blames neither; it is a problem of the run", async () => {
  const { statuses, sink, summary } = await run({
    faults: { "regression_1005 end": [{ incident: PANIC }] },
  });
  expect(statuses).toEqual({ ...GOOD, run: "crash" });
  expect(sink.results.get("xtest.run")?.reason).toMatch(
    /kernel panic on normal, after regression_1005/,
  );
  expect(summary.exitCode).toBe(EXIT.crashed);
});

test("a case before whose first line the board dies twice is given up, the rest still runs", async () => {
  const { statuses, board } = await run({
    faults: { "regression_1005 before": [{ incident: PANIC }, { incident: PANIC }] },
  });
  expect(statuses).toEqual({ ...GOOD, regression_1005: "crash", run: "crash" });
  expect(board.recoveries).toBe(2);
});

test("an xtest that never gets to a case is given up instead of power-cycling for ever", async () => {
  const fault = { incident: PANIC };
  const faults: Record<string, { incident: typeof PANIC }[]> = {};
  for (const { id } of CASES) faults[`${id} before`] = [fault, fault, fault];
  const { statuses, board } = await run({ faults });
  expect(board.recoveries).toBeLessThanOrEqual(4);
  expect(Object.keys(statuses)).toHaveLength(CASES.length + 1);
  expect(Object.values(statuses)).not.toContain("pass");
  expect(statuses["pkcs11_1005"]).toBe("error");
});

test("a board that does not come back makes the rest an infrastructure error", async () => {
  const { statuses, summary, sink } = await run({
    deadAfter: 0,
    faults: { "regression_1004 start": [{ incident: PANIC }] },
  });
  expect(statuses).toEqual({
    regression_1001: "pass",
    regression_1004: "crash",
    regression_1005: "error",
    regression_1006: "error",
    regression_1007: "error",
    pkcs11_1004: "error",
    pkcs11_1005: "error",
    run: "error",
  });
  expect(sink.results.get("xtest.pkcs11_1005")).toMatchObject({
    reason: "board did not come back: no answer on the console",
    infrastructure: true,
  });
  expect(summary.exitCode).toBe(EXIT.infrastructure);
});

test("a board that does not come back after the last case is still an infrastructure error", async () => {
  const { statuses, summary } = await run({
    deadAfter: 0,
    faults: { "pkcs11_1005 start": [{ incident: PANIC }] },
  });
  expect(statuses).toEqual({ ...GOOD, pkcs11_1005: "crash", run: "error" });
  expect(summary.exitCode).toBe(EXIT.infrastructure);
});

const panicIn1004 = (): FaultPlan => ({ "regression_1004 start": [{ incident: PANIC }] });

test("retries power a board that did not come back up again, and repeat no case", async () => {
  const cases = CASES.map((one) => (one.id === "pkcs11_1004" ? fakeCase(one.id, "fail") : one));
  const dead = { cases, deadAfter: 0, deadFor: 2 };
  const { board, sink, statuses, summary } = await run(
    { ...dead, faults: panicIn1004() },
    ALL,
    listOf(CASES),
    2,
  );
  expect(board.recoveries).toBe(3);
  expect(statuses).toEqual({ ...GOOD, regression_1004: "crash", pkcs11_1004: "fail" });
  const starts = sink.events.flatMap((one) => (one.type === "case-start" ? [one.id] : []));
  expect(starts).toHaveLength(CASES.length);
  expect(new Set(starts).size).toBe(starts.length);
  expect(sink.events.filter((one) => one.type === "warning")).toHaveLength(2);
  expect(summary.exitCode).toBe(EXIT.crashed);

  const tooFew = await run({ ...dead, faults: panicIn1004() }, ALL, listOf(CASES), 1);
  expect(tooFew.summary.exitCode).toBe(EXIT.infrastructure);
  expect(tooFew.statuses["pkcs11_1004"]).toBe("error");
});

test("a link that never works is an infrastructure error of every case", async () => {
  const { statuses, summary, board } = await run({ startFails: 99 });
  expect(new Set(Object.values(statuses))).toEqual(new Set(["error"]));
  expect(board.recoveries).toBe(2);
  expect(summary.exitCode).toBe(EXIT.infrastructure);
});

test("a link that works after a power cycle costs nothing but the power cycle", async () => {
  const { statuses, summary } = await run({ startFails: 1 });
  expect(statuses).toEqual(GOOD);
  expect(summary.exitCode).toBe(EXIT.ok);
});

test("an xtest that cannot run says why in every case", async () => {
  const { sink, summary } = await run({
    cases: CASES,
    faults: {
      "regression_1001 before": [{ print: "Failed to open TEE context: 0xffff0008\n" }],
      "regression_1001 start": [{ exit: 255 }],
    },
  });
  expect(summary.exitCode).not.toBe(EXIT.ok);
  expect(sink.results.get("xtest.run")?.reason).toMatch(/Failed to open TEE context/);
});

test("totals that contradict the cases make the run an error", async () => {
  const { statuses, summary } = await run({
    faults: {
      // A whole case printed by nobody's xtest: the totals do not know it.
      "regression_1001 end": [{ print: " \n* regression_9999 Forged\n  regression_9999 OK\n" }],
    },
  });
  expect(statuses["run"]).toBe("error");
  expect(summary.unknown).toEqual(["regression_9999"]);
  expect(summary.exitCode).toBe(EXIT.failed);
});

test("a run with 0 subtests passes nothing", async () => {
  const { statuses, sink } = await run({ subtests: 0 });
  expect(statuses["regression_1001"]).toBe("error");
  expect(statuses["regression_1007"]).toBe("skip");
  expect(statuses["run"]).toBe("error");
  expect(sink.problems.join()).toMatch(/0 subtests/);
});

test("what xtest does not know is missing, not passed", async () => {
  const { statuses, summary } = await run({
    cases: CASES.filter((one) => one.id !== "regression_1006"),
  });
  expect(statuses).toEqual({ ...GOOD, regression_1006: "miss" });
  expect(summary.exitCode).toBe(EXIT.incomplete);
});

test("what no list expects is reported as new", async () => {
  const expected = listOf(CASES.filter((one) => one.id !== "regression_1005"));
  const { summary, statuses } = await run({}, ALL, expected);
  expect(summary.unknown).toEqual(["regression_1005"]);
  expect(statuses["regression_1005"]).toBe("pass");
});

test("a panic after the totals does not disappear behind a finished run", async () => {
  const { statuses, summary } = await run({ faults: { totals: [{ incident: PANIC }] } });
  expect(statuses).toEqual({ ...GOOD, run: "crash" });
  expect(summary.exitCode).toBe(EXIT.crashed);
});

test("a connection that breaks after xtest has said that it is done changes nothing", async () => {
  const { statuses, summary } = await run({ faults: { totals: [{ lost: "channel closed" }] } });
  expect(statuses).toEqual(GOOD);
  expect(summary.exitCode).toBe(EXIT.ok);
});

test("over a console long argument lists are split, and the run stays the same", async () => {
  const many = Array.from({ length: 120 }, (_, i) => fakeCase(`regression_${2000 + i}`));
  const only = many.filter((_, i) => i % 2 === 0).map((one) => one.id);
  const selection = { level: 0, suites: ["regression"], only };
  const { board, statuses } = await run({ cases: many, over: "console" }, selection, listOf(many));
  expect(Object.keys(statuses).toSorted()).toEqual(only.toSorted());
  expect(new Set(Object.values(statuses))).toEqual(new Set(["pass"]));
  expect(board.commands.length).toBeGreaterThan(1);
  for (const command of board.commands) expect(command.length).toBeLessThan(800);
});

test("Ctrl-C keeps what was seen, marks the rest as missing and throws", async () => {
  const board = new FakeBoard({ cases: CASES });
  const sink = new CollectingSink();
  const abort = new AbortController();
  const running = runXtest(board, ALL, {
    sink,
    progress: silentProgress,
    abort: abort.signal,
    expected: listOf(CASES),
    timers: board.timers,
    onCase: ({ id }) => {
      if (id === "xtest.regression_1004") abort.abort();
    },
  });
  await expect(running).rejects.toThrow(InterruptedError);
  expect(sink.results.get("xtest.regression_1004")?.status).toBe("pass");
  expect(sink.results.get("xtest.pkcs11_1005")?.status).toBe("miss");
  expect(sink.results.size).toBeGreaterThanOrEqual(CASES.length);
});

test("a filter that matches nothing is a usage error with a suggestion", async () => {
  const wrong = run({}, { ...ALL, only: ["regression_1094"] });
  await expect(wrong).rejects.toThrow(UsageError);
  await expect(run({}, { ...ALL, suites: ["pkcs12"] })).rejects.toThrow(/did you mean "pkcs11"/);
});
