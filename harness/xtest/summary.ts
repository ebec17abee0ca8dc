import type { ExitCode } from "../base/index.ts";
import { type CaseResult, exitCodeFor, type Results, type Status } from "../run/index.ts";
import { type CaseOutcome, type RunReport, worstStatus } from "./report.ts";

/** A run's report without its cases, which the summary holds merged. */
export type RunSummary = Omit<RunReport, "cases" | "unreached">;

export interface XtestSummary {
  /** The worst of everything; a later pass hides nothing. */
  readonly status: Status;
  readonly exitCode: ExitCode;
  /** In log order; only the first 1,000, and every one that is not a pass up to as many again. */
  readonly runs: readonly RunSummary[];
  readonly runCount: number;
  /** One outcome for each case id: the worst of all runs that reached it. */
  readonly cases: readonly CaseOutcome[];
  /** Sums of what xtest printed over all runs. */
  readonly totals: {
    readonly cases: number;
    readonly subtests: number;
    readonly failed: number;
    readonly skipped: number;
  };
  /** Case ids that no expected list knows, where there is one. */
  readonly unknown: readonly string[];
}

const MAX_RUNS = 1_000;

/** Which of two outcomes of one case stands. Other than in a verdict, a skip outweighs a pass. */
const MERGE_ORDER: readonly Status[] = [
  "error",
  "crash",
  "timeout",
  "fail",
  "xpass",
  "miss",
  "xfail",
  "skip",
  "pass",
];

/** Adds up runs one after the other, in memory bounded by the number of distinct cases. */
export class RunCollector {
  readonly #runs: RunSummary[] = [];
  readonly #cases = new Map<string, { outcome: CaseOutcome; reached: boolean }>();
  readonly #problems = new Set<Status>();
  readonly #unknown = new Set<string>();
  readonly #totals = { cases: 0, subtests: 0, failed: 0, skipped: 0 };
  #count = 0;
  #bad = 0;
  #infrastructure = false;

  add(report: RunReport): void {
    this.#count++;
    const { cases, unreached, ...summary } = report;
    if (this.#count <= MAX_RUNS || (report.status !== "pass" && this.#bad++ < MAX_RUNS)) {
      this.#runs.push(summary);
    }
    for (const problem of report.problems) this.#problems.add(problem.status);
    for (const id of report.unknown) this.#unknown.add(id);
    this.#totals.cases += report.totals?.cases ?? 0;
    this.#totals.failed += report.totals?.failed ?? 0;
    this.#totals.skipped += report.totals?.skipped ?? 0;
    this.#totals.subtests += report.subtests?.seen ?? 0;
    for (const outcome of cases) this.#merge(outcome, !unreached.has(outcome.id));
  }

  /** A case that was decided outside any run. */
  addCase(outcome: CaseOutcome): void {
    this.#merge(outcome, true);
  }

  /** The lab must act, whatever the cases say. */
  addInfrastructure(): void {
    this.#infrastructure = true;
  }

  summary(): XtestSummary {
    const cases = [...this.#cases.values()].map((entry) => entry.outcome);
    const judged: readonly Pick<CaseOutcome, "status" | "infrastructure">[] = [
      ...cases,
      ...[...this.#problems].map((status) => ({ status })),
      ...(this.#infrastructure ? [{ status: "error", infrastructure: true } as const] : []),
    ];
    return {
      status: worstStatus(judged.map((one) => one.status)),
      exitCode: exitCodeFor(judged),
      runs: this.#runs,
      runCount: this.#count,
      cases,
      totals: { ...this.#totals },
      unknown: [...this.#unknown],
    };
  }

  #merge(outcome: CaseOutcome, reached: boolean): void {
    const entry = this.#cases.get(outcome.id);
    if (entry === undefined || (reached && !entry.reached)) {
      this.#cases.set(outcome.id, { outcome, reached });
      return;
    }
    if (!reached) return;
    const [was, is] = [entry.outcome.status, outcome.status];
    if (MERGE_ORDER.indexOf(is) < MERGE_ORDER.indexOf(was)) entry.outcome = outcome;
  }
}

/** `regression_1001` as it is called in `results.json`. */
export const caseResultId = (id: string): string => `xtest.${id}`;

export function toCaseResult(target: string, outcome: CaseOutcome): CaseResult {
  const { id, title, ...rest } = outcome;
  return {
    target,
    suite: "xtest",
    id: caseResultId(id),
    title: title === "" ? id : title,
    ...rest,
  };
}

/** Id of the result that stands for xtest's runs as a whole. It exists only where one is wrong. */
export const RUN_RESULT_ID = "xtest.run";

/**
 * The result that carries what is wrong with runs as a whole; undefined where nothing is.
 * `infrastructure` are reasons that the lab must act upon.
 */
export function runResult(
  target: string,
  summary: XtestSummary,
  infrastructure: readonly string[] = [],
): CaseResult | undefined {
  const problems = summary.runs.flatMap((run) => run.problems);
  if (problems.length === 0 && infrastructure.length === 0) return undefined;
  const texts = [...new Set([...infrastructure, ...problems.map((problem) => problem.text)])];
  const more = texts.length > 10 ? `; and ${texts.length - 10} more` : "";
  const status =
    infrastructure.length > 0 ? "error" : worstStatus(problems.map((problem) => problem.status));
  return {
    target,
    suite: "xtest",
    id: RUN_RESULT_ID,
    title: "xtest run as a whole",
    status,
    reason: texts.slice(0, 10).join("; ") + more,
    ...(infrastructure.length > 0 && { infrastructure: true as const }),
  };
}

/** A parsed log in the form of a bundle's `results.json`, for comparison with one. */
export function toResults(target: string, summary: XtestSummary): Results {
  const cases = summary.cases.map((outcome) => toCaseResult(target, outcome));
  const whole = runResult(target, summary);
  if (whole !== undefined) cases.push(whole);
  return { format: 1, cases: cases.toSorted((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0)) };
}
