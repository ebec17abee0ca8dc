import { UsageError } from "../../base/index.ts";
import {
  type AccountedClause,
  accountFor,
  describeListing,
  findScenarios,
  findTests,
  listingOf,
} from "../../lockstep/index.ts";
import { checkSelection } from "./plan.ts";

export interface ListOptions {
  /** Only clauses that tests or scenarios of these suites name. */
  readonly suites: readonly string[];
  /** Only clauses whose id or summary matches one of these. */
  readonly filters: readonly string[];
  readonly json: boolean;
}

/**
 * The clause catalogue with what proves each clause, as text or JSON. Throws UsageError for a suite
 * that there is not, a bad expression, and a selection that leaves nothing.
 */
export async function listClauses({ suites, filters, json }: ListOptions): Promise<string> {
  const selection = await checkSelection(suites, filters);
  const { tests, unitTests } = await findTests();
  const { clauses } = accountFor(tests, await findScenarios());
  const chosen = clauses.filter(
    (clause) => isOfSuites(clause, suites) && isMatched(clause, selection.patterns),
  );
  if (chosen.length === 0) {
    throw new UsageError("no clause is left by --suite and --filter", {
      next: "With --list-clauses, --filter is matched against ids such as MED-060 and against what clauses say",
    });
  }
  const listing = listingOf(chosen, { unitTests });
  return json ? `${JSON.stringify(listing, undefined, 2)}\n` : describeListing(listing);
}

function isOfSuites({ tests, scenarios }: AccountedClause, suites: readonly string[]): boolean {
  if (suites.length === 0) return true;
  return suites.some(
    (suite) =>
      tests.some(({ file }) => file.startsWith(`suites/${suite}/`)) ||
      scenarios.some(({ reference }) => reference.startsWith(`${suite}/`)),
  );
}

function isMatched({ id, summary }: AccountedClause, patterns: readonly string[]): boolean {
  if (patterns.length === 0) return true;
  return patterns.some((source) => {
    const pattern = new RegExp(source);
    return pattern.test(id) || pattern.test(summary);
  });
}
