import type { RuleSetName } from "../../mediator/index.ts";
import { generator } from "./arbitrary.ts";
import { type Batch, EMPTY_BATCH, type Finding, joinBatches, programSeed } from "./batch.ts";
import { excusesOf } from "./invariants.ts";
import { type Program, PROGRAM, tidy } from "./program.ts";
import { runProgram } from "./run-program.ts";
import { shrink } from "./shrink.ts";

export interface CampaignOptions {
  readonly rules: RuleSetName;
  readonly seed: number;
  /** How many programs; no end but `timeMs` when left out. */
  readonly runs?: number;
  /** No further programs after so many milliseconds. */
  readonly timeMs?: number;
  /** Worker threads. */
  readonly jobs: number;
  readonly abort?: AbortSignal;
  /** Called now and then with what was done so far. */
  readonly onProgress?: (so: Batch) => void;
}

/** A violation as a campaign reports it. */
export interface CampaignFinding extends Finding {
  /** Clauses of the rule set that excuse it; none for a bug. */
  readonly excusedBy: readonly string[];
}

export interface CampaignResult {
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly batch: Batch;
  readonly findings: readonly CampaignFinding[];
  readonly seconds: number;
  /** Processor time of all threads, in seconds. */
  readonly cpuSeconds: number;
  readonly interrupted: boolean;
}

/** Runs a campaign. Throws InternalError for a bug of the fuzzer. */
export async function runCampaign(options: CampaignOptions): Promise<CampaignResult> {
  const started = performance.now();
  const cpu = process.cpuUsage();
  const { rules, seed, jobs, runs = Infinity, timeMs = Infinity, abort } = options;
  let batch = EMPTY_BATCH;
  const { runInWorkers } = await import("./crew.ts");
  await runInWorkers({
    rules,
    seed,
    jobs,
    end: runs,
    stop: () => abort?.aborted === true || performance.now() - started >= timeMs,
    onBatch: (more) => {
      batch = joinBatches(batch, more);
      options.onProgress?.(batch);
    },
  });
  return {
    rules,
    seed,
    batch,
    findings: batch.findings.map((finding) => ({
      ...finding,
      excusedBy: excusesOf(finding.invariant, rules).map(({ clause }) => clause),
    })),
    seconds: (performance.now() - started) / 1000,
    cpuSeconds: cpuSince(cpu),
    interrupted: abort?.aborted === true,
  };
}

function cpuSince(start: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(start);
  return (user + system) / 1e6;
}

/**
 * The program of a finding, made as small as it goes while it still breaks the same invariant. A
 * program that hangs is given as it was generated.
 */
export async function shrinkFinding(
  finding: Finding,
  { rules, seed, stop }: { rules: RuleSetName; seed: number; stop?: () => boolean },
): Promise<Program> {
  const generate = await generator(PROGRAM);
  const program = tidy(generate(programSeed(seed, finding.program)));
  if (finding.invariant === "never-hangs") return program;
  // What follows the violation cannot matter.
  const cut = { ...program, steps: program.steps.slice(0, finding.step + 1) };
  const fails = (candidate: Program): boolean =>
    runProgram(candidate, { rules }).violations.some(
      ({ invariant }) => invariant === finding.invariant,
    );
  const start = fails(cut) ? cut : program;
  if (start === program && !fails(program)) return program;
  return shrink(start, fails, stop === undefined ? {} : { stop });
}
