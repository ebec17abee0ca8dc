import type { Progress } from "../base/index.ts";
import type { CaseResult, RunSink } from "../run/index.ts";
import type { ExpectedList } from "./expected/model.ts";
import type { Timers } from "./timers.ts";

export interface XtestRunOptions {
  readonly sink: RunSink;
  readonly progress: Progress;
  readonly abort: AbortSignal;
  /** The cases of the xtest on the board, by which every one of them gets a status. */
  readonly expected: ExpectedList;
  /** Version of OP-TEE, where it is known better than from the consoles. */
  readonly optee?: string;
  /** Called as soon as a case has ended, with what it printed; its run may still be refuted. */
  readonly onCase?: (result: CaseResult) => void;
  /** Called with each final result, right after the sink got it. */
  readonly onResult?: (result: CaseResult) => void;
  /** How often bringing the board back is tried again; 0 by default. */
  readonly retries?: number;
  readonly timers?: Timers;
  /** See `InvocationSetup`; 500 ms by default. */
  readonly settleMs?: number;
}
