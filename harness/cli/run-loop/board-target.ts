import { BoardFileError, InternalError } from "../../base/index.ts";
import type { BoardConfig } from "../../board/index.ts";
import {
  type Combination,
  type Data,
  type Scenario,
  Skipped,
  type Target,
  type XtestOutcome,
} from "../../platform/index.ts";

/** Runs the whole xtest selection once; `outcome` is called for each case, in any order. */
export type XtestRunner = (outcome: (outcome: XtestOutcome) => void) => Promise<void>;

interface Waiter {
  readonly promise: Promise<XtestOutcome>;
  readonly resolve: (outcome: XtestOutcome) => void;
  readonly reject: (error: unknown) => void;
}

function ignore(): void {}

function newWaiter(): Waiter {
  const parts = { resolve: ignore, reject: ignore } as Omit<Waiter, "promise">;
  const promise = new Promise<XtestOutcome>((resolve, reject) => {
    Object.assign(parts, { resolve, reject });
  });
  return { promise, ...parts };
}

/** A board under the board controller: one run of xtest, and scenarios where it has a conduit. */
export class BoardTarget implements Target {
  readonly board: BoardConfig;
  readonly #runXtest: XtestRunner;
  readonly #loadScenario: (reference: string) => Promise<Scenario>;
  readonly #waiters = new Map<string, Waiter>();
  #running: Promise<void> | undefined;
  /** Why a case has no outcome, once the run is over. */
  #over: { readonly cause: unknown } | undefined;

  constructor(
    board: BoardConfig,
    runXtest: XtestRunner,
    loadScenario: (reference: string) => Promise<Scenario>,
  ) {
    this.board = board;
    this.#runXtest = runXtest;
    this.#loadScenario = loadScenario;
  }

  async run(reference: string, _args: Data, _on?: Combination): Promise<Data> {
    const { conduits } = await this.#loadScenario(reference);
    const declared = this.board.conduits;
    const conduit = conduits.find((kind) => declared.includes(kind));
    if (conduit !== undefined) {
      throw new BoardFileError(`board ${this.board.name} declares the conduit ${conduit}`, {
        where: this.board.file,
        expected:
          "a `bridge` section: conduits end at a machine that stands at its boot loader's prompt",
        next: "Add the bridge section, or remove `conduits` from the board file.",
      });
    }
    const needs = conduits.join(" or ");
    const has = declared.length === 0 ? "none" : declared.join(", ");
    throw new Skipped(`needs conduit ${needs}; the board declares ${has}`);
  }

  async xtest(id: string): Promise<XtestOutcome> {
    const waiter = this.#waiter(id);
    if (this.#over !== undefined) waiter.reject(this.#over.cause);
    this.#running ??= this.#start();
    return await waiter.promise;
  }

  /** Waits for an xtest run that is under way. */
  async close(): Promise<void> {
    await this.#running;
  }

  async #start(): Promise<void> {
    let cause: unknown = new InternalError("xtest ended without an outcome for this case");
    try {
      await this.#runXtest((outcome) => this.#waiter(outcome.id).resolve(outcome));
    } catch (error) {
      cause = error;
    }
    this.#over = { cause };
    for (const waiter of this.#waiters.values()) waiter.reject(cause);
  }

  #waiter(id: string): Waiter {
    const known = this.#waiters.get(id);
    if (known !== undefined) return known;
    const waiter = newWaiter();
    // A rejection before anybody asked for this case must not count as unhandled.
    waiter.promise.catch(() => {});
    this.#waiters.set(id, waiter);
    return waiter;
  }
}
