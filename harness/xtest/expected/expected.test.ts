import { expect, test } from "@jest/globals";
import { UsageError } from "../../base/index.ts";
import {
  bundledVersions,
  expectedFor,
  formatExpected,
  judgeRun,
  loadExpected,
  loadExpectedFile,
  parseExpected,
  recordRun,
  xtestCaseIds,
} from "../index.ts";
import { fakeCase, fullRun } from "../testing/fake-xtest.ts";
import { golden, runsOf } from "../testing/logs.ts";

const GOOD = `format: 1
xtest: 4.5.0
suites:
  regression:
    regression_1001: Core self tests
    regression_1002: PTA parameters
records:
  - optee: 4.5.0
    board: b
    level: 0
    suite: regression
    subtests: { min: 1, max: 2 }
    subcases:
      regression_1001: 1 1.1 2
    skips:
      regression_1001.1: not here
      regression_1002: neither
`;

test("the cases of xtest 4.5.0 are the 139 that a real whole run prints, in its order", async () => {
  expect(await bundledVersions()).toContain("4.5.0");
  const ids = await xtestCaseIds("4.5.0");
  const [run] = runsOf(golden());
  expect(ids).toHaveLength(139);
  expect(ids).toEqual(run?.cases.map((one) => one.id));
  const list = await loadExpected("4.5.0");
  expect(list.cases.map((one) => one.title)).toEqual(run?.cases.map((one) => one.title));
  expect(new Set(list.cases.map((one) => one.suite))).toEqual(new Set(["regression", "pkcs11"]));
  expect(list.records[0]?.subtests).toEqual({ min: 39396, max: 39397 });
});

test("a list is read with subcases and skips by their full ids", async () => {
  const list = await parseExpected(GOOD, "x.yaml");
  const [record] = list.records;
  expect(record?.subcases.get("regression_1001")).toEqual([
    "regression_1001.1",
    "regression_1001.1.1",
    "regression_1001.2",
  ]);
  expect(record?.skips.get("regression_1002")).toBe("neither");
});

test.each([
  ["level: 0", "leve: 0", /x\.yaml:10:5.*unknown key "leve".*did you mean "level"/],
  ["max: 2", "max: two", /x\.yaml:12:30.*records\.0\.subtests\.max must be integer/],
  ["min: 1", "min: 3", /min 3 is above max 2/],
  ["    regression_1001: Core", "    regression-1001: Core", /"regression-1001" is no valid name/],
  ["1 1.1 2", "1 x", /x\.yaml:14:24/],
  ["regression_1001.1: not", "regression_1001.7: not", /regression_1001\.7 is no recorded subcase/],
  ["regression_1002: neither", "regression_1009: neither", /regression_1009 is no case/],
  ["suites:", "suites: [", /x\.yaml:\d+:\d+.*not valid YAML/],
  ["format: 1", "format: 2", /format must be equal to constant/],
  ["xtest: 4.5.0\n", "", /"xtest" is missing/],
  ["    regression_1002: PTA parameters\n", "    regression_1001: PTA\n", /x\.yaml:6:5.*unique/],
])("a wrong list is refused with its place: %s as %s", async (from, to, message) => {
  expect(GOOD).toContain(from);
  const reading = parseExpected(GOOD.replace(from, to), "x.yaml");
  const error: unknown = await reading.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  expect(error).toBeInstanceOf(UsageError);
  const { where = "", message: text } = error as UsageError;
  expect(`${where} ${text}`).toMatch(message);
});

test("a package version picks its list, an unknown one the newest", async () => {
  expect(await expectedFor("4.5.0-2+deb13u1")).toMatchObject({
    exact: true,
    list: { xtest: "4.5.0" },
  });
  expect((await expectedFor("9.9.9")).exact).toBe(false);
  expect((await expectedFor(undefined)).exact).toBe(false);
});

test("a missing file and an unknown version say what there is", async () => {
  await expect(loadExpectedFile("/nonexistent.yaml")).rejects.toThrow(UsageError);
  await expect(loadExpected("9.9.9")).rejects.toThrow(/no cases are recorded for xtest 9\.9\.9/);
});

const CASES = [
  fakeCase("regression_1001", { subcases: ["pass", "skip"] }),
  fakeCase("pkcs11_1001"),
];
const KEY = { xtest: "4.6.0", optee: "4.6.0-dev", board: "mine" };
const recordOf = (
  text: string,
  before?: Parameters<typeof recordRun>[3],
  widen = false,
): ReturnType<typeof recordRun> => {
  const [run] = runsOf(text);
  if (run === undefined) throw new Error("no run");
  return recordRun(run, judgeRun(run), KEY, before, widen);
};
const log = (subtests: number, cases = CASES): string =>
  fullRun("xtest -l 0 -t regression+pkcs11", cases, subtests);

test("a record made from a log says the same after writing and reading it", async () => {
  const list = recordOf(log(100));
  const again = await parseExpected(await formatExpected(list), "");
  expect(again).toEqual(list);
  const [run] = runsOf(log(100));
  if (run === undefined) throw new Error("no run");
  const report = judgeRun(run, { expected: again, board: "mine", optee: "4.6.0" });
  expect(report.status).toBe("pass");
  expect(report.subtests?.compared).toBe("in range");
});

test("a range is widened, and a case added, only on demand", () => {
  const first = recordOf(log(100));
  expect(recordOf(log(100), first)).toEqual(first);
  expect(() => recordOf(log(102), first)).toThrow(/more than is recorded/);
  expect(recordOf(log(102), first, true).records[0]?.subtests).toEqual({ min: 100, max: 102 });
  const more = [...CASES, fakeCase("pkcs11_1002")];
  expect(() => recordOf(log(100, more), first)).toThrow(UsageError);
  expect(recordOf(log(100, more), first, true).cases.map((one) => one.id)).toEqual([
    "regression_1001",
    "pkcs11_1001",
    "pkcs11_1002",
  ]);
});

test("what is no clean whole run is not recorded", () => {
  expect(() => recordOf(log(0))).toThrow(/a run that is error cannot be recorded/);
  const failing = [...CASES, fakeCase("pkcs11_1002", "fail")];
  expect(() => recordOf(log(100, failing))).toThrow(/a run that is fail/);
  expect(() => recordOf(log(100).slice(0, 600))).toThrow(/no whole run/);
  const filtered = fullRun("xtest -l 0 -t regression regression_1001", CASES);
  expect(() => recordOf(filtered)).toThrow(/no whole run/);
});
