import type { CaseResult, CatalogueClause, ClauseCatalogue, Status } from "../model.ts";

/** What became of a clause on one target: the worst status of the cases that name it. */
export interface ClauseOnTarget {
  readonly status: Status;
  readonly cases: readonly CaseResult[];
}

/**
 * What a run says of a clause over all its targets. `known`: it was exercised and diverged as
 * expected. `unit-tests`: no case reached it, but unit tests prove it. `none`: neither.
 */
export type ClauseVerdict = "passed" | "failed" | "known" | "unit-tests" | "none" | "out-of-scope";

export interface ClauseInRun {
  readonly clause: CatalogueClause;
  readonly verdict: ClauseVerdict;
  readonly on: ReadonlyMap<string, ClauseOnTarget>;
}

/** How many clauses of a sheet came to what; `total` is the sum of the others. */
export interface SheetInRun {
  readonly sheet: string;
  readonly total: number;
  readonly passed: number;
  readonly failed: number;
  readonly known: number;
  readonly unitTestsOnly: number;
  readonly none: number;
  readonly outOfScope: number;
}

export interface ClauseAccount {
  /** In the catalogue's order. */
  readonly clauses: readonly ClauseInRun[];
  readonly sheets: readonly SheetInRun[];
}

/** The first of these that a case of the clause has is the clause's status on a target. */
const WORST: readonly Status[] = [
  "crash",
  "timeout",
  "error",
  "fail",
  "xpass",
  "xfail",
  "pass",
  "miss",
  "skip",
];

/** Holds a run's results against the catalogue that it was run with. */
export function accountClauses(
  catalogue: ClauseCatalogue,
  cases: readonly CaseResult[],
): ClauseAccount {
  const byClause = new Map<string, Map<string, CaseResult[]>>();
  for (const one of cases) {
    for (const id of one.clauses ?? []) {
      const targets = byClause.get(id) ?? new Map<string, CaseResult[]>();
      byClause.set(id, targets);
      targets.set(one.target, [...(targets.get(one.target) ?? []), one]);
    }
  }
  const clauses = catalogue.clauses.map((clause): ClauseInRun => {
    const on = new Map<string, ClauseOnTarget>();
    for (const [target, list] of byClause.get(clause.id) ?? []) {
      on.set(target, { status: worst(list), cases: list });
    }
    return { clause, on, verdict: verdictOf(clause, on) };
  });
  return { clauses, sheets: catalogue.sheets.map(({ name }) => countSheet(name, clauses)) };
}

function worst(cases: readonly CaseResult[]): Status {
  return WORST.find((status) => cases.some((one) => one.status === status)) ?? "skip";
}

function verdictOf(
  clause: CatalogueClause,
  on: ReadonlyMap<string, ClauseOnTarget>,
): ClauseVerdict {
  if (clause.status === "out-of-scope") return "out-of-scope";
  const statuses = new Set([...on.values()].map(({ status }) => status));
  const ran = [...statuses].filter((status) => status !== "skip" && status !== "miss");
  if (ran.some((status) => status !== "pass" && status !== "xfail")) return "failed";
  if (statuses.has("xfail")) return "known";
  if (statuses.has("pass")) return "passed";
  return clause.unitTests > 0 ? "unit-tests" : "none";
}

function countSheet(sheet: string, clauses: readonly ClauseInRun[]): SheetInRun {
  const own = clauses.filter(({ clause }) => clause.sheet === sheet);
  const count = (verdict: ClauseVerdict): number =>
    own.filter((one) => one.verdict === verdict).length;
  return {
    sheet,
    total: own.length,
    passed: count("passed"),
    failed: count("failed"),
    known: count("known"),
    unitTestsOnly: count("unit-tests"),
    none: count("none"),
    outOfScope: count("out-of-scope"),
  };
}
