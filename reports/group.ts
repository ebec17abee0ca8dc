import { type CaseResult, compareText, type Results } from "../harness/run/index.ts";

export interface SuiteGroup {
  readonly target: string;
  readonly suite: string;
  readonly cases: readonly CaseResult[];
}

/** Cases by target and suite, sorted by both; within one, the order of `results.json`. */
export function bySuite(results: Results): SuiteGroup[] {
  const groups = new Map<string, { target: string; suite: string; cases: CaseResult[] }>();
  for (const one of results.cases) {
    const key = JSON.stringify([one.target, one.suite]);
    const group = groups.get(key);
    if (group === undefined)
      groups.set(key, { target: one.target, suite: one.suite, cases: [one] });
    else group.cases.push(one);
  }
  return [...groups.values()].toSorted(
    (a, b) => compareText(a.target, b.target) || compareText(a.suite, b.suite),
  );
}

/** Milliseconds as seconds with three decimals. */
export function secondsOf(ms: number): string {
  return (Math.max(0, ms) / 1000).toFixed(3);
}
