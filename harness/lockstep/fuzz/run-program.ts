import { Coverage } from "./coverage.ts";
import { Executor } from "./execute.ts";
import { excusesOf, type Invariant } from "./invariants.ts";
import { FuzzMachine, type MachineOptions, type Violation } from "./machine.ts";
import type { Program } from "./program.ts";

/** What one program did. */
export interface ProgramResult {
  readonly violations: readonly Violation[];
  readonly smcs: number;
  readonly created: number;
  readonly refused: number;
  readonly deaths: number;
}

export interface RunOptions extends Omit<MachineOptions, "coverage"> {
  readonly coverage?: Coverage;
  /** Told before each step. */
  readonly beforeStep?: (index: number) => void;
}

/**
 * Runs a program on a machine of its own. It ends at the first violation that no clause of the rule
 * set excuses. Throws FuzzerBug, or whatever the fuzzer itself throws, only for bugs of the fuzzer.
 */
export function runProgram(program: Program, options: RunOptions): ProgramResult {
  const machine = new FuzzMachine(program.machine, {
    ...options,
    coverage: options.coverage ?? new Coverage(),
  });
  const known = (): boolean =>
    machine.violations.every(({ invariant }) => isExcused(invariant, options.rules));
  new Executor(machine).run(program, known, options.beforeStep);
  const { violations, smcs, created, refused, deaths } = machine;
  return { violations, smcs, created, refused, deaths };
}

export const isExcused = (invariant: Invariant, rules: MachineOptions["rules"]): boolean =>
  excusesOf(invariant, rules).length > 0;
