import type { Status } from "../run/index.ts";
import { type ExpectedList, findRecord, type RunRecord } from "./expected/model.ts";
import { type Cut, judgeCase, printedSkips } from "./judge-case.ts";
import type { ParsedRun } from "./model.ts";
import { type CaseOutcome, type RunProblem, type RunReport, worstStatus } from "./report.ts";
import { xtestRuns } from "./select.ts";
import { judgeSubtests, judgeTotals } from "./judge-totals.ts";

export interface JudgeOptions {
  /** What is recorded of this xtest; without it nothing can be missing or new. */
  readonly expected?: ExpectedList | undefined;
  /** Key of the record to compare with, with `optee`. */
  readonly board?: string | undefined;
  readonly optee?: string | undefined;
  /** Ids that this run was to run, where it is known better than from the run's own words. */
  readonly selected?: readonly string[] | undefined;
  /** How the run was ended from outside. */
  readonly cut?: Cut | undefined;
}

/** The verdict over one run. xtest's exit code is not asked: it is the failures modulo 256. */
export function judgeRun(run: ParsedRun, options: JudgeOptions = {}): RunReport {
  const { expected, cut } = options;
  const record = recordFor(run, options);
  const expectedById = new Map(expected?.cases.map((one) => [one.id, one]));
  const dead = run.totals.cases === undefined || run.aborted;
  const lastCase = run.cases[run.cases.length - 1];
  const cases: CaseOutcome[] = run.cases.map((parsed) =>
    judgeCase(parsed, {
      run,
      last: dead && parsed === lastCase,
      cut,
      title: expectedById.get(parsed.id)?.title,
      record,
      usualSubcases: usualSubcases(parsed.id, expected),
    }),
  );
  const seen = new Set(run.cases.map((one) => one.id));
  const unreached = new Set<string>();
  const wanted = options.selected ?? expectedIds(run, expected);
  const lastId = lastCase?.id;
  for (const id of wanted) {
    if (seen.has(id)) continue;
    if (dead) unreached.add(id);
    cases.push({
      id,
      title: expectedById.get(id)?.title ?? "",
      status: "miss",
      reason: dead
        ? `not reached: the run ends ${lastId === undefined ? "before its first case" : `at ${lastId}`}`
        : "expected, but never appeared",
    });
  }
  const unknown =
    expected === undefined
      ? []
      : run.cases.map((one) => one.id).filter((id) => !expectedById.has(id));
  const subtests = judgeSubtests(run, record, wholeRun(run));
  const problems: RunProblem[] = [
    ...endProblems(run, cut),
    ...judgeTotals(run, expected, cases, subtests),
    ...newSkips(run, record),
  ];
  const { totals } = run;
  return {
    index: run.index,
    suite: run.suite,
    level: run.level,
    filters: run.filters,
    status: worstStatus([...cases, ...problems].map((one): Status => one.status)),
    totals:
      totals.cases === undefined
        ? undefined
        : {
            cases: totals.cases,
            failed: totals.failedCases ?? 0,
            skipped: totals.skippedCases ?? 0,
          },
    subtests,
    cases,
    unreached,
    unknown,
    problems,
    notes: notesOf(run, record),
  };
}

/** A run of everything in its suites: only those have comparable totals. */
export function wholeRun(run: ParsedRun): boolean {
  return run.filters.length === 0 && run.suite !== undefined;
}

function recordFor(run: ParsedRun, options: JudgeOptions): RunRecord | undefined {
  const { expected, board, optee } = options;
  if (expected === undefined || board === undefined || optee === undefined) return undefined;
  if (run.level === undefined || run.suite === undefined) return undefined;
  return findRecord(expected, { optee, board, level: run.level, suite: run.suite });
}

/** What a run should have shown, by its own header and the arguments that xtest echoed. */
function expectedIds(run: ParsedRun, expected: ExpectedList | undefined): string[] {
  if (expected === undefined) return [];
  const known = new Set(expected.cases.map((one) => one.suite));
  const suites = new Set(run.suite === undefined ? known : run.suite.split("+"));
  return expected.cases
    .filter((one) => suites.has(one.suite) && xtestRuns(run.filters, one.id))
    .map((one) => one.id);
}

function endProblems(run: ParsedRun, cut: Cut | undefined): RunProblem[] {
  const problems: RunProblem[] = run.messages.map((text) => ({ status: "error", text }));
  for (const text of run.violations) problems.push({ status: "error", text });
  for (const { after, evidence } of run.between) {
    if (evidence.kind === "hang") continue;
    const place = after === undefined ? "before the first case" : `after ${after}`;
    problems.push({ status: "crash", text: `${evidence.what} ${place}: ${evidence.line}` });
  }
  if (run.aborted) problems.push({ status: "error", text: "xtest aborted the suite" });
  if (run.totals.cases !== undefined) return problems;
  const last = run.cases[run.cases.length - 1];
  // A case that was running carries the end of the run; it is not told twice.
  if (last !== undefined && last.verdict === undefined) return problems;
  if (cut !== undefined) problems.push({ status: cut.status, text: cut.reason });
  else if (!problems.some((problem) => problem.status === "crash")) {
    problems.push({ status: "miss", text: "the run ends without its totals" });
  }
  return problems;
}

function usualSubcases(id: string, expected: ExpectedList | undefined): number {
  const records = expected?.records ?? [];
  if (records.length === 0) return 0;
  return Math.min(...records.map(({ subcases }) => subcases.get(id)?.length ?? 0));
}

/** A skip where the record has the case run is a loss of coverage, not a pass. */
function newSkips(run: ParsedRun, record: RunRecord | undefined): RunProblem[] {
  if (record === undefined) return [];
  return run.cases.flatMap((parsed) =>
    [...printedSkips(parsed)]
      .filter(([id]) => !record.skips.has(id))
      .map(([id, reason]): RunProblem => {
        return { status: "error", text: `${id} skips, the record has it run: ${reason}` };
      }),
  );
}

function notesOf(run: ParsedRun, record: RunRecord | undefined): string[] {
  const notes: string[] = [];
  for (const parsed of run.cases) {
    const hang = parsed.evidence.find((evidence) => evidence.kind === "hang");
    if (hang !== undefined && parsed.verdict !== undefined) {
      notes.push(`${hang.what} during ${parsed.id}, which went on: ${hang.line}`);
    }
    if (record === undefined) continue;
    for (const [id, reason] of printedSkips(parsed)) {
      const recorded = record.skips.get(id);
      if (recorded !== undefined && recorded !== reason) {
        notes.push(`${id} skips for another reason: "${reason}", recorded "${recorded}"`);
      }
    }
  }
  for (const { after, evidence } of run.between) {
    if (evidence.kind === "hang") {
      notes.push(`${evidence.what} after ${after ?? "the start"}: ${evidence.line}`);
    }
  }
  return notes;
}
