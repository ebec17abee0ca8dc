import { type Program, STORED_STEP, STORED_PROGRAM } from "./program.ts";
import type { ShapeNode } from "./shape.ts";
import { simpler } from "./simpler.ts";

/** Tells whether a program still shows what is looked for. */
export type Probe = (program: Program) => boolean;

export interface ShrinkOptions {
  /** The most programs to try. */
  readonly attempts?: number;
  /** Asked between attempts; true ends the search with what there is. */
  readonly stop?: () => boolean;
}

const ATTEMPTS = 4000;

/** Programs to try; each is answered with whether it still shows what is looked for. */
export type Search = Generator<Program, Program, boolean>;

/**
 * The smallest program found that `fails` still holds for: steps are left out by delta debugging,
 * then whatever is left in each step is made simpler, until nothing more can go. Deterministic.
 */
export function shrink(program: Program, fails: Probe, options: ShrinkOptions = {}): Program {
  const search = shrinking(program);
  let best = program;
  let next = search.next();
  for (let left = options.attempts ?? ATTEMPTS; next.done !== true; left -= 1) {
    if (left <= 0 || options.stop?.() === true) return best;
    const found = fails(next.value);
    if (found) best = next.value;
    next = search.next(found);
  }
  return next.value;
}

/** The search itself, for whoever needs time to try a program. */
export function* shrinking(program: Program): Search {
  let best = program;
  for (;;) {
    const before = best;
    best = yield* fewerSteps(best);
    best = yield* simplerSteps(best);
    best = yield* simplerMachine(best);
    if (best === before) return best;
  }
}

/** Leaves out runs of steps, halves first, then ever shorter ones from the end. */
function* fewerSteps(program: Program): Search {
  let best = program;
  for (let size = Math.max(1, best.steps.length >> 1); size >= 1; size >>= 1) {
    for (let from = best.steps.length - size; from >= 0; from -= size) {
      const candidate = { ...best, steps: best.steps.toSpliced(from, size) };
      if (candidate.steps.length < best.steps.length && (yield candidate)) best = candidate;
    }
  }
  return best;
}

function* simplerSteps(program: Program): Search {
  let best = program;
  for (let index = best.steps.length - 1; index >= 0; index -= 1) {
    const step = best.steps[index];
    if (step === undefined) continue;
    const from = best;
    best = yield* simplest(STORED_STEP, step, best, (next) => ({
      ...from,
      steps: from.steps.with(index, next as typeof step),
    }));
  }
  return best;
}

function* simplerMachine(program: Program): Search {
  if (STORED_PROGRAM.kind !== "record") return program;
  const shape = STORED_PROGRAM.fields["machine"]?.shape;
  if (shape === undefined) return program;
  return yield* simplest(shape, program.machine, program, (next) => ({
    ...program,
    machine: next as Program["machine"],
  }));
}

/** Takes simpler values of a part as long as one is accepted; the program with the simplest. */
function* simplest(
  shape: ShapeNode,
  from: unknown,
  program: Program,
  withPart: (part: unknown) => Program,
): Search {
  let value = from;
  let best = program;
  for (;;) {
    let found = false;
    for (const next of simpler(shape, value)) {
      const candidate = withPart(next);
      if (!(yield candidate)) continue;
      value = next;
      best = candidate;
      found = true;
      break;
    }
    if (!found) return best;
  }
}
