import { beforeAll, expect, test } from "@jest/globals";
import {
  type Account,
  accountFor,
  findScenarios,
  findTests,
  type FoundScenario,
  isCovered,
} from "../index.ts";

let account: Account;
let scenarios: readonly FoundScenario[];

beforeAll(async () => {
  const { tests } = await findTests();
  scenarios = await findScenarios();
  account = accountFor(tests, scenarios);
});

test("every implemented clause is named by a test, or by a scenario that a suite runs", () => {
  const missing = account.clauses
    .filter((clause) => clause.status === "implemented" && !isCovered(clause))
    .map(({ id }) => id);
  expect(missing).toEqual([]);
});

test("nothing names a clause that the catalogue does not have", () => {
  expect(account.strays).toEqual([]);
});

test("what is out of scope is named by nothing", () => {
  const named = account.clauses
    .filter(({ status }) => status === "out-of-scope")
    .filter(({ tests, scenarios: by }) => tests.length + by.length > 0);
  expect(named).toEqual([]);
});

test("every scenario is run by a test of a suite", () => {
  expect(scenarios.length).toBeGreaterThan(100);
  expect(scenarios.filter(({ runBy }) => runBy.length === 0)).toEqual([]);
});
