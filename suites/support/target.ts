import type { Data, XtestOutcome } from "../../harness/platform/index.ts";

/** What a suite sees of the target; the same on every board. */
export interface SuiteTarget {
  readonly board: { readonly name: string; readonly type: string; readonly platform: string };
  /** The xtest list in force, in run order. */
  readonly xtestCases: readonly { readonly id: string; readonly title: string }[];
  /** Runs a scenario, e.g. `smc-abi/fast-calls#callsUid`. Skips the test where the target cannot. */
  run(reference: string, args?: Data): Promise<Data>;
  /** The outcome of one xtest case. */
  xtest(id: string): Promise<XtestOutcome>;
  /** Ends the running test as `skip(reason)`. */
  skip(reason: string): never;
}

declare global {
  // The suites' Jest environment puts it there before a test file is loaded.
  var lockstepTarget: SuiteTarget;
}

export const target: SuiteTarget = globalThis.lockstepTarget;

/** Fails the running test for something that the target did, as a failed assertion would. */
export class CaseFailed extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CaseFailed";
  }
}
