import { OPTEE_SMC } from "../../../optee-abi/index.ts";
import {
  answer,
  circumstances,
  cookie,
  FIDS,
  message,
  ownPage,
  pages,
  param,
  place,
  type Program,
  registered,
  registerWord,
  serve,
  type Step,
  tidy,
  value,
  word,
} from "../program.ts";
import { either, list, mismatch, nat, pick, rarely, record, type ShapeNode } from "../shape.ts";
import { DIFFERENTIAL_TAS } from "./shelf.ts";

/** The secure world has room for two VMs; a third is refused. */
const vm = pick(0, 1, 0, 1, 0, 1, 0, 1, 0, 2);

const step = either(
  [
    9,
    record({
      do: pick("open"),
      vm,
      ta: pick(...DIFFERENTIAL_TAS),
      login: pick(0, 0x8000_0000, 0, 0, 0, 0, 0, 1, 4, 6, 3, 0xf000_0000),
      params: either([8, list(param, 0, 0)], [1, list(param, 1, 4)]),
      serve,
    }),
  ],
  [
    12,
    record({
      do: pick("invoke"),
      vm,
      session: nat(4),
      func: nat(60),
      params: list(either([3, value], [5, pages], [3, registered]), 0, 4),
      serve,
    }),
  ],
  [4, record({ do: pick("close", "cancel"), vm, session: nat(4), serve })],
  [6, record({ do: pick("register"), vm, buffer: pages, serve: nat(4) })],
  [3, record({ do: pick("unregister"), vm, cookie, serve: nat(4) })],
  [
    6,
    record({
      do: pick("message"),
      vm,
      at: either([12, ownPage], [1, place]),
      fid: rarely(12, pick(OPTEE_SMC.CALL_WITH_RPC_ARG, OPTEE_SMC.CALL_WITH_REGD_ARG)),
      message,
      serve: nat(6),
    }),
  ],
  [14, answer],
  [
    6,
    record({
      do: pick("smc"),
      vm,
      fid: either([10, pick(...FIDS)], [1, nat(0xffff_ffff)], [1, pick(0x8400_0000, 0xc600_0000)]),
      words: list(registerWord, 0, 7),
      method: rarely(12, pick("smc", "hvc")),
      immediate: rarely(20, nat(3)),
      aarch32: rarely(10, pick(true)),
      convention64: rarely(10, pick(true)),
    }),
  ],
  [2, record({ do: pick("write"), vm, at: ownPage, offset: nat(511), words: list(word, 1, 8) })],
  [1, record({ do: pick("balloon"), vm, at: place, refill: pick(false, true) })],
  [1, record({ do: pick("protect"), vm, at: place, writable: pick(true, false) })],
  [1, record({ do: pick("donate"), vm, at: ownPage, to: vm, target: ownPage })],
  [1, record({ do: pick("destroy"), vm })],
  [1, record({ do: pick("create"), vm, refuse: pick(false) })],
);

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
  steps: list(record({ step, with: around }), 0, 4096),
});
