import type { CaseResult, Results, SubcaseResult } from "../model.ts";

/** Names within a bundle. */
export const RUN_JSON = "run.json";
export const EVENTS = "events.jsonl";
export const RESULTS = "results.json";
export const CLAUSES = "clauses.json";
export const DIVERGENCES = "divergences.json";
export const TRACES = "traces";
export const TRACE_INDEX = "traces.json";

/** Everything that lockstep writes into a bundle, so that an old bundle can be told and replaced. */
export const BUNDLE_ENTRY =
  /^(?:run\.json|events\.jsonl|results\.json|clauses\.json|divergences\.json|traces|traces\.json|junit\.xml|results\.tap|kcidb\.json|report\.html|allure-results|console-[\w.-]+\.raw|\.[\w.-]+\.tmp)$/;

/**
 * File of a console stream: `console-<name>.raw`, and `console-<board>-<name>.raw` in a run of
 * several boards. Characters outside `A-Za-z0-9._-` become `_`.
 */
export function consoleFile(name: string, board?: string): string {
  const parts = board === undefined ? [name] : [board, name];
  return `console-${parts.map((part) => part.replaceAll(/[^\w.-]/g, "_")).join("-")}.raw`;
}

/** Longest name of a trace file before its ending. */
const MAX_NAME = 200;

/** A plain name that cannot leave its folder. */
function plainName(text: string): string {
  return text
    .replaceAll(/[^\w.-]/g, "_")
    .replace(/^\./, "_")
    .slice(0, MAX_NAME);
}

/** File of the traces of a case on a target, as parts of its path within the bundle. */
export function traceFile(target: string, caseId: string): readonly [string, string, string] {
  return [TRACES, plainName(target), `${plainName(caseId)}.jsonl.gz`];
}

/** Compares by UTF-16 code units: the same everywhere, whatever the locale. */
export function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

function orderedSubcase(sub: SubcaseResult): SubcaseResult {
  const { id, title, status, reason } = sub;
  return {
    id,
    ...(title === undefined ? {} : { title }),
    status,
    ...(reason === undefined ? {} : { reason }),
  };
}

function orderedCase(result: CaseResult): CaseResult {
  const { target, suite, id, title, status, reason, where, infrastructure, clauses, subcases } =
    result;
  return {
    target,
    suite,
    id,
    title,
    status,
    ...(reason === undefined ? {} : { reason }),
    ...(where === undefined ? {} : { where }),
    ...(infrastructure === undefined ? {} : { infrastructure }),
    ...(clauses === undefined ? {} : { clauses: clauses.toSorted(compareText) }),
    ...(subcases === undefined ? {} : { subcases: subcases.map(orderedSubcase) }),
  };
}

/** Cases in the one order that `results.json` has: by target, then id; fields always in one order too. */
export function sortedResults(cases: Iterable<CaseResult>): Results {
  return {
    format: 1,
    cases: [...cases]
      .map(orderedCase)
      .toSorted((a, b) => compareText(a.target, b.target) || compareText(a.id, b.id)),
  };
}

/** The bytes of `results.json`: equal outcomes give equal bytes. */
export function resultsText(results: Results): string {
  return `${JSON.stringify(results, null, 2)}\n`;
}
