import type { PlatformPort } from "../../../machine/index.ts";
import type { Program } from "../program.ts";
import { type Difference, firstDifference } from "./compare.ts";
import { type ModelOptions, runOnModel } from "./model-side.ts";
import { runOnSide, type SideResult } from "./run.ts";
import { shelf } from "./shelf.ts";

export interface BothOptions extends ModelOptions {
  /** The real machine, with nothing of an earlier program left in its secure world. */
  readonly port: PlatformPort;
}

/** What a program did on the model and on a real machine. */
export interface BothResult {
  readonly model: SideResult;
  readonly real: SideResult;
  /** The first difference; undefined when there is none. */
  readonly difference: Difference | undefined;
}

/** Runs a program on the model, then on the real machine, through the same mediator and driver. */
export function runOnBoth(program: Program, options: BothOptions): BothResult {
  const { rules, port, ram, tas } = options;
  const model = runOnModel(program, options);
  const real = runOnSide(program, { port, ram, rules, tas: shelf(tas) });
  return { model, real, difference: firstDifference(model.records, real.records) };
}
