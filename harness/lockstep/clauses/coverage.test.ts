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
  // What `lockstep fuzz --board` and `lockstep rpmb verify --over bridge` run is no suite's.
  const idle = scenarios.filter(({ runBy }) => runBy.length === 0);
  const ofCommands = /^(?:fuzz\/differential#|rpmb\/proof#asBuilt$)/;
  expect(idle.filter(({ reference }) => !ofCommands.test(reference))).toEqual([]);
});

test("the library has 150 scenarios and more, what is said elsewhere again not counted", () => {
  // Cases of xtest in other words, and recorded programs of the fuzzer.
  const again = /^(?:xtest|fuzz)\//;
  const library = scenarios.filter(({ reference }) => !again.test(reference));
  expect(library.length).toBeGreaterThanOrEqual(150);
  expect(new Set(library.map(({ reference }) => reference)).size).toBe(library.length);
  const nameless = library.filter(({ clauses }) => clauses.length === 0);
  // What `busy` is held against.
  expect(nameless.map(({ reference }) => reference)).toEqual(["mediator/many-vms#alone"]);
});
