import { Deadline, InterruptedError, messageOf } from "../base/index.ts";
import type { LiveBoard } from "../board/index.ts";
import type { ExpectedCase } from "./expected/model.ts";
import { type InvocationEnd, runInvocation } from "./invocation.ts";
import { judgeRun } from "./judge.ts";
import type { XtestEvent } from "./model.ts";
import { ResultKeeper } from "./result-keeper.ts";
import type { XtestRunOptions } from "./run-options.ts";
import { emptyRun } from "./run-tracker.ts";
import {
  type Invocation,
  planInvocations,
  selectCases,
  suiteCases,
  xtestCommand,
  type XtestSelection,
} from "./select.ts";
import type { XtestSummary } from "./summary.ts";
import { systemTimers } from "./timers.ts";

/** Where a board file says nothing about xtest. */
const DEFAULTS = { over: "ssh", caseTimeoutMs: 900_000, silenceTimeoutMs: 300_000 } as const;
const START_TIMEOUT_MS = 60_000;
const BOOT_TIMEOUT_MS = 300_000;
/** Starts of xtest in a row without a single case before the run is given up. */
const MAX_FRUITLESS = 4;
/** Bytes of arguments; a shell on a serial line takes no long lines (busybox: 1,024). */
const MAX_ARGS = { ssh: 60_000, console: 700 } as const;

/**
 * Runs the selected cases on a board and gives every one of them a status, whatever happens.
 * A case during which the board crashes, hangs or is lost ends at once; the board is power-cycled
 * and the run goes on with the next case. No case that has started is ever run again. An incident
 * between two cases is the run's own and blames neither; only when the board goes down a second
 * time before the first line of the same case is that case given up.
 *
 * Throws UsageError for a selection that matches nothing, InterruptedError after an abort (with the
 * results so far in the sink). A board that does not come back is no exception: what is left to run
 * becomes `error`, with exit code 3.
 */
export async function runXtest(
  board: LiveBoard,
  selection: XtestSelection,
  options: XtestRunOptions,
): Promise<XtestSummary> {
  return await new XtestRun(board, selection, options).run();
}

class XtestRun {
  readonly #board: LiveBoard;
  readonly #selection: XtestSelection;
  readonly #options: XtestRunOptions;
  readonly #universe: readonly ExpectedCase[];
  readonly #selected: readonly string[];
  readonly #keeper: ResultKeeper;
  /** Times that the board went down before the first line of a case. */
  readonly #strikes = new Map<string, number>();
  #pending: string[];
  #runs = 0;
  #fruitless = 0;

  constructor(board: LiveBoard, selection: XtestSelection, options: XtestRunOptions) {
    this.#board = board;
    this.#selection = selection;
    this.#options = options;
    this.#universe = suiteCases(options.expected, selection.suites);
    const cases = selectCases(options.expected, selection);
    this.#selected = cases.map((one) => one.id);
    this.#pending = [...this.#selected];
    this.#keeper = new ResultKeeper(board, cases, options);
  }

  async run(): Promise<XtestSummary> {
    const { abort, sink } = this.#options;
    let ready = await this.#bringUp(false);
    while (ready && this.#pending.length > 0) {
      const over = this.#board.config.xtest?.over ?? DEFAULTS.over;
      const [invocation] = planInvocations(this.#universe, this.#pending, MAX_ARGS[over]);
      if (invocation === undefined) break;
      const end = await this.#invoke(invocation, over);
      this.#settleAccounts(invocation, end);
      if (end.cut?.infrastructure === true) this.#keeper.infrastructure(end.cut.reason);
      if (end.how === "interrupted") break;
      if (end.how !== "clean") ready = await this.#bringUp(true);
    }
    if (abort.aborted) this.#giveUp("miss", "interrupted before it ran");
    const summary = this.#keeper.finish(this.#universe.length, this.#selected.length);
    await sink.flush();
    if (abort.aborted) throw new InterruptedError("interrupted while xtest was running");
    return summary;
  }

  async #invoke(invocation: Invocation, over: "ssh" | "console"): Promise<InvocationEnd> {
    const { abort, sink, timers = systemTimers, settleMs = 500 } = this.#options;
    const { config } = this.#board;
    return await runInvocation({
      board: this.#board,
      commands: this.#board.command(over),
      command: xtestCommand(this.#selection.level, invocation),
      caseTimeoutMs: config.xtest?.caseTimeoutMs ?? DEFAULTS.caseTimeoutMs,
      silenceTimeoutMs: config.xtest?.silenceTimeoutMs ?? DEFAULTS.silenceTimeoutMs,
      settleMs,
      startTimeoutMs: START_TIMEOUT_MS,
      timers,
      abort,
      onBytes: (bytes) => sink.raw(config.name, "xtest", bytes),
      onEvent: (event) => this.#event(event),
    });
  }

  #event(event: XtestEvent): void {
    if (event.type === "case-start") this.#keeper.started(event.case);
    else if (event.type === "case-end") this.#keeper.ended(event.run, event.case);
  }

  /** Judges what an invocation printed and takes from the pending cases what is decided now. */
  #settleAccounts(invocation: Invocation, end: InvocationEnd): void {
    const before = this.#pending.length;
    if (end.how === "not started" && end.runs.length === 0) {
      this.#notStarted(end.cut?.reason ?? "xtest could not be started");
      return;
    }
    const runs = end.runs.length > 0 ? end.runs : [emptyRun(0, invocation.args)];
    const last = runs.length - 1;
    for (const [i, run] of runs.entries()) {
      const report = judgeRun(
        { ...run, index: ++this.#runs },
        {
          expected: this.#options.expected,
          board: this.#board.config.name,
          optee: this.#options.optee ?? this.#board.versions["optee"],
          selected: i === last ? invocation.ids : run.cases.map((one) => one.id),
          cut: i === last ? end.cut : undefined,
        },
      );
      const late = end.cut !== undefined && i === last && run.totals.cases !== undefined;
      this.#keeper.add(
        late ? { ...report, problems: [...report.problems, problemOf(end.cut)] } : report,
      );
      const decided = new Set(report.cases.map((one) => one.id));
      for (const id of report.unreached) decided.delete(id);
      this.#pending = this.#pending.filter((id) => !decided.has(id));
    }
    if (end.how === "interrupted") return;
    const between = runs[last]?.cases.at(-1)?.verdict !== undefined;
    if (this.#pending.length < before) {
      this.#fruitless = 0;
      if (between && end.cut !== undefined && end.how !== "exited") this.#strike(end.cut);
      return;
    }
    this.#fruitless++;
    const reason = end.cut?.reason ?? "xtest ran none of the selected cases";
    if (end.how === "clean" || end.how === "exited") {
      const said = runs[last]?.messages[0] ?? end.tail;
      this.#giveUp("error", `xtest could not run: ${said === "" ? reason : said}`);
    } else if (this.#fruitless >= MAX_FRUITLESS) {
      this.#giveUp("error", `xtest does not get to its first case: ${reason}`);
    } else if (end.cut !== undefined) this.#strike(end.cut);
  }

  /** The first time it may be the board's state; after a power cycle it is the link. */
  #notStarted(reason: string): void {
    this.#fruitless++;
    this.#options.progress.warn(reason);
    if (this.#fruitless < 2) return;
    this.#keeper.infrastructure(reason);
    this.#giveUp("error", reason, true);
  }

  /** No case began: the first time nobody is blamed, the second time the one that was to begin. */
  #strike(cut: NonNullable<InvocationEnd["cut"]>): void {
    const [next] = this.#pending;
    if (next === undefined) return;
    const strikes = (this.#strikes.get(next) ?? 0) + 1;
    this.#strikes.set(next, strikes);
    if (strikes < 2) return;
    this.#pending.shift();
    const status = cut.status === "timeout" ? "timeout" : "crash";
    this.#keeper.decide(next, { status, reason: `twice before its first line: ${cut.reason}` });
  }

  /** True once the board can run xtest; otherwise all that is pending has become `error`. */
  async #bringUp(down: boolean): Promise<boolean> {
    const { progress, sink, abort, retries = 0 } = this.#options;
    let broken = down;
    for (let attempt = 0; !abort.aborted; attempt++) {
      const deadline = Deadline.after(this.#bootTimeoutMs(), "the board's way to tee-ready", {
        abort,
      });
      try {
        if (broken) await this.#board.recover(deadline);
        await this.#board.transition("tee-ready", deadline);
        return true;
      } catch (error) {
        if (abort.aborted) break;
        broken = true;
        const reason = `board ${down ? "did not come back" : "did not come up"}: ${messageOf(error)}`;
        if (attempt < retries) {
          const text = `${reason}; trying again`;
          progress.warn(text);
          sink.event({ type: "warning", target: this.#board.config.name, text });
          continue;
        }
        this.#keeper.infrastructure(reason);
        this.#giveUp("error", reason, true);
        return false;
      }
    }
    return false;
  }

  #bootTimeoutMs(): number {
    const { boot } = this.#board.config;
    if (boot === undefined) return BOOT_TIMEOUT_MS;
    const { bootloader, linux, teeReady } = boot;
    return bootloader.timeoutMs + linux.timeoutMs + teeReady.timeoutMs + 60_000;
  }

  #giveUp(status: "error" | "miss", reason: string, infrastructure = false): void {
    const left = this.#pending;
    this.#pending = [];
    for (const id of left) {
      this.#keeper.decide(id, { status, reason, ...(infrastructure && { infrastructure: true }) });
    }
  }
}

function problemOf(cut: NonNullable<InvocationEnd["cut"]>): NonNullable<InvocationEnd["cut"]> & {
  readonly text: string;
} {
  return { ...cut, text: `after the run's totals: ${cut.reason}` };
}
