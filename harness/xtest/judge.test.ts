import { beforeAll, expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { EXIT } from "../base/index.ts";
import { type ExpectedList, judgeRun, loadExpected, type RunReport } from "./index.ts";
import { fakeCase, fullRun } from "./testing/fake-xtest.ts";
import { expectedOf, golden, judged, runsOf, summed } from "./testing/logs.ts";

const COMMAND = "xtest -l 0 -t regression+pkcs11";
const CASES = [
  fakeCase("regression_1001", { subcases: ["pass", "pass"] }),
  fakeCase("regression_1002"),
  fakeCase("regression_1003", { subcases: ["pass", "skip"] }),
  fakeCase("pkcs11_1001", "skip"),
];
const GOOD = fullRun(COMMAND, CASES, 40);
const BAD_CASES = CASES.map((one) =>
  one.id === "regression_1002" ? fakeCase(one.id, "fail") : one,
);
const BAD = fullRun(COMMAND, BAD_CASES, 40);

let list: ExpectedList;
beforeAll(async () => {
  list = await loadExpected("4.5.0");
});

function statuses(report: RunReport | undefined): Record<string, string> {
  return Object.fromEntries((report?.cases ?? []).map((one) => [one.id, one.status]));
}
const texts = (report: RunReport | undefined): string =>
  (report?.problems ?? []).map((problem) => problem.text).join("\n");

test("the real log passes with its record: 139 cases, 8 of them skips, 39397 subtests in range", () => {
  const key = { expected: list, board: "qemu-virt", optee: "4.5.0" };
  const [report] = runsOf(golden()).map((run) => judgeRun(run, key));
  expect(report?.problems).toEqual([]);
  expect(report?.status).toBe("pass");
  expect(report?.subtests).toEqual({ seen: 39397, min: 39396, max: 39397, compared: "in range" });
  expect(report?.totals).toEqual({ cases: 139, failed: 0, skipped: 0 });
  expect(report?.unknown).toEqual([]);
  const skips = report?.cases.filter((one) => one.status === "skip").map((one) => one.id);
  expect(skips).toEqual([
    "regression_1020",
    "regression_1029",
    "regression_1031",
    "regression_1036",
    "regression_1037",
    "regression_1038",
    "regression_1041",
    "regression_8002",
  ]);
});

test("a skip within a subcase skips the subcase, and the case only if nothing else in it ran", () => {
  const [report] = judged(GOOD);
  expect(statuses(report)).toEqual({
    regression_1001: "pass",
    regression_1002: "pass",
    regression_1003: "pass",
    pkcs11_1001: "skip",
  });
  expect(report?.cases[2]?.subcases?.map((one) => [one.status, one.reason])).toEqual([
    ["pass", undefined],
    ["skip", "Binary doesn't support it - skip tests"],
  ]);
  expect(report?.cases[3]?.reason).toBe("skip test, not here");
});

test("a subtest count outside the recorded range makes the run an error, unrecorded it is shown", () => {
  const text = golden().toString("latin1").replace("39397 subtests", "39395 subtests");
  const key = { expected: list, board: "qemu-virt", optee: "4.5.0" };
  const [recorded] = judged(text, key);
  expect(recorded?.status).toBe("error");
  expect(texts(recorded)).toBe("39395 subtests, recorded are 39396 to 39397");
  const [other] = judged(text, { ...key, board: "imx8mm-evk" });
  expect(other?.status).toBe("pass");
  expect(other?.subtests).toEqual({ seen: 39395, compared: "not recorded" });
});

test("0 subtests make the run and every case that says OK an error", () => {
  const [report] = judged(fullRun(COMMAND, CASES, 0));
  expect(report?.status).toBe("error");
  expect(texts(report)).toMatch(/0 subtests: nothing was checked/);
  expect(statuses(report)).toEqual({
    regression_1001: "error",
    regression_1002: "error",
    regression_1003: "error",
    pkcs11_1001: "skip",
  });
});

test("0 subtests are right where every case says that it skips", () => {
  const [report] = judged(fullRun("xtest -l 0 -t pkcs11 pkcs11_1001", CASES, 0));
  expect(report?.status).toBe("skip");
  expect(report?.problems).toEqual([]);
});

test.each([
  ["4 test cases of which 0", "5 test cases of which 0", /counts 5 cases, 4 were read/],
  ["4 test cases of which 0", "4 test cases of which 1", /counts 1 failed cases, 0 were read/],
  [
    "0 test cases were skipped",
    "1 test case was skipped",
    /1 cases skipped in a run of everything/,
  ],
  ["regression_1002 OK\nregression_1003", "regression_1003", /regression_1002 is missing from/],
  ["40 subtests of which 0", "40 subtests of which 3", /contradiction/],
  ["40 subtests of which 0 failed\n", "", /number of subtests is missing/],
  ["0 test cases were skipped\n", "", /number of skipped cases is missing/],
])("totals that do not fit what was read make the run an error: %s", (from, to, why) => {
  expect(GOOD).toContain(from);
  const [report] = judged(GOOD.replace(from, to));
  expect(report?.status).toBe("error");
  expect(texts(report)).toMatch(why);
});

test("a filtered run expects what its filters match, by xtest's own rule", () => {
  const expected = expectedOf(CASES);
  const text = fullRun("xtest -l 0 -t regression+pkcs11 1001", CASES, 10);
  const [report] = judged(text, { expected });
  expect(statuses(report)).toEqual({ regression_1001: "pass", pkcs11_1001: "skip" });
  expect(report?.subtests?.compared).toBe("partial");
  const [short] = judged(text.replace("2 test cases were skipped", "1 test case was skipped"), {
    expected,
  });
  expect(short?.status).toBe("error");
});

test("what never appeared is missing, what is not expected is new", () => {
  const expected = expectedOf([...CASES.slice(1), fakeCase("regression_1999")]);
  const [report] = judged(GOOD, { expected });
  expect(statuses(report)["regression_1999"]).toBe("miss");
  expect(report?.unknown).toEqual(["regression_1001"]);
  expect(report?.status).toBe("miss");
});

test("a log cut off within a case: the case and all after it are missing", () => {
  const at = GOOD.indexOf("o regression_1003.2");
  const [report] = judged(GOOD.slice(0, at), { expected: expectedOf(CASES) });
  expect(statuses(report)).toEqual({
    regression_1001: "pass",
    regression_1002: "pass",
    regression_1003: "miss",
    pkcs11_1001: "miss",
  });
  expect(report?.cases[2]?.reason).toBe("started, no verdict: the log ends here");
  expect(summed(GOOD.slice(0, at)).exitCode).toBe(EXIT.incomplete);
});

test("a log cut off before its totals is not a pass, wherever it is cut", () => {
  fc.assert(
    fc.property(fc.integer({ min: 30, max: GOOD.indexOf("0 test cases were skipped") }), (at) => {
      const cut = GOOD.slice(0, at);
      fc.pre(runsOf(cut).length > 0);
      expect(summed(cut, { expected: expectedOf(CASES) }).exitCode).not.toBe(EXIT.ok);
    }),
  );
});

test.each([
  ["[   99.000001] Kernel panic - not syncing: Oops: Fatal exception", /kernel panic/],
  ["[   99.000001] Internal error: Oops: 0000000096000004 [#1] SMP", /kernel oops/],
  ["E/TC:0 0 Panic 'unexpected' at core/kernel/thread.c:12 <thread_run>", /core panic/],
  ["E/TC:0 0 assertion 'n < 3' failed at core/mm/x.c:1 <f>", /core panic/],
  ["E/TC:0 0 Core data-abort at address 0x10 (translation fault)", /core abort/],
  ["NOTICE:  Booting Trusted Firmware", /boot banner/],
  ["U-Boot 2025.01-3+deb13u1 (Jun 24 2026 - 09:07:15 +0000)", /U-Boot banner/],
  ["[    0.000000] Booting Linux on physical CPU 0x0000000000", /Linux boot banner/],
  ["[   61.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 26s!", /soft lockup/],
  ["[   61.000001] watchdog: Watchdog detected hard LOCKUP on cpu 1", /hard lockup/],
])("a case that ends in %s is a crash", (line, why) => {
  const at = GOOD.indexOf("o regression_1003.2");
  const [report] = judged(`${GOOD.slice(0, at)}${line}\r\n`, { expected: expectedOf(CASES) });
  expect(report?.cases[2]).toMatchObject({ id: "regression_1003", status: "crash" });
  expect(report?.cases[2]?.reason).toMatch(why);
  expect(statuses(report)["pkcs11_1001"]).toBe("miss");
  expect(report?.status).toBe("crash");
});

test("a TA that panics is no crash: tests provoke it", () => {
  const [report] = judged(
    GOOD.replace(
      "  regression_1002 OK",
      "E/TC:? 0 TA panicked with code 0xffff0006\nE/TC:? 0 User mode data-abort at address 0x10\n  regression_1002 OK",
    ),
  );
  expect(report?.status).toBe("pass");
});

test("a core panic before the verdict is a crash even where the verdict says OK", () => {
  const text = GOOD.replace(
    "  regression_1002 OK",
    "E/TC:0 0 Panic at core/kernel/x.c:1 <f>\n  regression_1002 OK",
  );
  expect(statuses(judged(text)[0])["regression_1002"]).toBe("crash");
});

test("a later pass never hides an earlier error", () => {
  const summary = summed(BAD + GOOD);
  expect(summary.status).toBe("fail");
  expect(summary.exitCode).toBe(EXIT.failed);
  expect(summary.runs.map((run) => run.status)).toEqual(["fail", "pass"]);
  expect(summary.cases.find((one) => one.id === "regression_1002")?.status).toBe("fail");
  expect(summary.totals).toEqual({ cases: 8, subtests: 80, failed: 1, skipped: 0 });
});

test("a case that a dead run did not reach takes its status from the run that did", () => {
  const expected = expectedOf(CASES);
  const at = GOOD.indexOf("  regression_1002 OK");
  const rest = fullRun("xtest -l 0 -t regression+pkcs11 regression_1003 pkcs11_1001", CASES, 20);
  const summary = summed(`${GOOD.slice(0, at)}U-Boot 2025.01 (now)\n${rest}`, { expected });
  expect(Object.fromEntries(summary.cases.map((one) => [one.id, one.status]))).toEqual({
    regression_1001: "pass",
    regression_1002: "crash",
    regression_1003: "pass",
    pkcs11_1001: "skip",
  });
  expect(summary.status).toBe("crash");
  expect(summary.exitCode).toBe(EXIT.crashed);
});

test("no loss of bytes turns a log with a failure into a pass", () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(BAD.length), fc.integer({ min: 1, max: 60 })), {
        minLength: 1,
        maxLength: 12,
      }),
      (cuts) => {
        let text = BAD;
        for (const [at, length] of cuts) text = text.slice(0, at) + text.slice(at + length);
        const runs = runsOf(text);
        fc.pre(runs.length > 0);
        expect(summed(text, { expected: expectedOf(CASES) }).exitCode).not.toBe(EXIT.ok);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("no damage to bytes turns a log with a failure into a pass", () => {
  const bytes = Buffer.from(BAD);
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.nat(255)), { minLength: 1, maxLength: 40 }),
      (hits) => {
        const copy = Buffer.from(bytes);
        for (const [at, value] of hits) copy[at] = value;
        fc.pre(runsOf(copy).length > 0);
        expect(summed(copy, { expected: expectedOf(CASES) }).exitCode).not.toBe(EXIT.ok);
      },
    ),
    { numRuns: 2_000 },
  );
});

test("kernel lines anywhere between the lines never turn a failure into a pass", () => {
  const lines = BAD.split("\n");
  const noise = fc.constantFrom(
    "[   12.345678] random: crng init done",
    "[   12.345678]   regression_1002 OK",
    "E/TC:? 0 4 test cases of which 0 failed",
    "regression_1002 OK",
    "  regression_1002 OK",
    "40 subtests of which 0 failed",
    "4 test cases of which 0 failed",
  );
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(lines.length - 1), noise), { maxLength: 12 }),
      (inserts) => {
        const text = lines
          .flatMap((line, i) => [...inserts.filter(([at]) => at === i).map(([, one]) => one), line])
          .join("\n");
        const summary = summed(text, { expected: expectedOf(CASES) });
        expect(summary.exitCode).not.toBe(EXIT.ok);
        const status = summary.cases.find((one) => one.id === "regression_1002")?.status;
        expect(status).not.toBe("pass");
      },
    ),
    { numRuns: 500 },
  );
});

test("a case that says OK without one of the subcases that it has elsewhere checked nothing", () => {
  const record = {
    optee: "4.5.0",
    board: "elsewhere",
    level: 0,
    suite: "regression+pkcs11",
    remark: undefined,
    subtests: { min: 40, max: 40 },
    subcases: new Map([["regression_1002", ["regression_1002.1", "regression_1002.2"]]]),
    skips: new Map<string, string>(),
  };
  const options = { expected: expectedOf(CASES, [record]), board: "b", optee: "4.10.0" };
  const [report] = judged(GOOD, options);
  expect(report?.cases.find((one) => one.id === "regression_1002")).toMatchObject({
    status: "error",
    reason: expect.stringContaining("ran none of the 2 subcases") as unknown,
  });
  expect(statuses(report)).toMatchObject({ regression_1001: "pass", pkcs11_1001: "skip" });
});

test("subcase lines are checked against the record where there is one", () => {
  const record = {
    optee: "4.5.0",
    board: "b",
    level: 0,
    suite: "regression+pkcs11",
    remark: undefined,
    subtests: { min: 40, max: 40 },
    subcases: new Map([
      ["regression_1001", ["regression_1001.1", "regression_1001.2"]],
      ["regression_1003", ["regression_1003.1", "regression_1003.2"]],
    ]),
    skips: new Map([
      ["regression_1003.2", "Binary doesn't support it - skip tests"],
      ["pkcs11_1001", "skip test, not here"],
    ]),
  };
  const key = { expected: expectedOf(CASES, [record]), board: "b", optee: "4.5.0-13-gabc" };
  expect(judged(GOOD, key)[0]?.status).toBe("pass");

  const lost = GOOD.replace(/o regression_1001\.2.*\n.*\n/, "");
  expect(judged(lost, key)[0]?.cases[0]).toMatchObject({
    status: "error",
    reason: "1 recorded subcase lines missing, first regression_1001.2",
  });
  const added = GOOD.replace(
    "  regression_1002 OK\n",
    "o regression_1002.1 New\n  regression_1002.1 OK\n  regression_1002 OK\n",
  );
  expect(judged(added, key)[0]?.cases[1]?.reason).toMatch(/not recorded, first regression_1002.1/);

  const silent = GOOD.replace(" - 1001 -   skip test, not here\n", "");
  expect(judged(silent, key)[0]?.cases[3]).toMatchObject({
    status: "error",
    reason: "pkcs11_1001 is recorded as a skip (skip test, not here); it did not say so",
  });
  const fresh = GOOD.replace("  regression_1002 OK\n", "skip test, gone\n  regression_1002 OK\n");
  const [report] = judged(fresh, key);
  expect(statuses(report)["regression_1002"]).toBe("skip");
  expect(texts(report)).toBe("regression_1002 skips, the record has it run: skip test, gone");
  const changed = judged(GOOD.replace("not here", "elsewhere"), key)[0];
  expect(changed?.status).toBe("pass");
  expect(changed?.notes.join()).toMatch(/another reason: "skip test, elsewhere"/);
});

test("256 failures are failures, whatever the exit code makes of them", () => {
  const many = Array.from({ length: 256 }, (_, i) => fakeCase(`regression_${3000 + i}`, "fail"));
  const summary = summed(fullRun("xtest -l 0 -t regression", many));
  expect(summary.status).toBe("fail");
  expect(summary.totals.failed).toBe(256);
});

test("the reason of a crash is the same on two boards that crash alike", () => {
  const reasons = [
    "[   61.000001] watchdog: BUG: soft lockup - CPU#0 stuck for 26s! [xtest:211]",
    "[  112.347001][    T7] watchdog: BUG: soft lockup - CPU#1 stuck for 22s! [xtest:198]",
  ].map((line) => {
    const text = `${GOOD.slice(0, GOOD.indexOf("  regression_1002 OK"))}lockstep:~# ${line}\n`;
    return judged(text)[0]?.cases[1]?.reason;
  });
  expect(reasons[0]).toBe(
    "no verdict; soft lockup: watchdog: BUG: soft lockup - CPU#N stuck! [xtest]",
  );
  expect(reasons[1]).toBe(reasons[0]);
});
