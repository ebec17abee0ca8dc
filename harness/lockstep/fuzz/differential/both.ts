import type { PlatformPort, Window } from "../../../machine/index.ts";
import type { RuleSetName } from "../../../mediator/index.ts";
import type { Program } from "../program.ts";
import { type Difference, firstDifference } from "./compare.ts";
import { type ModelOptions, runOnModel } from "./model-side.ts";
import { runOnSide, type SideResult } from "./run.ts";
import { shelf } from "./shelf.ts";

export interface RealOptions {
  readonly rules: RuleSetName;
  /** The real machine, with nothing of an earlier program left in its secure world. */
  readonly port: PlatformPort;
  /** Its RAM, as far as programs may use it. */
  readonly ram: Window;
  /** The `.ta` files of its image, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
}

/** What a program did on the model and on a real machine. */
export interface BothResult {
  readonly model: SideResult;
  readonly real: SideResult;
  /** The first difference; undefined when there is none. */
  readonly difference: Difference | undefined;
}

/** Runs a program on a real machine. A lost machine is part of the result. */
export function runOnReal(program: Program, { rules, port, ram, tas }: RealOptions): SideResult {
  return runOnSide(program, { rules, port, ram, tas: shelf(tas) });
}

/** What a program did on a real machine, held against what it does on the model. */
export function besideModel(program: Program, real: SideResult, options: ModelOptions): BothResult {
  const model = runOnModel(program, options);
  return { model, real, difference: firstDifference(model.records, real.records) };
}
