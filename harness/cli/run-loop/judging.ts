import { systemClock } from "../../base/index.ts";
import type { BoardConfig } from "../../board/index.ts";
import {
  comparedByResults,
  DivergenceJudge,
  type Expectation,
  type Judgement,
  loadExpectations,
} from "../../lockstep/index.ts";
import { loadScenario } from "../../platform/index.ts";
import {
  type CaseResult,
  compareText,
  type Divergences,
  type ExpectationOutcome,
} from "../../run/index.ts";
import { isBridged } from "./bridged.ts";
import type { RunPlan } from "./plan.ts";
import type { RunSession } from "./session.ts";

/** Suite of the results that speak of expectations and not of a case. */
export const DIVERGENCES = "divergences";

/** The known divergences of the boards whose scenarios are compared. Throws as `loadExpectations`. */
export async function plannedExpectations(
  boards: readonly BoardConfig[],
  env: NodeJS.ProcessEnv,
): Promise<ReadonlyMap<string, readonly Expectation[]>> {
  const known = new Map<string, readonly Expectation[]>();
  for (const board of boards.filter(isBridged)) {
    known.set(board.name, await loadExpectations(board, { env }));
  }
  return known;
}

/** The judge of a board's cases; `versions` are those of the software on it, as far as it is known. */
export function judgeFor(
  config: BoardConfig,
  session: RunSession,
  reference: string,
  versions: () => Readonly<Record<string, string>>,
): DivergenceJudge {
  return new DivergenceJudge({
    target: config.name,
    expectations: session.plan.expectations.get(config.name) ?? [],
    versions,
    today: new Date(systemClock.wallMs()).toISOString().slice(0, 10),
    reference: async (caseId) => await session.writer.traces(reference, caseId),
    resultsOnly: async (scenario) => comparedByResults(await loadScenario(scenario)),
  });
}

/**
 * Ends the comparison of a board: what it found goes into the bundle, and an expectation that has expired
 * or is no longer true is a result of its own, which fails the run. `ended`: whether all cases ran.
 */
export function endJudging(judge: DivergenceJudge, session: RunSession, ended: boolean): void {
  const judgement = judge.finish((suite) => ended && isWhole(session.plan, suite));
  session.addJudgement(judgement);
  for (const outcome of judgement.expectations) {
    const result = resultOf(outcome);
    if (result !== undefined) session.writer.result(result);
  }
}

/** Whether every case of a suite was wanted. */
function isWhole({ suites, filter, narrowing }: RunPlan, suite: string): boolean {
  const { conduits, rules } = narrowing;
  const all = filter.patterns.length === 0 && conduits === undefined && rules === undefined;
  return all && suites.includes(suite);
}

function resultOf(one: ExpectationOutcome): CaseResult | undefined {
  const { outcome, target, id, cases, expires, owner, where } = one;
  const count = `${cases} ${cases === 1 ? "case" : "cases"}`;
  const named = { target, suite: DIVERGENCES, id: `${DIVERGENCES}.${id}`, where };
  const title = `known divergence ${id}: ${one.reason}`;
  if (outcome === "stale") {
    const reason = `no longer true: ${count} of it ran and none differed so; remove it (owner: ${owner})`;
    return { ...named, title, status: "xpass", reason };
  }
  if (outcome === "expired") {
    const reason = `expired on ${expires}: look at it again and set another date, or remove it (owner: ${owner})`;
    return { ...named, title, status: "fail", reason };
  }
  return undefined;
}

interface OfCase {
  readonly target: string;
  readonly caseId: string;
}

const byCase = (a: OfCase, b: OfCase): number =>
  compareText(a.target, b.target) || compareText(a.caseId, b.caseId);

/** What all boards came to, in the one order that `divergences.json` has. */
export function divergencesOf(judgements: readonly Judgement[]): Divergences {
  return {
    format: 1,
    targets: judgements.map(({ totals }) => totals),
    runs: judgements.flatMap(({ runs }) => runs).toSorted((a, b) => byCase(a, b) || a.run - b.run),
    notCompared: judgements
      .flatMap(({ notCompared }) => notCompared)
      .toSorted((a, b) => byCase(a, b)),
    expectations: judgements.flatMap(({ expectations }) => expectations),
  };
}
