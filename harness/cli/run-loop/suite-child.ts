import { execaNode } from "execa";
import { createRequire } from "node:module";
import {
  EXIT,
  InternalError,
  InterruptedError,
  LockstepError,
  messageOf,
  packageRoot,
  type Progress,
} from "../../base/index.ts";
import { clausesInTitle } from "../../lockstep/index.ts";
import {
  type Combination,
  type Data,
  Skipped,
  type Target,
  type XtestOutcome,
} from "../../platform/index.ts";
import { CaseTraces, type Tracing } from "./tracing.ts";
import {
  type CaseResult,
  type FromSuite,
  type RunSink,
  type StreamOffsets,
  SUITE_ENV,
  type SuiteCaseEnd,
  type SuiteSetup,
  type ToSuite,
} from "../../run/index.ts";

/** Wherever it was installed: beside this package or below it. */
const JEST = createRequire(import.meta.url).resolve("jest/bin/jest");
const TAIL_BYTES = 4000;

export interface SuiteChildOptions {
  readonly setup: SuiteSetup;
  /** Folders under `suites/` to run; all of them where empty. */
  readonly suites: readonly string[];
  readonly target: Target;
  /** The target itself records xtest results (with their console offsets) as they stream in. */
  readonly targetRecordsXtest: boolean;
  readonly sink: RunSink;
  readonly offsets: () => StreamOffsets;
  /** Clause ids of a scenario. */
  readonly clausesOf: (reference: string) => Promise<readonly string[]>;
  readonly progress: Progress;
  readonly abort: AbortSignal;
  /** Traces every scenario. */
  readonly tracing?: Tracing;
}

/**
 * Runs the Jest suites against one board as a child of this process and records every case.
 * Resolves to the number of cases that ran. Throws InternalError when Jest itself failed and
 * InterruptedError on abort; a failing case is a result, not an error.
 */
export async function runSuites(options: SuiteChildOptions): Promise<number> {
  return await new SuiteChild(options).run();
}

class SuiteChild {
  readonly #o: SuiteChildOptions;
  readonly #clauses = new Map<string, Set<string>>();
  #cases = 0;
  #notPassed = 0;
  #announced = 0;
  readonly #contradictions: string[] = [];
  #tail = "";
  #send: (message: ToSuite) => void = () => {};

  readonly #traces: CaseTraces | undefined;

  constructor(options: SuiteChildOptions) {
    this.#o = options;
    const { tracing, setup } = options;
    this.#traces = tracing && new CaseTraces(setup.board.name, tracing);
  }

  async run(): Promise<number> {
    const { setup, suites, abort } = this.#o;
    const child = execaNode(
      JEST,
      [
        "--selectProjects",
        "suites",
        "--runInBand",
        "--passWithNoTests",
        ...suites.map((suite) => `/suites/${suite}/`),
      ],
      {
        cwd: packageRoot,
        env: { [SUITE_ENV]: JSON.stringify(setup), FORCE_COLOR: "0", NODE_OPTIONS: "" },
        nodeOptions: ["--experimental-vm-modules", "--no-warnings"],
        ipc: true,
        reject: false,
        stdin: "ignore",
        // Its own process group: a Ctrl-C must reach the owner of the board only.
        detached: true,
        cleanup: true,
        buffer: false,
        cancelSignal: abort,
      },
    );
    const collect = (chunk: Uint8Array): void => {
      this.#o.sink.raw(setup.board.name, "jest", chunk);
      this.#tail = (this.#tail + Buffer.from(chunk).toString("utf8")).slice(-TAIL_BYTES);
    };
    child.stdout.on("data", collect);
    child.stderr.on("data", collect);
    this.#send = (message) => {
      // Jest may be gone by now, stopped or dead: its own end tells that, not a failed answer.
      if (child.connected) child.send(message, () => {});
    };
    child.on("message", (message: unknown) => this.#onMessage(message as FromSuite));
    const result = await child;
    await this.#recorded;
    if (abort.aborted) throw new InterruptedError(`the suites on ${setup.board.name} were stopped`);
    if (result.failed && this.#notPassed === 0) {
      throw new InternalError(`Jest could not run the suites on ${setup.board.name}`, {
        seen: this.#tail.trim() || (result.shortMessage ?? "no output"),
        next: "The whole output is in the bundle's stream named jest.",
      });
    }
    const [contradiction] = this.#contradictions;
    if (contradiction !== undefined) {
      throw new InternalError(
        `${this.#contradictions.length} verdicts of Jest contradict the target`,
        {
          seen: contradiction,
        },
      );
    }
    return this.#cases;
  }

  #onMessage(message: FromSuite): void {
    const { sink, setup, offsets } = this.#o;
    switch (message.kind) {
      case "announce":
        this.#announced += message.cases;
        break;
      case "case-start":
        if (this.#isXtest(message.caseId) && this.#o.targetRecordsXtest) break;
        this.#count(message.title);
        sink.event({
          type: "case-start",
          target: setup.board.name,
          id: message.caseId,
          offsets: offsets(),
        });
        break;
      case "case-end":
        this.#end(message.end);
        break;
      case "run":
        this.#answer(message.seq, this.#runScenario(message));
        break;
      case "xtest":
        this.#answer(message.seq, this.#runXtest(message.caseId, message.id));
        break;
      default:
        message satisfies never;
    }
  }

  #count(title: string): void {
    this.#o.progress.count(this.#cases, Math.max(this.#announced, this.#cases), title);
  }

  #isXtest(caseId: string): boolean {
    return caseId.startsWith("xtest.");
  }

  async #runScenario({
    caseId,
    reference,
    args,
    on,
  }: Extract<FromSuite, { kind: "run" }>): Promise<unknown> {
    const known = this.#clauses.get(caseId) ?? new Set<string>();
    this.#clauses.set(caseId, known);
    const run = this.#traces?.begin(caseId);
    const clauses = await this.#o.clausesOf(reference);
    for (const clause of clauses) known.add(clause);
    const record = run?.({ reference, clauses });
    try {
      const combination = on as Combination | undefined;
      return await this.#o.target.run(reference, args as Data, combination, record);
    } catch (error) {
      if (error instanceof LockstepError) this.#blame.set(caseId, error);
      throw error;
    }
  }

  /** What the target itself said of a case that did not pass: it knows a crash from a failure. */
  readonly #blame = new Map<string, LockstepError>();

  #verdict({ caseId, status }: SuiteCaseEnd): Pick<CaseResult, "status" | "infrastructure"> {
    const code = status === "fail" || status === "error" ? this.#blame.get(caseId)?.exitCode : 0;
    if (code === EXIT.crashed) return { status: "crash" };
    if (code === EXIT.timeout) return { status: "timeout" };
    if (code === EXIT.infrastructure) return { status: "error", infrastructure: true };
    return { status };
  }

  readonly #outcomes = new Map<string, XtestOutcome>();

  async #runXtest(caseId: string, id: string): Promise<XtestOutcome> {
    const outcome = await this.#o.target.xtest(id);
    this.#outcomes.set(caseId, outcome);
    return outcome;
  }

  #answer(seq: number, work: Promise<unknown>): void {
    work.then(
      (value) => this.#send({ kind: "value", seq, value }),
      (error: unknown) => {
        if (error instanceof Skipped) {
          this.#send({ kind: "skipped", seq, reason: error.reason });
          return;
        }
        const name = error instanceof Error ? error.name : "Error";
        this.#send({ kind: "failed", seq, name, message: messageOf(error) });
      },
    );
  }

  #end(end: SuiteCaseEnd): void {
    const { setup, sink, offsets } = this.#o;
    this.#cases += 1;
    this.#checkVerdict(end);
    if (end.status === "fail" || end.status === "error") this.#notPassed += 1;
    if (this.#isXtest(end.caseId) && this.#o.targetRecordsXtest) return;
    this.#count(end.title);
    const found = this.#resultOf(end);
    const at = offsets();
    const keep = (result: CaseResult): void => {
      sink.event({
        type: "case-end",
        target: setup.board.name,
        id: end.caseId,
        status: result.status,
        offsets: at,
      });
      sink.result(result);
    };
    const judged = this.#traces?.end(found);
    if (judged === undefined) keep(found);
    // Whatever waits is waited for at the end, and none is recorded before the one that ended before it.
    else {
      this.#recorded = Promise.all([judged, this.#recorded]).then(([result]) => keep(result));
      // It is looked at when Jest has ended; until then a rejection is not unhandled.
      this.#recorded.catch(() => {});
    }
  }

  /** Settles when every case that has ended is recorded. */
  #recorded: Promise<unknown> = Promise.resolve();

  /** What Jest made of a case must be what the target said of it. */
  #checkVerdict(end: SuiteCaseEnd): void {
    const outcome = this.#outcomes.get(end.caseId);
    if (outcome === undefined) return;
    const { status } = outcome;
    const expected = status === "pass" || status === "skip" ? status : "fail";
    if (end.status === expected) return;
    const reason = end.reason === undefined ? "" : `: ${end.reason}`;
    this.#contradictions.push(`${end.caseId} is ${status}, Jest says ${end.status}${reason}`);
  }

  #resultOf(end: SuiteCaseEnd): CaseResult {
    const outcome = this.#outcomes.get(end.caseId);
    const clauses = new Set([
      ...clausesInTitle(end.title),
      ...(this.#clauses.get(end.caseId) ?? []),
      ...(outcome?.clauses ?? []),
    ]);
    return {
      target: this.#o.setup.board.name,
      suite: end.suite,
      id: end.caseId,
      title: end.title,
      ...(outcome === undefined ? this.#verdict(end) : { status: outcome.status }),
      ...(end.reason === undefined ? {} : { reason: outcome?.reason ?? end.reason }),
      ...(outcome?.where === undefined ? {} : { where: outcome.where }),
      ...(outcome?.subcases === undefined ? {} : { subcases: outcome.subcases }),
      ...(clauses.size === 0 ? {} : { clauses: [...clauses].toSorted() }),
    };
  }
}
