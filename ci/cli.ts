import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../harness/base/index.ts";
import type { CaseResult, Divergences } from "../harness/run/index.ts";
import { type Counts, show } from "./stages.ts";

/** What `lockstep run --json` prints, as far as the test lane reads it. */
export interface RunDocument {
  readonly exitCode: number;
  readonly bundle: string;
  readonly problems: readonly string[];
  readonly cases: readonly CaseResult[];
  readonly divergences?: Divergences;
  readonly clauses?: {
    readonly clauses: readonly {
      readonly id: string;
      readonly on: Readonly<Record<string, { readonly status: string }>>;
    }[];
  };
}

export interface CliRun {
  readonly exitCode: number;
  readonly document: RunDocument;
}

/** Runs the built command with its bundle in a scratch folder (or where `--out` says). */
export async function cli(args: readonly string[], abort: AbortSignal): Promise<CliRun> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-run-"));
  try {
    const out = args.includes("--out") ? [] : ["--out", path.join(scratch, "bundle")];
    const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
    const { exitCode, stdout } = await show(process.execPath, [main, ...args, ...out], abort, {
      quiet: true,
    });
    let document: RunDocument;
    try {
      document = JSON.parse(stdout) as RunDocument;
    } catch {
      throw new Error(`lockstep ${args.join(" ")} exited ${exitCode} and printed no JSON document`);
    }
    return { exitCode, document };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** Counts a run's cases; an exit code other than the accepted ones is a failure of its own. */
export function countRun(run: CliRun, accept: { exitCodes: readonly number[] }): Counts {
  const { cases, problems } = run.document;
  const count = (...statuses: string[]): number =>
    cases.filter(({ status }) => statuses.includes(status)).length;
  const passed = count("pass", "xfail");
  const skipped = count("skip");
  const failed = cases.length - passed - skipped;
  for (const entry of cases) {
    if (["pass", "xfail", "skip"].includes(entry.status)) continue;
    process.stdout.write(`${entry.status} ${entry.target} ${entry.id}: ${entry.reason ?? ""}\n`);
  }
  const wrongExit = accept.exitCodes.includes(run.exitCode) ? 0 : 1;
  if (wrongExit === 1) {
    process.stdout.write(`exit code ${run.exitCode}, expected ${accept.exitCodes.join(" or ")}\n`);
    for (const problem of problems) process.stdout.write(`${problem}\n`);
  }
  return { passed, failed: failed + wrongExit, skipped };
}

/** Runs of scenarios that each QEMU board shares with the emulated platform at least. */
const FEWEST_COMPARED = 100;
/** Clauses that each board's scenarios reach at least. */
const FEWEST_CLAUSES = 50;

/** One case: that `good` is so, told as TAP does. */
export function check(good: boolean, text: string): Counts {
  process.stdout.write(`${good ? "ok" : "not ok"} ${text}\n`);
  return { passed: good ? 1 : 0, failed: good ? 0 : 1, skipped: 0 };
}

/**
 * Whether a board's scenarios were held against the emulated platform's: enough of them were compared,
 * all that ran, and nothing is unexplained.
 */
export function checkCompared(
  { document }: CliRun,
  board: string,
  fewest = FEWEST_COMPARED,
): Counts {
  const own = document.divergences?.targets.find(({ target }) => target === board);
  const against = `${board} against the emulated platform`;
  if (own === undefined) return check(false, `${against}: nothing`);
  const { compared, equal, explained, unexplained, notCompared } = own;
  return check(
    compared >= fewest && unexplained === 0 && notCompared === 0,
    `${against}: ${compared} runs, ${equal} equal, ${explained} explained, ` +
      `${unexplained} unexplained, ${notCompared} cases not compared`,
  );
}

/** Whether a target is a column of the clause matrix, with something in it that ran. */
export function checkColumn({ document }: CliRun, target: string, fewest = FEWEST_CLAUSES): Counts {
  const all = document.clauses?.clauses ?? [];
  const reached = all.filter(({ on }) => (on[target]?.status ?? "skip") !== "skip");
  const text = `${reached.length} clauses of the matrix have cases that ran on ${target}`;
  return check(reached.length >= fewest, text);
}
