import type { LiveBoard } from "../board/index.ts";
import type { CaseResult, Status } from "../run/index.ts";
import type { ExpectedCase } from "./expected/model.ts";
import { judgeCase } from "./judge-case.ts";
import type { ParsedCase, ParsedRun } from "./model.ts";
import type { CaseOutcome, RunReport } from "./report.ts";
import type { XtestRunOptions } from "./run-options.ts";
import {
  caseResultId,
  RunCollector,
  runResult,
  toCaseResult,
  type XtestSummary,
} from "./summary.ts";

/** A case that ended in any other way than by passing or skipping counts as failed in the totals. */
const FAILED: ReadonlySet<Status> = new Set(["fail", "error", "crash", "timeout"]);

interface Decision {
  readonly status: Status;
  readonly reason: string;
  readonly infrastructure?: true;
}

/** Hands events, progress and results on while they come, each final result exactly once. */
export class ResultKeeper {
  readonly #board: LiveBoard;
  readonly #options: XtestRunOptions;
  readonly #titles: ReadonlyMap<string, string>;
  readonly #total: number;
  readonly #collector = new RunCollector();
  readonly #final = new Map<string, CaseResult>();
  readonly #started = new Set<string>();
  /** What the last `case-end` event of a case said. */
  readonly #live = new Map<string, Status>();
  readonly #infrastructure: string[] = [];
  #wholeSubtests: RunReport["subtests"];

  constructor(board: LiveBoard, cases: readonly ExpectedCase[], options: XtestRunOptions) {
    this.#board = board;
    this.#options = options;
    this.#titles = new Map(cases.map((one) => [one.id, one.title]));
    this.#total = cases.length;
  }

  get #target(): string {
    return this.#board.config.name;
  }

  started(parsed: ParsedCase): void {
    const { sink, progress } = this.#options;
    const offsets = this.#board.offsets();
    this.#started.add(parsed.id);
    sink.event({ type: "case-start", target: this.#target, id: caseResultId(parsed.id), offsets });
    progress.count(this.#live.size, this.#total, parsed.id);
  }

  /** A case has printed its verdict; what its run as a whole will say is not known yet. */
  ended(run: ParsedRun, parsed: ParsedCase): void {
    const title = this.#titles.get(parsed.id);
    const known = { cut: undefined, record: undefined, usualSubcases: 0 };
    const context = { run, last: false, title, ...known };
    const outcome = judgeCase(parsed, context);
    this.#caseEnd(outcome.id, outcome.status);
    this.#options.onCase?.(toCaseResult(this.#target, outcome));
  }

  /** Takes a judged run: its cases are final now, those that it did not reach are not. */
  add(report: RunReport): void {
    const { progress } = this.#options;
    this.#collector.add(report);
    if (report.subtests !== undefined && report.subtests.compared !== "partial") {
      this.#wholeSubtests = report.subtests;
    }
    for (const problem of report.problems)
      progress.warn(`xtest: ${problem.status}: ${problem.text}`);
    for (const note of report.notes) progress.note(`xtest: ${note}`);
    for (const id of report.unknown)
      progress.warn(`xtest: ${id} is new, it is in no expected list`);
    for (const outcome of report.cases) {
      if (!report.unreached.has(outcome.id)) this.#result(outcome);
    }
  }

  /** Decides a case that no run will show any more. */
  decide(id: string, decision: Decision): void {
    const outcome: CaseOutcome = { id, title: this.#titles.get(id) ?? "", ...decision };
    this.#collector.addCase(outcome);
    this.#result(outcome);
  }

  /** The lab must act; also told where no case is left to carry it. */
  infrastructure(reason: string): void {
    this.#infrastructure.push(reason);
    this.#collector.addInfrastructure();
  }

  finish(universe: number, selected: number): XtestSummary {
    const { sink } = this.#options;
    const summary = this.#collector.summary();
    const whole = runResult(this.#target, summary, this.#infrastructure);
    if (whole !== undefined) {
      sink.result(whole);
      this.#options.onResult?.(whole);
    }
    for (const reason of this.#infrastructure) sink.problem(reason);
    for (const run of summary.runs) {
      for (const problem of run.problems) sink.problem(`xtest: ${problem.status}: ${problem.text}`);
    }
    const seen = [...this.#final.values()];
    const subtests = this.#wholeSubtests;
    sink.totals({
      target: this.#target,
      suite: "xtest",
      cases: seen.filter((one) => one.status !== "miss").length,
      failed: seen.filter((one) => FAILED.has(one.status)).length,
      skipped: universe - selected,
      ...(subtests === undefined
        ? {}
        : {
            subtests: {
              seen: subtests.seen,
              ...(subtests.min === undefined ? {} : { min: subtests.min }),
              ...(subtests.max === undefined ? {} : { max: subtests.max }),
            },
          }),
    });
    return summary;
  }

  #result(outcome: CaseOutcome): void {
    // A case that a forged or spliced line brings up again is in the summary, with its worst status.
    if (this.#final.has(outcome.id)) return;
    const result = toCaseResult(this.#target, outcome);
    this.#final.set(outcome.id, result);
    if (this.#live.get(outcome.id) !== outcome.status) this.#caseEnd(outcome.id, outcome.status);
    this.#options.sink.result(result);
    this.#options.onResult?.(result);
  }

  #caseEnd(id: string, status: Status): void {
    this.#live.set(id, status);
    const { sink, progress, abort } = this.#options;
    const target = this.#target;
    if (this.#started.has(id)) {
      const offsets = this.#board.offsets();
      sink.event({ type: "case-end", target, id: caseResultId(id), status, offsets });
    }
    // What an interrupt leaves undone is decided all at once, which is no progress.
    if (!abort.aborted) progress.count(Math.min(this.#live.size, this.#total), this.#total, id);
  }
}
