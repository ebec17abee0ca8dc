import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { planInvocations, selectCases, xtestCommand, xtestRuns } from "./index.ts";
import { fakeCase, runBy } from "./testing/fake-xtest.ts";
import { expectedOf } from "./testing/logs.ts";

const IDS = [
  "regression_1004",
  "regression_10040",
  "regression_4007_dh",
  "regression_4007_dsa",
  "pkcs11_1004",
  "pkcs11_10041",
  "pkcs11_1005",
];
const CASES = IDS.map((id) => fakeCase(id));
const EXPECTED = expectedOf(CASES);
const ALL = { level: 0, suites: ["regression", "pkcs11"] };

test("xtest's filters are substrings, the last match decides, a leading -x starts from all", () => {
  expect(xtestRuns([], "regression_1004")).toBe(true);
  expect(xtestRuns(["1004"], "pkcs11_1004")).toBe(true);
  expect(xtestRuns(["regression_1004"], "pkcs11_1004")).toBe(false);
  expect(xtestRuns(["-x", "1004"], "pkcs11_1005")).toBe(true);
  expect(xtestRuns(["-x", "1004"], "pkcs11_1004")).toBe(false);
  expect(xtestRuns(["1004", "-x", "pkcs11"], "pkcs11_1004")).toBe(false);
  expect(xtestRuns(["-x", "pkcs11", "pkcs11_1004"], "pkcs11_1004")).toBe(true);
});

test("whatever is selected, the starts together run exactly that, each case once", () => {
  fc.assert(
    fc.property(
      fc.subarray(IDS, { minLength: 1 }),
      fc.integer({ min: 0, max: 200 }),
      (ids, max) => {
        const ran = planInvocations(EXPECTED.cases, ids, max).flatMap((invocation) => {
          const seen = runBy(xtestCommand(0, invocation), CASES).map((one) => one.id);
          expect(seen).toEqual(invocation.ids);
          return seen;
        });
        expect(ran.toSorted()).toEqual(ids.toSorted());
      },
    ),
    { numRuns: 500 },
  );
});

test("whole suites need no test ids, and a suite of which nothing is wanted is left out", () => {
  expect(planInvocations(EXPECTED.cases, IDS).map((one) => xtestCommand(0, one))).toEqual([
    "xtest -l 0 -t regression+pkcs11",
  ]);
  const some = ["pkcs11_1004", "pkcs11_10041", "pkcs11_1005"];
  expect(planInvocations(EXPECTED.cases, some).map((one) => xtestCommand(15, one))).toEqual([
    "xtest -l 15 -t pkcs11",
  ]);
});

test("a case whose id is part of another's runs without that one", () => {
  const [invocation, ...rest] = planInvocations(EXPECTED.cases, ["regression_1004"]);
  expect(rest).toEqual([]);
  expect(invocation?.ids).toEqual(["regression_1004"]);
  expect(invocation?.args).toContain("regression_10040");
});

const ids = (only: (string | RegExp)[], exclude: string[] = []): string[] =>
  selectCases(EXPECTED, { ...ALL, only, exclude }).map((one) => one.id);

test("filters are full ids or patterns, exclusions are substrings", () => {
  expect(ids(["regression_1004"])).toEqual(["regression_1004"]);
  expect(ids([/_4007_/g])).toEqual(["regression_4007_dh", "regression_4007_dsa"]);
  expect(ids([/./], ["1004"])).toEqual([
    "regression_4007_dh",
    "regression_4007_dsa",
    "pkcs11_1005",
  ]);
  expect(() => ids([/nothing/])).toThrow(/matches no case/);
  expect(() => ids(["pkcs11_1005"], ["1005"])).toThrow(/no case is left/);
});

test("an argument with a shell's characters in it stays one argument", () => {
  const command = xtestCommand(0, { suites: ["regression"], args: ["a b'; reboot"] });
  expect(command).toBe(`xtest -l 0 -t regression 'a b'\\''; reboot'`);
});
