import { messageOf, TargetCrashError } from "../../../base/index.ts";
import type { CoverageData } from "../coverage.ts";
import { Executor } from "../execute.ts";
import type { Program } from "../program.ts";
import { DifferentialMachine, type DifferentialOptions } from "./machine.ts";
import type { ProgramRecord } from "./recorder.ts";

/** What one program did on one machine. */
export interface SideResult {
  readonly records: readonly ProgramRecord[];
  /** SMCs of guests, and SMCs that reached the secure world. */
  readonly smcs: number;
  readonly secureSmcs: number;
  readonly created: number;
  readonly refused: number;
  readonly deaths: number;
  readonly coverage: CoverageData;
  /** Why the machine was lost, where it was. */
  readonly crash?: string;
}

/** Runs a program on a machine in front of a secure world. A lost machine is part of the result. */
export function runOnSide(program: Program, options: DifferentialOptions): SideResult {
  const machine = new DifferentialMachine(program.machine, options);
  let crash: string | undefined;
  try {
    new Executor(machine).run(program, () => true, options.beforeStep);
  } catch (error) {
    if (!(error instanceof TargetCrashError)) throw error;
    crash = messageOf(error);
    machine.recorder.records.push({ type: "end", how: "crash", reason: crash });
  }
  const { smcs, secureSmcs, created, refused, deaths } = machine;
  return {
    records: machine.recorder.records,
    smcs,
    secureSmcs,
    created,
    refused,
    deaths,
    coverage: machine.coverage.data(),
    ...(crash === undefined ? {} : { crash }),
  };
}
