import { expect, test } from "@jest/globals";
import type { CaseResult, CatalogueClause, ClauseCatalogue, Status } from "../model.ts";
import { accountClauses } from "./account.ts";

const clause = (id: string, rest: Partial<CatalogueClause> = {}): CatalogueClause => ({
  id,
  sheet: id.slice(0, 3),
  summary: id,
  source: "os",
  status: "implemented",
  unitTests: 0,
  ...rest,
});

const catalogue = (...clauses: readonly CatalogueClause[]): ClauseCatalogue => ({
  format: 1,
  unitTests: true,
  sheets: [
    { name: "MED", title: "m" },
    { name: "SMC", title: "s" },
  ],
  clauses,
});

let cases = 0;
const result = (target: string, status: Status, ...clauses: readonly string[]): CaseResult => ({
  target,
  suite: "s",
  id: `s.${(cases += 1)}`,
  title: "t",
  status,
  clauses,
});

test.each<[readonly Status[], Status, string]>([
  [["pass", "pass"], "pass", "passed"],
  [["pass", "skip"], "pass", "passed"],
  [["pass", "miss"], "pass", "passed"],
  [["pass", "fail"], "fail", "failed"],
  [["crash", "pass"], "crash", "failed"],
  [["error"], "error", "failed"],
  [["timeout"], "timeout", "failed"],
  [["xpass"], "xpass", "failed"],
  [["pass", "xfail"], "xfail", "known"],
  [["xfail", "fail"], "fail", "failed"],
  [["skip"], "skip", "none"],
  [["miss"], "miss", "none"],
])(
  "cases that are %j make a clause %s on its target, and it counts as %s",
  (list, status, verdict) => {
    const named = list.map((one) => result("b", one, "MED-1"));
    const { clauses } = accountClauses(catalogue(clause("MED-1")), named);
    expect(clauses[0]?.on.get("b")).toEqual({ status, cases: named });
    expect(clauses[0]?.verdict).toBe(verdict);
  },
);

test("a clause that no case reached counts by its unit tests", () => {
  const { clauses } = accountClauses(
    catalogue(
      clause("MED-1", { unitTests: 3 }),
      clause("MED-2"),
      clause("MED-3", { unitTests: 1 }),
    ),
    [result("b", "skip", "MED-1"), result("b", "pass", "MED-3")],
  );
  expect(clauses.map(({ verdict }) => verdict)).toEqual(["unit-tests", "none", "passed"]);
});

test("passed on one target and failed on another is failed, with a status on each", () => {
  const { clauses } = accountClauses(catalogue(clause("MED-1")), [
    result("emulated", "pass", "MED-1"),
    result("b", "fail", "MED-1"),
  ]);
  expect(clauses[0]?.verdict).toBe("failed");
  expect([...(clauses[0]?.on ?? [])].map(([target, { status }]) => [target, status])).toEqual([
    ["emulated", "pass"],
    ["b", "fail"],
  ]);
});

test("every clause is counted once, in its sheet; ids that the catalogue lacks are not", () => {
  const outOfScope = clause("SMC-2", { status: "out-of-scope", reason: "r" });
  const { sheets } = accountClauses(
    catalogue(
      clause("MED-1"),
      clause("MED-2", { unitTests: 1 }),
      clause("MED-3"),
      clause("SMC-1"),
      outOfScope,
    ),
    [
      result("b", "pass", "MED-1", "SMC-1", "SMC-9"),
      result("b", "xfail", "SMC-1"),
      result("b", "pass", "SMC-2"),
    ],
  );
  const zero = { passed: 0, failed: 0, known: 0, unitTestsOnly: 0, none: 0, outOfScope: 0 };
  expect(sheets).toEqual([
    { ...zero, sheet: "MED", total: 3, passed: 1, unitTestsOnly: 1, none: 1 },
    { ...zero, sheet: "SMC", total: 2, known: 1, outOfScope: 1 },
  ]);
});
