import {
  circumstances,
  MAX_FUNC,
  MAX_STEPS,
  ownPage,
  place,
  type Program,
  type Step,
  stepsOf,
  tidy,
} from "../program.ts";
import { either, list, mismatch, nat, pick, record, type ShapeNode } from "../shape.ts";
import { DIFFERENTIAL_TAS } from "./shelf.ts";

/** The secure world has room for two VMs; a third is refused. */
const vm = pick(0, 1, 0, 1, 0, 1, 0, 1, 0, 2);

const step = stepsOf({
  vm,
  ta: pick(...DIFFERENTIAL_TAS),
  func: nat(MAX_FUNC),
  messageAt: either([12, ownPage], [1, place]),
  refuse: pick(false),
  otherFunction: 12,
  // What TAs do is where model and board can differ most.
  often: { open: 9, bare: 8, invoke: 12, end: 4, register: 6, answer: 14 },
});

const MACHINE = record({
  world: pick("model"),
  seed: nat(0xffff_ffff),
  threads: pick(2),
  guests: pick(2),
  cache: pick(true),
});

if (circumstances.kind !== "record") throw new TypeError("circumstances are a record");
const { lie } = circumstances.fields;

/** What goes with a step: the one RPC that is not answered honestly. */
const around: ShapeNode = { kind: "record", fields: lie === undefined ? {} : { lie } };

/** A program of which every step means the same to an emulated machine and to a real one. */
export const DIFFERENTIAL_PROGRAM = record({
  machine: MACHINE,
  steps: list(record({ step, with: around }), 30, 90),
});

/** A program of the differential fuzzer; a program like any other. */
export const differentialProgram = (generated: unknown): Program => tidy(generated as Program);

/**
 * The same program as far as a real machine can run it: what happens between two accesses, scripts,
 * interrupts and allocations that fail are left out. Undefined where too little would be left of it:
 * its secure world is scripted, or it has VMs that a real one has no room for.
 */
export function forRealMachines({ machine, steps }: Program): Program | undefined {
  if (machine.world !== "model") return undefined;
  const kept = steps.filter(({ step: one }) => !(one.do === "create" && one.refuse));
  return {
    machine: { ...machine, threads: 2, guests: 2, cache: true },
    steps: kept.map(({ step: one, with: given }) => ({
      step: one,
      with: given.lie === undefined ? {} : { lie: given.lie },
    })) satisfies Step[],
  };
}

/** Whether a program has nothing but what a real machine can do: undefined, or what is wrong where. */
export const notDifferential = (program: Program): string | undefined =>
  mismatch(STORED_DIFFERENTIAL, program);

const STORED_DIFFERENTIAL = record({
  machine: MACHINE,
  steps: list(record({ step, with: around }), 0, MAX_STEPS),
});
