import { test } from "@jest/globals";
import type { Combination, Data, XtestOutcome } from "../../harness/platform/index.ts";

/** What a suite sees of the target; the same on every board. */
export interface SuiteTarget {
  readonly board: { readonly name: string; readonly type: string; readonly platform: string };
  /** The xtest list in force, in run order. */
  readonly xtestCases: readonly { readonly id: string; readonly title: string }[];
  /** The combinations of conduit and rules that a scenario lists; empty where that is only one. */
  combinations(reference: string): readonly Combination[];
  /** A case's title on one of several combinations: `title [vm, kvm]`. */
  nameOn(title: string, on: Combination): string;
  /**
   * Runs a scenario, e.g. `smc-abi/fast-calls#callsUid`, on the first combination that fits or on
   * the one given. Skips the test where the target cannot.
   */
  run(reference: string, args?: Data, on?: Combination): Promise<Data>;
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

/** Runs a scenario of the file on the combination that the case is for; the first one named. */
export type RunOn = (scenario?: string, args?: Data) => Promise<unknown>;
/** The combination that a case is for; undefined where its scenario lists only one. */
type Body = (run: RunOn, on: Combination | undefined) => Promise<void>;

/**
 * Tests of one scenario file, each declared once for every combination of conduit and rules that its
 * scenarios list: `test(title, scenarios, body)`. Several scenarios of one test list the same ones.
 */
export function scenariosOf(
  file: string,
): (title: string, scenarios: string | readonly string[], body: Body) => void {
  return (title, scenarios, body) => {
    const names = typeof scenarios === "string" ? [scenarios] : scenarios;
    const first = names[0] ?? "";
    const runOn =
      (on?: Combination): RunOn =>
      (name = first, args = null) =>
        target.run(`${file}#${name}`, args, on);
    const combinations = target.combinations(`${file}#${first}`);
    if (combinations.length === 0) test(title, () => body(runOn(), undefined));
    for (const on of combinations) test(target.nameOn(title, on), () => body(runOn(on), on));
  };
}

/** Fails the running test for something that the target did, as a failed assertion would. */
export class CaseFailed extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CaseFailed";
  }
}
