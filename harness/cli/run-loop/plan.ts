import { readdir } from "node:fs/promises";
import path from "node:path";
import { didYouMean, messageOf, packageRoot, UsageError } from "../../base/index.ts";
import {
  type BoardConfig,
  boardFileError,
  type BridgeTransport,
  loadBoard,
  missingFiles,
} from "../../board/index.ts";
import { loadOwnTarget, type Narrowing, type OwnTarget } from "../../platform/index.ts";
import type { Expectation } from "../../lockstep/index.ts";
import type { CaseFilter, StressKind } from "../../run/index.ts";
import { isBridged, withTransport } from "./bridged.ts";
import { selectionProblems } from "./xtest-list.ts";

/** The platform that always runs: the column that every board is held against. */
export const EMULATED = "emulated";

export interface RunOptions {
  readonly boards: readonly string[];
  /** Modules that export a target, relative to `cwd`. */
  readonly targets: readonly string[];
  readonly cwd: string;
  readonly suites: readonly string[];
  readonly filters: readonly string[];
  readonly retries: number;
  readonly narrowing: Narrowing;
  readonly stress?: StressKind | undefined;
  /** How boards are reached that run scenarios; as their files say when left out. */
  readonly transport?: BridgeTransport | undefined;
  /** Traces every scenario, also without a board to compare it with. */
  readonly trace?: boolean;
}

export interface RunPlan {
  /** The emulated platform first, then targets of one's own, then the boards in the order given. */
  readonly boards: readonly BoardConfig[];
  /** Targets of one's own, by the name of their board. */
  readonly targets: ReadonlyMap<string, OwnTarget>;
  readonly suites: readonly string[];
  readonly filter: CaseFilter;
  /** The conduits and rule sets that are wanted. */
  readonly narrowing: Narrowing;
  /** What the emulated platform is put under. */
  readonly stress?: StressKind;
  readonly retries: number;
  /** Known divergences of boards whose scenarios are compared with the emulated platform's. */
  readonly expectations: ReadonlyMap<string, readonly Expectation[]>;
  /** Whether what scenarios exchange with the secure world is recorded. */
  readonly trace: boolean;
}

/** Checks everything that can be checked before anything is created. Throws UsageError, BoardFileError. */
export async function planRun(options: RunOptions, env: NodeJS.ProcessEnv): Promise<RunPlan> {
  const { suites, patterns } = await checkSelection(options.suites, options.filters);
  const targets = await ownTargets(options);
  const { transport } = options;
  const named = await checkedBoards(options.boards, targets, env);
  if (transport !== undefined && !named.some(isBridged)) {
    throw new UsageError(
      `--transport ${transport} is for boards, and none of this run's runs scenarios`,
      {
        next: "Name one with --board, or leave --transport out.",
      },
    );
  }
  const boards =
    transport === undefined ? named : named.map((one) => withTransport(one, transport));
  if (options.stress !== undefined) refuseReal(boards, options.stress);
  return {
    boards,
    targets: new Map(targets.map((target) => [target.name, target])),
    suites,
    filter: { patterns },
    narrowing: options.narrowing,
    ...(options.stress === undefined ? {} : { stress: options.stress }),
    retries: options.retries,
    expectations: await knownDivergences(boards, env),
    trace: options.trace === true || boards.some(isBridged),
  };
}

/**
 * The suites named, all of them where none is, and the expressions of `--filter`. Throws UsageError
 * for a suite that there is not and for what is no regular expression.
 */
export async function checkSelection(
  named: readonly string[],
  filters: readonly string[],
): Promise<{ readonly suites: readonly string[]; readonly patterns: readonly string[] }> {
  const available = await availableSuites();
  for (const suite of named) {
    if (available.includes(suite)) continue;
    const guess = didYouMean(suite, available);
    throw new UsageError(`there is no suite "${suite}"${guess === undefined ? "" : `; ${guess}`}`, {
      expected: available.join(", "),
    });
  }
  const suites = named.length > 0 ? [...new Set(named)] : available;
  return { suites, patterns: filters.map(checkedPattern) };
}

/** Loads every target; in the order given. */
async function ownTargets({ targets, cwd }: RunOptions): Promise<readonly OwnTarget[]> {
  const loaded: OwnTarget[] = [];
  for (const file of targets) loaded.push(await loadOwnTarget(file, cwd));
  return loaded;
}

/** Loads what is needed for it only where boards are compared. */
async function knownDivergences(
  boards: readonly BoardConfig[],
  env: NodeJS.ProcessEnv,
): Promise<RunPlan["expectations"]> {
  if (!boards.some(isBridged)) return new Map();
  const { plannedExpectations } = await import("./judging.ts");
  return await plannedExpectations(boards, env);
}

/** A real board would run without the stress that was asked for, and nobody would notice. */
function refuseReal(boards: readonly BoardConfig[], stress: StressKind): void {
  const real = boards.find(({ platform }) => platform !== "emulated");
  if (real === undefined) return;
  throw new UsageError(`--stress ${stress} cannot be applied to board ${real.name}`, {
    expected: "the emulated platform only",
    next: `Run ${real.name} without --stress, and the emulated platform with it, one after the other.`,
  });
}

/**
 * The emulated platform and the boards named, each once, with everything there that their files
 * name: a run of an hour must not find out at its end.
 */
async function checkedBoards(
  names: readonly string[],
  targets: readonly OwnTarget[],
  env: NodeJS.ProcessEnv,
): Promise<readonly BoardConfig[]> {
  const emulated = await loadBoard(EMULATED, { env });
  const boards = new Map([[EMULATED, emulated]]);
  for (const { name, conduits = emulated.conduits } of targets) {
    if (boards.has(name)) {
      throw new UsageError(`two columns of this run are called ${name}`, {
        next: "Give the target another `name`.",
      });
    }
    boards.set(name, { ...emulated, name, conduits, description: "a target of one's own" });
  }
  for (const name of names) {
    const config = await loadBoard(name, { env });
    const other = boards.get(config.name);
    if (other?.file === config.file) continue;
    if (other !== undefined) {
      throw new UsageError(`two boards of this run are called ${config.name}`, {
        seen: `${other.file} and ${config.file}`,
        next: "A board's name is that of its file; rename one.",
      });
    }
    boards.set(config.name, config);
    if (config.platform === "emulated") continue;
    const problems = await missingFiles(config.file, { env });
    problems.push(...(await selectionProblems(config, { env })));
    const [first, ...more] = problems;
    if (first !== undefined) throw boardFileError(first, more.length);
  }
  return [...boards.values()];
}

/** The subjects under `suites/` that hold test files, sorted. */
async function availableSuites(): Promise<string[]> {
  const root = path.join(packageRoot, "dist", "suites");
  const found: string[] = [];
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    const files = await readdir(path.join(root, entry.name));
    if (files.some((file) => file.endsWith(".test.js"))) found.push(entry.name);
  }
  return found.toSorted((a, b) => (a < b ? -1 : 1));
}

/** A regular expression of `--filter`. Throws UsageError for what is none. */
export function checkedPattern(source: string): string {
  try {
    return new RegExp(source).source;
  } catch (error) {
    throw new UsageError(`--filter ${source} is not a regular expression: ${messageOf(error)}`, {
      cause: error,
    });
  }
}
