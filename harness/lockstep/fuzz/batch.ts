import { messageOf } from "../../base/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import { Coverage, type CoverageData } from "./coverage.ts";
import type { Invariant } from "./invariants.ts";
import { type Program, tidy } from "./program.ts";
import { runProgram, type RunOptions } from "./run-program.ts";

/** A broken invariant and the first program that broke it. */
export interface Finding {
  readonly invariant: Invariant;
  /** Number of the program in the campaign, and of the step in it. */
  readonly program: number;
  readonly step: number;
  readonly seen: string;
  /** How many programs broke it. */
  readonly count: number;
}

/** What a run of programs did; numbers that do not depend on time or on who ran them. */
export interface Batch {
  readonly programs: number;
  readonly steps: number;
  readonly smcs: number;
  readonly created: number;
  readonly refused: number;
  readonly deaths: number;
  readonly coverage: CoverageData;
  /** In the order of the first program. */
  readonly findings: readonly Finding[];
}

export const EMPTY_BATCH: Batch = {
  programs: 0,
  steps: 0,
  smcs: 0,
  created: 0,
  refused: 0,
  deaths: 0,
  coverage: { clauses: [], ids: [] },
  findings: [],
};

/** The seed of program `index` of a campaign: 32 bits that depend on both. */
export function programSeed(seed: number, index: number): number {
  let z = (Math.imul(seed | 0, 0x9e37_79b1) + Math.imul(index + 1, 0x85eb_ca6b)) >>> 0;
  z = Math.imul(z ^ (z >>> 16), 0x21f0_aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a_2d97);
  return (z ^ (z >>> 15)) >>> 0;
}

/** Thrown for a bug of the fuzzer, with the program that shows it. */
export class ProgramError extends Error {
  constructor(index: number, cause: unknown) {
    super(`program ${index}: ${messageOf(cause)}`, { cause });
    this.name = "ProgramError";
  }
}

export interface BatchOptions extends Omit<RunOptions, "coverage" | "beforeStep" | "rules"> {
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly generate: (seed: number) => Program;
  /** Told the number of each program before it runs. */
  readonly started?: (index: number) => void;
}

/** Makes and runs programs `from` to `to` of a campaign. Throws ProgramError for our own bugs. */
export function runBatch(options: BatchOptions, from: number, to: number): Batch {
  const { generate, seed, started, ...run } = options;
  const coverage = new Coverage();
  const findings = new Map<Invariant, Finding>();
  const sum = { programs: 0, steps: 0, smcs: 0, created: 0, refused: 0, deaths: 0 };
  for (let index = from; index < to; index += 1) {
    started?.(index);
    try {
      const program = tidy(generate(programSeed(seed, index)));
      const { violations, ...did } = runProgram(program, { ...run, coverage });
      sum.programs += 1;
      sum.steps += program.steps.length;
      sum.smcs += did.smcs;
      sum.created += did.created;
      sum.refused += did.refused;
      sum.deaths += did.deaths;
      for (const { invariant, seen, step } of violations) {
        const known = findings.get(invariant);
        findings.set(
          invariant,
          known === undefined
            ? { invariant, program: index, step, seen, count: 1 }
            : { ...known, count: known.count + 1 },
        );
      }
    } catch (error) {
      throw new ProgramError(index, error);
    }
  }
  return { ...sum, coverage: coverage.data(), findings: [...findings.values()] };
}

/** Two batches as one; the order of joining does not matter. */
export function joinBatches(a: Batch, b: Batch): Batch {
  const coverage = new Coverage();
  coverage.add(a.coverage);
  coverage.add(b.coverage);
  const findings = new Map<Invariant, Finding>();
  for (const finding of [...a.findings, ...b.findings]) {
    const known = findings.get(finding.invariant);
    if (known === undefined) findings.set(finding.invariant, finding);
    else {
      const first = known.program <= finding.program ? known : finding;
      findings.set(finding.invariant, { ...first, count: known.count + finding.count });
    }
  }
  return {
    programs: a.programs + b.programs,
    steps: a.steps + b.steps,
    smcs: a.smcs + b.smcs,
    created: a.created + b.created,
    refused: a.refused + b.refused,
    deaths: a.deaths + b.deaths,
    coverage: coverage.data(),
    findings: [...findings.values()].toSorted(
      (x, y) => x.program - y.program || x.invariant.localeCompare(y.invariant),
    ),
  };
}
