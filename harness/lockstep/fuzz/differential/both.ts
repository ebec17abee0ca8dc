import type { PlatformPort, Window } from "../../../machine/index.ts";
import type { RuleSetName } from "../../../mediator/index.ts";
import type { Program } from "../program.ts";
import { type Difference, firstDifference } from "./compare.ts";
import { modelPort, tasLike, type Wrap } from "./model-side.ts";
import { runOnSide, type SideResult } from "./run.ts";
import { shelf } from "./shelf.ts";

export interface BothOptions {
  readonly rules: RuleSetName;
  /** The real machine, with nothing of an earlier program left in its secure world. */
  readonly port: PlatformPort;
  readonly ram: Window;
  /** The `.ta` files of the real machine's image, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** A bug to plant in the model, for tests. */
  readonly wrap?: Wrap;
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
  const { rules, port, ram, wrap } = options;
  const { tas, images } = tasLike(options.tas);
  const model = runOnSide(program, {
    port: modelPort(ram, tas, wrap),
    ram,
    rules,
    tas: shelf(images),
  });
  const real = runOnSide(program, { port, ram, rules, tas: shelf(options.tas) });
  return { model, real, difference: firstDifference(model.records, real.records) };
}
