import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../harness/base/index.ts";
import type { CaseResult, Divergences } from "../harness/run/index.ts";
import { add, type Counts, show } from "./stages.ts";

/** What `lockstep run --json` prints, as far as the test lane reads it. */
export interface RunDocument {
  readonly exitCode: number;
  readonly bundle: string;
  readonly problems: readonly string[];
  readonly cases: readonly CaseResult[];
  readonly divergences?: Divergences;
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

/**
 * Counts a run in which a board's scenarios were held against the emulated platform's, and that as one
 * case more: enough of them were compared, all that ran, and nothing is unexplained.
 */
export function countCompared(run: CliRun, board: string): Counts {
  const own = run.document.divergences?.targets.find(({ target }) => target === board);
  const good =
    own !== undefined &&
    own.compared >= FEWEST_COMPARED &&
    own.unexplained === 0 &&
    own.notCompared === 0;
  const text =
    own === undefined
      ? "nothing"
      : `${own.compared} runs, ${own.equal} equal, ${own.explained} explained, ` +
        `${own.unexplained} unexplained, ${own.notCompared} cases not compared`;
  process.stdout.write(
    `${good ? "ok" : "not ok"} ${board} against the emulated platform: ${text}\n`,
  );
  const one = { passed: good ? 1 : 0, failed: good ? 0 : 1, skipped: 0 };
  return add(countRun(run, { exitCodes: [0] }), one);
}
