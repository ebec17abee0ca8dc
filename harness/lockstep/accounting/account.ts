import { type Clause, CLAUSES } from "../clauses/index.ts";
import type { FoundScenario } from "./scenarios.ts";
import type { NamedTest } from "./titles.ts";

/** A clause with what proves it. */
export interface AccountedClause extends Clause {
  readonly tests: readonly NamedTest[];
  readonly scenarios: readonly FoundScenario[];
}

/** An id that a test or a scenario names and the catalogue does not have. */
export interface StrayId {
  readonly id: string;
  /** Test file with title, or scenario. */
  readonly where: string;
}

export interface Account {
  readonly clauses: readonly AccountedClause[];
  readonly strays: readonly StrayId[];
}

/** Lays tests and scenarios beside the catalogue. */
export function accountFor(
  tests: readonly NamedTest[],
  scenarios: readonly FoundScenario[],
  catalogue: readonly Clause[] = CLAUSES,
): Account {
  const testsOf = byClause(tests);
  const scenariosOf = byClause(scenarios);
  const known = new Set(catalogue.map(({ id }) => id));
  const named = [
    ...tests.map(({ clauses, file, title }) => ({ clauses, where: `${file}: ${title}` })),
    ...scenarios.map(({ clauses, reference }) => ({ clauses, where: reference })),
  ];
  return {
    clauses: catalogue.map((clause) => ({
      ...clause,
      tests: testsOf.get(clause.id) ?? [],
      scenarios: scenariosOf.get(clause.id) ?? [],
    })),
    strays: named.flatMap(({ clauses, where }) =>
      clauses.filter((id) => !known.has(id)).map((id) => ({ id, where })),
    ),
  };
}

/** A test names it, or a scenario that a suite test runs. */
export function isCovered({ tests, scenarios }: AccountedClause): boolean {
  return tests.length > 0 || scenarios.some(({ runBy }) => runBy.length > 0);
}

function byClause<T extends { readonly clauses: readonly string[] }>(
  items: readonly T[],
): Map<string, T[]> {
  const found = new Map<string, T[]>();
  for (const item of items) {
    for (const id of item.clauses) found.set(id, [...(found.get(id) ?? []), item]);
  }
  return found;
}
