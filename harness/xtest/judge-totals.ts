import type { ExpectedList, RunRecord } from "./expected/model.ts";
import type { ParsedRun } from "./model.ts";
import type { CaseOutcome, RunProblem, SubtestsReport } from "./report.ts";

/** The count of assertions against the range recorded for this xtest, OP-TEE and board. */
export function judgeSubtests(
  run: ParsedRun,
  record: RunRecord | undefined,
  whole: boolean,
): SubtestsReport | undefined {
  const seen = run.totals.subtests;
  if (seen === undefined) return undefined;
  if (!whole) return { seen, compared: "partial" };
  if (record === undefined) return { seen, compared: "not recorded" };
  const { min, max } = record.subtests;
  return { seen, min, max, compared: seen >= min && seen <= max ? "in range" : "out of range" };
}

/** What xtest counted against what was read: any difference means that one of them is wrong. */
export function judgeTotals(
  run: ParsedRun,
  expected: ExpectedList | undefined,
  cases: readonly CaseOutcome[],
  subtests: SubtestsReport | undefined,
): RunProblem[] {
  const { totals } = run;
  const problems: RunProblem[] = [];
  const wrong = (text: string): void => {
    problems.push({ status: "error", text });
  };
  if (totals.cases !== undefined) {
    const seen = run.cases.filter((one) => one.started).length;
    const failed = run.cases.filter((one) => one.verdict === "FAILED").length;
    if (totals.cases !== seen) wrong(`xtest counts ${totals.cases} cases, ${seen} were read`);
    if (totals.failedCases !== failed) {
      wrong(`xtest counts ${totals.failedCases} failed cases, ${failed} were read`);
    }
    if (totals.cases === 0) wrong("no case ran");
    judgeList(run, wrong);
    judgeSkipped(run, expected, wrong);
    judgeAssertions(run, cases, wrong);
  }
  if (subtests?.compared === "out of range") {
    wrong(`${subtests.seen} subtests, recorded are ${subtests.min} to ${subtests.max}`);
  }
  return problems;
}

/** Every case is printed twice: where it ends, and in the list at the run's end. */
function judgeList(run: ParsedRun, wrong: (text: string) => void): void {
  if (!run.listed) {
    wrong("the result list is missing");
    return;
  }
  for (const one of run.cases) {
    if (one.listed === undefined) wrong(`${one.id} is missing from the result list`);
    else if (one.verdict !== undefined && one.listed !== one.verdict) {
      wrong(`${one.id} ends ${one.verdict} and is listed as ${one.listed}`);
    }
  }
}

/** "Skipped" in xtest's totals are the cases that its arguments left out. */
function judgeSkipped(
  run: ParsedRun,
  expected: ExpectedList | undefined,
  wrong: (text: string) => void,
): void {
  const { skippedCases, cases } = run.totals;
  if (skippedCases === undefined || cases === undefined) {
    wrong("the number of skipped cases is missing");
    return;
  }
  if (run.filters.length === 0) {
    if (skippedCases !== 0) wrong(`${skippedCases} cases skipped in a run of everything`);
    return;
  }
  const suites = run.suite?.split("+") ?? [];
  const known = new Set(expected?.cases.map((one) => one.suite));
  if (suites.length === 0 || !suites.every((suite) => known.has(suite))) return;
  const universe = expected?.cases.filter((one) => suites.includes(one.suite)).length ?? 0;
  if (skippedCases + cases !== universe) {
    wrong(`${cases} cases run and ${skippedCases} skipped, the suites have ${universe}`);
  }
}

function judgeAssertions(
  run: ParsedRun,
  cases: readonly CaseOutcome[],
  wrong: (text: string) => void,
): void {
  const { subtests, failedSubtests, failedCases } = run.totals;
  if (subtests === undefined || failedSubtests === undefined) {
    wrong("the number of subtests is missing");
    return;
  }
  if (failedSubtests > subtests || failedSubtests > 0 !== (failedCases ?? 0) > 0) {
    wrong(
      `${failedSubtests} of ${subtests} subtests and ${failedCases} cases failed: contradiction`,
    );
  }
  if (subtests === 0 && cases.some((one) => one.status !== "skip" && one.status !== "miss")) {
    wrong("0 subtests: nothing was checked, e.g. because no TA can be loaded");
  }
}
