import { messageOf, LockstepError, TargetCrashError } from "../../../base/index.ts";
import type { Window } from "../../../machine/index.ts";
import type { RuleSetName } from "../../../mediator/index.ts";
import { OPTEE_SMC } from "../../../optee-abi/index.ts";
import type { Target } from "../../../platform/index.ts";
import type { Difference, TraceRecord } from "../../../run/index.ts";
import { type Explain, renderTrace } from "../../divergence/index.ts";
import { generator } from "../arbitrary.ts";
import { programSeed } from "../batch.ts";
import { Coverage, type CoverageData } from "../coverage.ts";
import type { Program } from "../program.ts";
import { shrinking } from "../shrink.ts";
import { besideModel } from "./both.ts";
import { judge, traceOf } from "./judge.ts";
import { type ModelOptions, runOnModel } from "./model-side.ts";
import type { ProgramRecord } from "./recorder.ts";
import type { SideResult } from "./run.ts";
import { DIFFERENTIAL_PROGRAM, differentialProgram, notDifferential } from "./program.ts";

const REFERENCE = "fuzz/differential#program";
const RAM_REFERENCE = "fuzz/differential#freeRam";

export interface DifferentialOptions extends Omit<ModelOptions, "ram"> {
  /** The board, each run of which finds it as it came up. */
  readonly target: Target;
  readonly rules: RuleSetName;
  readonly seed: number;
  /** How many programs; no end but `timeMs` when left out. */
  readonly runs?: number;
  /** No further programs after so many milliseconds. */
  readonly timeMs?: number;
  /** Programs that are tried at most to make one finding's smaller; 100 when left out, 0 for none. */
  readonly trials?: number;
  readonly abort?: AbortSignal;
  /** What is known already. */
  readonly explain?: Explain;
  /** Called after each program. */
  readonly onProgress?: (so: DifferentialTotals) => void;
  readonly onFinding?: (finding: DifferentialFinding) => void;
}

export interface DifferentialTotals {
  readonly programs: number;
  readonly steps: number;
  /** SMCs of guests, and SMCs that reached the real secure world. */
  readonly smcs: number;
  readonly secureSmcs: number;
  readonly created: number;
  readonly refused: number;
  readonly deaths: number;
  /** How often the machine was set back, and how often it had to be booted again. */
  readonly restores: number;
  readonly reboots: number;
  /** Programs that crash the real secure world where the model says that they do. */
  readonly predictedCrashes: number;
  /** Programs that say nothing, as the laboratory failed in them or they did not end in time. */
  readonly lost: number;
  /** Programs that differ. */
  readonly differing: number;
}

/** A way in which programs differ, and the first program that does. */
export interface DifferentialFinding {
  readonly kind: "divergence" | "crash";
  readonly key: string;
  readonly title: string;
  readonly clauses: readonly string[];
  /** Number of the first program in the campaign. */
  readonly number: number;
  readonly program: Program;
  /** How many programs differ like this. */
  readonly count: number;
  readonly cause?: Difference;
  /** Of a crash: the console's line. */
  readonly line?: string;
}

export interface DifferentialResult extends DifferentialTotals {
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly findings: readonly DifferentialFinding[];
  /** Expectations, each with how many programs it accounts for. */
  readonly explained: readonly { expectation: string; reason: string; count: number }[];
  readonly coverage: CoverageData;
  readonly seconds: number;
  readonly interrupted: boolean;
}

const TRIALS = 100;
/** So many failures of the laboratory in a row end a campaign. */
const MAX_FAILURES = 2;

type Outcome =
  | { readonly how: "same" }
  | { readonly how: "differs"; readonly finding: Omit<DifferentialFinding, "number" | "count"> };

/**
 * Runs random programs on the model and on a real machine. Throws what ended it: an error of the
 * laboratory the second time in a row, InternalError and the like at once.
 */
export async function runDifferential(options: DifferentialOptions): Promise<DifferentialResult> {
  return await new Campaign(options).run();
}

/** What a program's replay shows: one line for each record of either side. */
export interface DifferentialReplay {
  readonly finding: Omit<DifferentialFinding, "number" | "count"> | undefined;
  readonly model: readonly string[];
  readonly real: readonly string[];
}

/** Runs one program on the model and on a real machine. */
export async function replayDifferential(
  options: Omit<DifferentialOptions, "onProgress" | "onFinding">,
  program: Program,
): Promise<DifferentialReplay> {
  return await new Campaign(options).replay(program);
}

class Campaign {
  readonly #options: DifferentialOptions;
  readonly #findings = new Map<string, DifferentialFinding>();
  readonly #explained = new Map<string, { expectation: string; reason: string; count: number }>();
  readonly #coverage = new Coverage();
  readonly #totals = {
    programs: 0,
    steps: 0,
    smcs: 0,
    secureSmcs: 0,
    created: 0,
    refused: 0,
    deaths: 0,
    restores: 0,
    reboots: 0,
    predictedCrashes: 0,
    lost: 0,
    differing: 0,
  };
  #failures = 0;
  #ram: Window | undefined;
  /** What the real machine did last. */
  #last: readonly ProgramRecord[] = [];

  constructor(options: DifferentialOptions) {
    this.#options = options;
  }

  /** The real machine's RAM, which the model's is made like. */
  async #modelOptions(): Promise<ModelOptions> {
    const { target, rules } = this.#options;
    this.#ram ??= (await target.run(RAM_REFERENCE, null, {
      conduit: "vm",
      rules,
    })) as unknown as Window;
    return { ...this.#options, ram: this.#ram };
  }

  async run(): Promise<DifferentialResult> {
    const { seed, rules, runs = Infinity, timeMs = Infinity, abort } = this.#options;
    const started = performance.now();
    const generate = await generator(DIFFERENTIAL_PROGRAM);
    for (let number = 0; number < runs; number += 1) {
      if (abort?.aborted === true || performance.now() - started >= timeMs) break;
      const program = differentialProgram(generate(programSeed(seed, number)));
      await this.#one(number, program);
      this.#options.onProgress?.(this.#totals);
    }
    for (const [key, finding] of this.#findings) {
      this.#findings.set(key, { ...finding, program: await this.#smallest(finding) });
    }
    return {
      ...this.#totals,
      rules,
      seed,
      findings: [...this.#findings.values()],
      explained: [...this.#explained.values()],
      coverage: this.#coverage.data(),
      seconds: (performance.now() - started) / 1000,
      interrupted: abort?.aborted === true,
    };
  }

  async replay(program: Program): Promise<DifferentialReplay> {
    const { rules, seed, target } = this.#options;
    const outcome = await this.#try(program, 0, true);
    const about = { board: target.board.name, rules, seed, program: 0 };
    const model = runOnModel(program, await this.#modelOptions());
    const lines = (records: readonly ProgramRecord[], side: string): string[] =>
      renderTrace(traceOf(records, side, about))
        .trimEnd()
        .split("\n");
    return {
      finding: outcome.how === "same" ? undefined : outcome.finding,
      model: lines(model.records, "emulated"),
      real: lines(this.#last, target.board.name),
    };
  }

  async #one(number: number, program: Program): Promise<void> {
    const outcome = await this.#guarded(program, number, true);
    if (outcome === undefined) {
      if (this.#options.abort?.aborted !== true) this.#totals.lost += 1;
      return;
    }
    this.#totals.programs += 1;
    this.#totals.steps += program.steps.length;
    if (outcome.how === "same") return;
    this.#totals.differing += 1;
    const { finding } = outcome;
    const known = this.#findings.get(finding.key);
    const next = { number, ...(known ?? finding), count: (known?.count ?? 0) + 1 };
    this.#findings.set(finding.key, next);
    if (known === undefined) this.#options.onFinding?.(next);
  }

  /** Undefined where the laboratory failed, for the first time in a row. */
  async #guarded(program: Program, number: number, counts: boolean): Promise<Outcome | undefined> {
    try {
      const outcome = await this.#try(program, number, counts);
      this.#failures = 0;
      return outcome;
    } catch (error) {
      const laboratory =
        error instanceof LockstepError && (error.exitCode === 3 || error.exitCode === 4);
      this.#failures += 1;
      if (!laboratory || this.#failures >= MAX_FAILURES || this.#options.abort?.aborted === true) {
        if (this.#options.abort?.aborted === true) return undefined;
        throw error;
      }
      return undefined;
    }
  }

  async #try(program: Program, number: number, counts: boolean): Promise<Outcome> {
    const { target, rules, seed, explain } = this.#options;
    let records: readonly TraceRecord[] = [];
    this.#totals.restores += 1;
    let real: SideResult;
    try {
      const data = await target.run(REFERENCE, program, { conduit: "vm", rules }, (recorded) => {
        records = recorded;
      });
      real = data as unknown as SideResult;
    } catch (error) {
      if (!(error instanceof TargetCrashError)) throw error;
      this.#totals.reboots += 1;
      this.#last = records;
      return await this.#crashed(program, error, records);
    }
    this.#last = real.records;
    if (counts) this.#count(real);
    const result = besideModel(program, real, await this.#modelOptions());
    const about = { board: target.board.name, rules, seed, program: number };
    const verdict = judge(result, about, explain);
    if (verdict === undefined) return { how: "same" };
    if (counts) for (const one of verdict.explained) this.#explain(one);
    if (verdict.title === "") return { how: "same" };
    const { key, title, clauses, cause } = verdict;
    const found = { kind: "divergence", key, title, clauses, program } as const;
    return { how: "differs", finding: cause === undefined ? found : { ...found, cause } };
  }

  /** The model may know that this ends a real one, at the very same SMC. */
  async #crashed(
    program: Program,
    error: TargetCrashError,
    records: readonly TraceRecord[],
  ): Promise<Outcome> {
    const model = runOnModel(program, await this.#modelOptions());
    const calls = entered(records);
    if (model.crash !== undefined && entered(model.records) === calls) {
      this.#totals.predictedCrashes += 1;
      this.#totals.secureSmcs += calls;
      return { how: "same" };
    }
    const line = error.seen ?? "";
    const what = line === "" ? messageOf(error) : withoutPlace(line);
    const title = `the board crashes: ${what}`;
    return {
      how: "differs",
      finding: { kind: "crash", key: title, title, clauses: [], program, line },
    };
  }

  #count(real: SideResult): void {
    const { smcs, secureSmcs, created, refused, deaths, coverage } = real;
    this.#totals.smcs += smcs;
    this.#totals.secureSmcs += secureSmcs;
    this.#totals.created += created;
    this.#totals.refused += refused;
    this.#totals.deaths += deaths;
    this.#coverage.add(coverage);
  }

  #explain(one: { readonly expectation: string; readonly reason: string }): void {
    const known = this.#explained.get(one.expectation);
    this.#explained.set(one.expectation, { ...one, count: (known?.count ?? 0) + 1 });
  }

  /** The finding's program made as small as the trials allow. Every trial costs a restored machine. */
  async #smallest({ key, number, program }: DifferentialFinding): Promise<Program> {
    const search = shrinking(program);
    let best = program;
    let next = search.next();
    for (let left = this.#options.trials ?? TRIALS; next.done !== true && left > 0; left -= 1) {
      if (this.#options.abort?.aborted === true) break;
      const candidate = next.value;
      const outcome =
        notDifferential(candidate) === undefined
          ? await this.#guarded(candidate, number, false)
          : undefined;
      const found = outcome?.how === "differs" && outcome.finding.key === key;
      if (found) best = candidate;
      next = search.next(found);
    }
    return best;
  }
}

const CALLS_UID = `0x${OPTEE_SMC.CALLS_UID.toString(16)}`;

/**
 * SMCs that reached the secure world since the program's mediator first asked who is there: the
 * platform may have a mediator of its own, which asked before.
 */
function entered(records: readonly ProgramRecord[]): number {
  let count = 0;
  for (const one of records) {
    if (one.type !== "smc" || one.where !== "port" || one.phase !== "enter") continue;
    const [fid, , , , , , , client] = one.registers;
    count = fid === CALLS_UID && client === "0x0" ? 1 : count + 1;
  }
  return count;
}

/** A console line without core, thread and addresses, which say nothing of the kind of crash. */
const withoutPlace = (line: string): string =>
  line
    .replace(/^([EDIF])\/T[A-Z]:\S+( \d+){0,2}\s*/, "")
    .replaceAll(/0x[0-9a-f]{5,}/g, "0x…")
    .trim();
