import { type Program, STEP, STORED_PROGRAM } from "./program.ts";
import type { ShapeNode } from "./shape.ts";
import { simpler } from "./simpler.ts";

/** Tells whether a program still shows what is looked for; undefined when time is up. */
export type Probe = (program: Program) => boolean;

export interface ShrinkOptions {
  /** The most programs to try. */
  readonly attempts?: number;
  /** Asked between attempts; true ends the search with what there is. */
  readonly stop?: () => boolean;
}

const ATTEMPTS = 4000;

/**
 * The smallest program found that `fails` still holds for: steps are left out by delta debugging,
 * then whatever is left in each step is made simpler, until nothing more can go. Deterministic.
 */
export function shrink(program: Program, fails: Probe, options: ShrinkOptions = {}): Program {
  let left = options.attempts ?? ATTEMPTS;
  const tries = (candidate: Program): boolean => {
    if (left <= 0 || options.stop?.() === true) return false;
    left -= 1;
    return fails(candidate);
  };
  let best = program;
  for (;;) {
    const before = best;
    best = fewerSteps(best, tries);
    best = simplerSteps(best, tries);
    best = simplerMachine(best, tries);
    if (best === before || left <= 0) return best;
  }
}

/** Leaves out runs of steps, halves first, then ever shorter ones from the end. */
function fewerSteps(program: Program, tries: Probe): Program {
  let best = program;
  for (let size = Math.max(1, best.steps.length >> 1); size >= 1; size >>= 1) {
    for (let from = best.steps.length - size; from >= 0; from -= size) {
      const candidate = { ...best, steps: best.steps.toSpliced(from, size) };
      if (candidate.steps.length < best.steps.length && tries(candidate)) best = candidate;
    }
  }
  return best;
}

function simplerSteps(program: Program, tries: Probe): Program {
  let best = program;
  for (let index = best.steps.length - 1; index >= 0; index -= 1) {
    const step = best.steps[index];
    if (step === undefined) continue;
    const found = simplest(STEP, step, (next) => {
      const candidate = { ...best, steps: best.steps.with(index, next as typeof step) };
      if (!tries(candidate)) return false;
      best = candidate;
      return true;
    });
    if (!found) continue;
  }
  return best;
}

function simplerMachine(program: Program, tries: Probe): Program {
  let best = program;
  if (STORED_PROGRAM.kind !== "record") return best;
  const shape = STORED_PROGRAM.fields["machine"]?.shape;
  if (shape === undefined) return best;
  simplest(shape, best.machine, (next) => {
    const candidate = { ...best, machine: next as Program["machine"] };
    if (!tries(candidate)) return false;
    best = candidate;
    return true;
  });
  return best;
}

/** Takes simpler values as long as one is accepted; whether any was. */
function simplest(shape: ShapeNode, from: unknown, accept: (next: unknown) => boolean): boolean {
  let value = from;
  let any = false;
  for (;;) {
    let found = false;
    for (const next of simpler(shape, value)) {
      if (!accept(next)) continue;
      value = next;
      found = true;
      any = true;
      break;
    }
    if (!found) return any;
  }
}
