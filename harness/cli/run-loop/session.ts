import {
  type ExitCode,
  EXIT,
  describeError,
  exitCodeOf,
  InterruptedError,
  UsageError,
} from "../../base/index.ts";
import type { BoardConfig } from "../../board/index.ts";
import type { Judgement } from "../../lockstep/index.ts";
import {
  type BundleWriter,
  type CaseResult,
  exitCodeFor,
  type FactsSheet,
  type RunInfo,
  type Trace,
} from "../../run/index.ts";
import { NOT_SELECTED } from "../../platform/index.ts";
import type { CliContext } from "../context.ts";
import { EMULATED, type RunPlan } from "./plan.ts";
import type { Tracing } from "./tracing.ts";

/** Runs the plan's suites on one board and records everything in the bundle. */
export type BoardRunner = (config: BoardConfig, session: RunSession) => Promise<void>;

/** What one run does, board after board; the bundle is its memory. */
export class RunSession {
  readonly plan: RunPlan;
  readonly writer: BundleWriter;
  /** The command's context; its abort signal also fires when the bundle cannot be written. */
  readonly context: CliContext;
  readonly seed: number;
  readonly #codes: ExitCode[] = [];
  readonly #facts = new Map<string, FactsSheet>();
  readonly #judgements: Judgement[] = [];
  #interrupted: string | undefined;

  constructor(parts: Pick<RunSession, "plan" | "writer" | "context" | "seed">) {
    this.plan = parts.plan;
    this.writer = parts.writer;
    this.context = parts.context;
    this.seed = parts.seed;
  }

  get abort(): AbortSignal {
    return this.context.abort;
  }

  get facts(): readonly FactsSheet[] {
    return [...this.#facts.values()];
  }

  /** Records a board's facts sheet; a later one of the same board replaces it. */
  recordFacts(facts: FactsSheet): void {
    this.#facts.set(facts.board, facts);
    this.writer.facts(facts);
  }

  /** The cases of a board that have ended. */
  resultsOf(board: string): readonly CaseResult[] {
    return this.writer.results.cases.filter(({ target }) => target === board);
  }

  /** What the comparison of a board's scenarios with the emulated platform's came to. */
  addJudgement(judgement: Judgement): void {
    this.#judgements.push(judgement);
  }

  get judgements(): readonly Judgement[] {
    return this.#judgements;
  }

  get interrupted(): string | undefined {
    return this.#interrupted;
  }

  /** What `runSuites` is told about traces; nothing where none are wanted. */
  tracing(judge?: Tracing["judge"]): { readonly tracing?: Tracing } {
    if (!this.plan.trace) return {};
    const { seed, writer } = this;
    const add = (trace: Trace): void => writer.trace(trace);
    return { tracing: { seed, add, ...(judge === undefined ? {} : { judge }) } };
  }

  /** The code that the run would exit with now. */
  get exitCode(): ExitCode {
    return exitCodeFor(this.writer.results.cases, this.#codes);
  }

  /** Something went wrong outside every case; it decides the exit code with the cases. */
  problem(error: unknown, where?: string): void {
    const text = describeError(error);
    this.writer.problem(where === undefined ? text : `${where}: ${text}`);
    this.#codes.push(exitCodeOf(error));
  }

  /** Counts an exit code of something that was compared or checked after the cases. */
  addExitCode(code: ExitCode): void {
    this.#codes.push(code);
  }

  /**
   * Runs every board. A board that fails is a problem of the run and the next one follows; only an
   * interrupt ends the run. Throws UsageError when the filter matches no case at all.
   */
  async run(runnerOf: (config: BoardConfig) => BoardRunner): Promise<void> {
    for (const config of this.plan.boards) {
      try {
        if (this.abort.aborted) throw new InterruptedError("the run was stopped");
        await runnerOf(config)(config, this);
      } catch (error) {
        if (error instanceof InterruptedError || this.abort.aborted) {
          this.#interrupted = "stopped before the end by a signal";
          this.#codes.push(EXIT.interrupted);
          return;
        }
        this.problem(error, config.name);
      }
      if (config.name === EMULATED) this.#refuseEmpty();
    }
  }

  #refuseEmpty(): void {
    const { patterns } = this.plan.filter;
    const { conduits = [], rules = [] } = this.plan.narrowing;
    const options = [
      ...patterns.map((pattern) => `--filter ${pattern}`),
      ...conduits.map((conduit) => `--conduit ${conduit}`),
      ...rules.map((set) => `--rules ${set}`),
    ];
    const { cases } = this.writer.results;
    const narrowed = conduits.length + rules.length > 0;
    const left = cases.filter(({ reason = "" }) => !(narrowed && reason.endsWith(NOT_SELECTED)));
    if (options.length === 0 || left.length > 0) return;
    throw new UsageError(`no case matches ${options.join(" ")}`, {
      next: narrowed
        ? "The scenarios that are left run on other conduits or under other rule sets; rule sets belong to the conduit vm."
        : "The expression is matched against ids such as xtest.regression_1001 and against titles; the results.json of a whole run holds both.",
    });
  }

  /** Closes the bundle with its reports. */
  async finish(render: Parameters<BundleWriter["finish"]>[0]["render"]): Promise<RunInfo> {
    return await this.writer.finish({
      exitCode: this.exitCode,
      ...(this.#interrupted === undefined ? {} : { incomplete: this.#interrupted }),
      ...(render === undefined ? {} : { render }),
    });
  }
}
