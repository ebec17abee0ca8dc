import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { XtestParser } from "./index.ts";
import { fakeCase, fullRun } from "./testing/fake-xtest.ts";
import { eventsOf, golden, runsOf } from "./testing/logs.ts";

const CASES = [
  fakeCase("regression_1001", { subcases: ["pass", "pass"] }),
  fakeCase("regression_1002", "fail"),
  fakeCase("regression_1003", { subcases: ["pass", "fail", "skip"] }),
  fakeCase("pkcs11_1001", "skip"),
];
const COMMAND = "xtest -l 0 -t regression+pkcs11";
const LOG = fullRun(COMMAND, CASES, 40);

function only<T>(list: readonly T[]): T {
  const [one, ...rest] = list;
  if (one === undefined || rest.length > 0) throw new Error(`${list.length} instead of one`);
  return one;
}

test("a real console log gives every case, subcase and total that it holds", () => {
  const run = only(runsOf(golden()));
  expect(run.suite).toBe("regression+pkcs11");
  expect(run.level).toBe(0);
  expect(run.totals).toEqual({
    subtests: 39397,
    failedSubtests: 0,
    cases: 139,
    failedCases: 0,
    skippedCases: 0,
  });
  expect(run.cases).toHaveLength(139);
  expect(run.cases.flatMap((one) => one.subcases)).toHaveLength(961);
  expect(run.cases.every((one) => one.verdict === "OK" && one.listed === "OK")).toBe(true);
  expect(run.violations).toEqual([]);
  expect(run.end).toBe("done");
  const deep = run.cases.find((one) => one.id === "regression_1013");
  expect(deep?.subcases.map((one) => one.id).slice(0, 3)).toEqual([
    "regression_1013.1",
    "regression_1013.1.1",
    "regression_1013.1.2",
  ]);
});

test("failures carry their first-error place and what was said about it", () => {
  const run = only(runsOf(LOG));
  const [, plain, nested] = run.cases;
  expect(plain).toMatchObject({
    verdict: "FAILED",
    listed: "FAILED",
    where: "regression_1000.c:12",
    diagnostics: [
      "host/xtest/regression_1000.c:12: res has an unexpected value: 0x1, expected 0x0",
    ],
  });
  expect(nested?.subcases.map((one) => [one.id, one.verdict, one.where, one.skips])).toEqual([
    ["regression_1003.1", "OK", undefined, undefined],
    ["regression_1003.2", "FAILED", "regression_1000.c:34", undefined],
    ["regression_1003.3", "OK", undefined, ["Binary doesn't support it - skip tests"]],
  ]);
  expect(run.cases[3]?.skips).toEqual(["skip test, not here"]);
  expect(run.violations).toEqual([]);
});

test("events come in the order of the log, each as soon as its line is complete", () => {
  const seen: string[] = [];
  const parser = new XtestParser((event) => {
    if (event.type === "case-start" || event.type === "case-end") {
      seen.push(`${event.type} ${event.case.id}`);
    }
  });
  const at = LOG.indexOf("  regression_1001 OK\n");
  parser.push(LOG.slice(0, at + 19));
  expect(seen).toEqual(["case-start regression_1001"]);
  parser.push("K\n");
  expect(seen).toEqual(["case-start regression_1001", "case-end regression_1001"]);
});

test("any way of cutting the input into chunks gives the same events", () => {
  const bytes = Buffer.concat([golden().subarray(0, 9_000), Buffer.from(LOG + LOG)]);
  const whole = JSON.stringify(eventsOf([bytes]));
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: bytes.length }), { maxLength: 40 }), (cuts) => {
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.length];
      const chunks = at.slice(1).map((end, i) => bytes.subarray(at[i] ?? 0, end));
      expect(JSON.stringify(eventsOf(chunks))).toBe(whole);
    }),
    { numRuns: 60 },
  );
});

test("one byte at a time gives the same events, in a title of several bytes a letter too", () => {
  const text = LOG.replaceAll("Title", "Titre d’été");
  const bytes = Buffer.from(text);
  const chunks = Array.from(bytes, (_, i) => bytes.subarray(i, i + 1));
  expect(JSON.stringify(eventsOf(chunks))).toBe(JSON.stringify(eventsOf([text])));
  expect(only(runsOf(...chunks)).cases[0]?.title).toBe("Titre d’été of regression_1001");
});

const NOISE = [
  "[   12.345678] random: crng init done",
  "[  112.000001][    T1] virtio_net virtio0 eth0: renamed",
  "E/TC:? 0 TA panicked with code 0x123",
  "D/TA:  TA_InvokeCommandEntryPoint:42 skip this",
  "I/TC: Reserved shared memory is enabled",
];

test("kernel and secure-world lines between the lines change nothing", () => {
  const expected = JSON.stringify(runsOf(LOG));
  const lines = LOG.split("\n");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(lines.length - 1), fc.constantFrom(...NOISE)), { maxLength: 30 }),
      fc.constantFrom("\n", "\r\n"),
      (inserts, eol) => {
        const noisy = lines.map((line, i) => {
          const before = inserts.filter(([at]) => at === i).map(([, text]) => text);
          return [...before, line].join(eol);
        });
        expect(JSON.stringify(runsOf(noisy.join(eol)))).toBe(expected);
      },
    ),
  );
});

test("a line that a kernel line cuts in two is put together again", () => {
  const expected = JSON.stringify(runsOf(LOG));
  // Only where xtest itself prints: a cut within its first lines has nothing to belong to.
  fc.assert(
    fc.property(
      fc.integer({ min: LOG.indexOf("* regression_1001"), max: LOG.length - 1 }),
      fc.constantFrom(...NOISE),
      (at, noise) => {
        const cut = `${LOG.slice(0, at)}${noise}\n${LOG.slice(at)}`;
        expect(JSON.stringify(runsOf(cut))).toBe(expected);
      },
    ),
    { numRuns: 400 },
  );
});

test("terminal noise in and around lines is passed over", () => {
  const noisy = LOG.replaceAll("\n", "\r\n")
    .replaceAll("  regression_1001 OK", "\u001B[6n  regression_1001\u001B[0m OK\u001B[K")
    .replaceAll("* regression", "\u001B7\u001B[r\u001B[999;999H* regression")
    .replace("o regression_1001.1", "\0\0o regression_1001.1");
  expect(JSON.stringify(runsOf(noisy))).toBe(JSON.stringify(runsOf(LOG)));
});

test("several runs in a log are told apart, and a boot banner ends one", () => {
  const half = LOG.slice(0, LOG.indexOf("* regression_1003"));
  const boot = "NOTICE:  Booting Trusted Firmware\r\nU-Boot 2025.01-3 (Jun 24 2026)\r\n";
  const runs = runsOf(half + boot + LOG + LOG);
  expect(runs.map((run) => [run.index, run.end, run.cases.length])).toEqual([
    [1, "boot", 2],
    [2, "done", 4],
    [3, "done", 4],
  ]);
});

test("filters that xtest echoes belong to the run that follows", () => {
  const text = fullRun("xtest -l 3 -t regression regression_100 -x regression_1002", CASES);
  const [run, next] = runsOf(text + LOG);
  expect(run?.filters).toEqual(["regression_100", "-x", "regression_1002"]);
  expect(run?.level).toBe(3);
  expect(run?.cases.map((one) => one.id)).toEqual(["regression_1001", "regression_1003"]);
  expect(next?.filters).toEqual([]);
});

test("totals that a TA prints within a case are no totals", () => {
  const forged = LOG.replace(
    "* regression_1002",
    "* regression_1002 Title of regression_1002\n0 subtests of which 0 failed\n* regression_1002",
  );
  const run = only(runsOf(forged));
  expect(run.totals.subtests).toBe(40);
  expect(run.violations.join()).toMatch(/a line of totals within regression_1002/);
});

test("a verdict that contradicts the first one never improves it", () => {
  const forged = LOG.replace(
    "  regression_1002 FAILED\n",
    "  regression_1002 FAILED\n  regression_1002 OK\n",
  );
  const run = only(runsOf(forged));
  expect(run.cases[1]?.verdict).toBe("FAILED");
  expect(run.violations.join()).toMatch(/after the case had ended/);
  const early = LOG.replace(
    "  regression_1002 FAILED\n",
    "  regression_1002 OK\n  regression_1002 FAILED\n",
  );
  expect(only(runsOf(early)).cases[1]?.verdict).toBe("FAILED");
});

test("a verdict without a start is noted and never silently a case of its own", () => {
  const torn = LOG.replace(/\* regression_1002.*\n/, "");
  const run = only(runsOf(torn));
  expect(run.cases.find((one) => one.id === "regression_1002")?.started).toBe(false);
  expect(run.violations.join()).toMatch(/starts regression_1002 is not legible/);
});

test("binary garbage holds no run", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 4_000 }), (bytes) => {
      expect(runsOf(bytes)).toEqual([]);
    }),
  );
  expect(runsOf("")).toEqual([]);
});

test("a line of 1 GB is passed over and the lines after it are read", () => {
  const events: string[] = [];
  const parser = new XtestParser((event) => events.push(event.type));
  const block = Buffer.alloc(1 << 20, "x");
  for (let i = 0; i < 1024; i++) parser.push(block);
  parser.push("\n");
  parser.push(LOG);
  parser.end();
  expect(events.filter((type) => type === "case-end")).toHaveLength(4);
});
