import type { Conduit } from "../machine/index.ts";
import type { Data } from "./target.ts";

/**
 * What a scenario is given: the platform brought up with the conduit it asked for, and the normal
 * world on top. The same object stands before an emulated and a bridged secure world.
 */
export interface ScenarioContext {
  readonly conduit: Conduit;
  readonly seed: number;
}

/** A normal-world program, a named export of `suites/<subject>/*.scenario.ts`. */
export interface Scenario<C = ScenarioContext> {
  /** Conduits that it can run on; the first that the board declares is taken. */
  readonly conduits: readonly Conduit["kind"][];
  /** Clause ids that it exercises. */
  readonly clauses: readonly string[];
  run(context: C, args: Data): Data | Promise<Data>;
}
