import type { BoardConfig } from "../board/index.ts";
import type { Combination } from "./combination.ts";
import type { Status, SubcaseResult, TraceRecord } from "../run/index.ts";

/** Structured-clone data: what may cross between a suite and the process that owns the board. */
export type Data =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | readonly Data[]
  | { readonly [key: string]: Data | undefined };

/** Takes the records of one run, and the combination that it ran on. */
export type TraceListener = (records: readonly TraceRecord[], on: Combination) => void;

/** The outcome of one xtest case on a target. */
export interface XtestOutcome {
  readonly id: string;
  readonly title: string;
  readonly status: Status;
  readonly reason?: string;
  readonly where?: string;
  readonly subcases?: readonly SubcaseResult[];
  /** Clause ids that the case exercises, where that is known. */
  readonly clauses?: readonly string[];
}

/** What a scenario or an xtest case runs on. The process that owns the board implements it. */
export interface Target {
  readonly board: BoardConfig;
  /**
   * Runs a scenario: `reference` is `<subject>/<file>#<export>`, e.g. `mediator/session#openPseudoTa`.
   * `on` is the combination of conduit and rules to run it on, the first that the target has when
   * left out. Rejects with a `Skipped` when the target has none that the scenario names, with a
   * `UsageError` when the scenario does not name `on`. With `record` the run is traced; it is called
   * once, before the promise settles, also where the run fails; not where it never began because
   * there is no such scenario or no combination for it.
   */
  run(reference: string, args: Data, on?: Combination, record?: TraceListener): Promise<Data>;
  /** The outcome of one xtest case; on a board the whole selection runs once, streamed. */
  xtest(id: string): Promise<XtestOutcome>;
  /** Ends what is under way. */
  close(): Promise<void>;
}

/** Thrown where something cannot be observed on this target; becomes `skip(reason)`, never a pass. */
export class Skipped extends Error {
  readonly reason: string;
  constructor(reason: string) {
    super(`skipped: ${reason}`);
    this.name = "Skipped";
    this.reason = reason;
  }
}
