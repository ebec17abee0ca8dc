import { existsSync } from "node:fs";
import { rm } from "node:fs/promises";
import path from "node:path";
import { EXIT, UsageError } from "../../base/index.ts";
import type { BoardConfig, BridgeTransport } from "../../board/index.ts";
import type { Conduit } from "../../machine/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import {
  BundleReader,
  BundleWriter,
  type Comparison,
  compareRuns,
  comparisonVerdict,
  describeComparison,
  matchesFilter,
  readTimeline,
  type StressKind,
} from "../../run/index.ts";
import type { CliContext } from "../context.ts";
import { lockstepVersion } from "../version.ts";
import { runDocument } from "./document.ts";
import { planRun, type RunPlan } from "./plan.ts";
import { type BoardRunner, RunSession } from "./session.ts";

export interface RunFlags {
  readonly board?: readonly string[];
  readonly target?: readonly string[];
  readonly suite?: readonly string[];
  readonly filter?: readonly string[];
  readonly conduit?: readonly Conduit["kind"][];
  readonly rules?: readonly RuleSetName[];
  readonly stress?: StressKind;
  readonly transport?: BridgeTransport;
  readonly trace?: boolean;
  readonly baseline?: string;
  readonly out?: string;
  readonly retries: number;
  readonly seed?: number;
  readonly listClauses?: boolean;
  readonly json?: boolean;
}

const DEFAULT_SEED = 1;

/** Options that say how or on what to run: a listing that took no notice of them would mislead. */
const OF_A_RUN = [
  "board",
  "target",
  "conduit",
  "rules",
  "transport",
  "stress",
  "trace",
  "baseline",
  "out",
] as const;

function refuseWithListing(flags: RunFlags): void {
  const given = OF_A_RUN.filter((name) => flags[name] !== undefined).map((name) => `--${name}`);
  if (given.length === 0) return;
  throw new UsageError(`--list-clauses runs nothing and takes no ${given.join(", ")}`, {
    expected: "at most --suite, --filter and --json beside it",
  });
}

/** `lockstep run`. Sets the exit code; throws for what was wrong before the run began. */
export async function executeRun(context: CliContext, flags: RunFlags): Promise<void> {
  if (flags.listClauses === true) {
    const { listClauses } = await import("./clauses.ts");
    refuseWithListing(flags);
    const { suite: suites = [], filter: filters = [], json = false } = flags;
    context.out(await listClauses({ suites, filters, json }));
    return;
  }
  const fromEnv = context.env["LOCKSTEP_BOARD"];
  const plan = await planRun(
    {
      boards: flags.board ?? (fromEnv === undefined || fromEnv === "" ? [] : [fromEnv]),
      targets: flags.target ?? [],
      cwd: context.cwd,
      suites: flags.suite ?? [],
      filters: flags.filter ?? [],
      retries: flags.retries,
      stress: flags.stress,
      transport: flags.transport,
      trace: flags.trace === true,
      narrowing: {
        ...(flags.conduit === undefined ? {} : { conduits: flags.conduit }),
        ...(flags.rules === undefined ? {} : { rules: flags.rules }),
      },
    },
    context.env,
  );
  const baseline =
    flags.baseline === undefined ? undefined : await openBaseline(context, flags.baseline);
  const { runCatalogue } = await import("../../lockstep/index.ts");
  const catalogue = await runCatalogue();
  const started = new Date();
  const dir = outFolder(context, flags, started);
  const isNew = !existsSync(dir);
  const failed = new AbortController();
  const writer = await BundleWriter.create(
    dir,
    {
      id: runId(started),
      lockstep: lockstepVersion(),
      node: process.versions.node,
      command: ["lockstep", ...process.argv.slice(2)],
      seed: seedOf(context, flags),
      boards: plan.boards.filter(({ consoles }) => consoles.length > 0).map(({ name }) => name),
    },
    { onFailure: () => failed.abort() },
  );
  writer.catalogue(catalogue);
  const session = new RunSession({
    plan,
    writer,
    context: { ...context, abort: AbortSignal.any([context.abort, failed.signal]) },
    seed: seedOf(context, flags),
  });
  try {
    await session.run(runnerOf);
  } catch (error) {
    await writer.abandon();
    if (isNew && error instanceof UsageError) await rm(dir, { recursive: true, force: true });
    throw error;
  }
  if (writer.failure !== undefined) {
    await writer.abandon();
    throw writer.failure;
  }
  const comparison = baseline === undefined ? undefined : compareWith(baseline, session, plan, dir);
  await report(context, session, flags, comparison);
}

function runnerOf(config: BoardConfig): BoardRunner {
  return async (board, session) => {
    if (config.platform === "emulated") {
      const { runEmulated } = await import("./emulated-run.ts");
      await runEmulated(board, session);
      return;
    }
    const { runBoard } = await import("./board-run.ts");
    await runBoard(board, session);
  };
}

async function openBaseline(context: CliContext, folder: string): Promise<BundleReader> {
  return await BundleReader.open(path.resolve(context.cwd, folder));
}

function compareWith(
  baseline: BundleReader,
  session: RunSession,
  plan: RunPlan,
  dir: string,
): Comparison {
  const { writer } = session;
  const comparison = compareRuns(
    {
      label: baseline.dir,
      results: baseline.results,
      facts: baseline.info.facts,
      incomplete: baseline.incomplete,
    },
    {
      label: dir,
      results: writer.results,
      facts: session.facts,
      incomplete: session.interrupted !== undefined,
    },
    {
      // Only what this run selected can have become worse by it.
      scope: ({ target, suite, id, title }) =>
        plan.boards.some(({ name }) => name === target) &&
        plan.suites.includes(suite) &&
        matchesFilter(plan.filter, id, title),
    },
  );
  session.addExitCode(comparison.exitCode);
  if (comparison.exitCode !== EXIT.ok) {
    const reasons = comparison.incomparable.join("; ");
    const verdict = `${comparisonVerdict(comparison)} ${reasons}`.trim();
    writer.problem(`compared with ${baseline.dir}: ${verdict}`);
  }
  return comparison;
}

async function report(
  context: CliContext,
  session: RunSession,
  flags: RunFlags,
  comparison: Comparison | undefined,
): Promise<void> {
  const { renderAll, renderSummary } = await import("../../../reports/index.ts");
  if (session.judgements.length > 0) {
    const { divergencesOf } = await import("./judging.ts");
    session.writer.divergences(divergencesOf(session.judgements));
  }
  const info = await session.finish(async (reader) => await renderAll(reader));
  const { exitCode } = session;
  context.setExit(exitCode);
  const json = flags.json === true;
  const style = json ? context.style.err : context.style.out;
  const reader = await BundleReader.open(session.writer.dir, { info });
  const { totals, stress } = await readTimeline(reader);
  const text = renderSummary(reader, { color: style.enabled, cwd: context.cwd, totals, stress });
  const compared = comparison === undefined ? "" : `${describeComparison(comparison)}\n`;
  if (json) {
    context.err(`${compared}${text}`.trimEnd());
    const document = runDocument(reader, exitCode, { totals, stress }, comparison);
    context.out(`${JSON.stringify(document, undefined, 2)}\n`);
  } else {
    context.out(`${compared}${text}`);
  }
}

function outFolder(context: CliContext, flags: RunFlags, started: Date): string {
  const given = flags.out ?? context.env["LOCKSTEP_OUT"];
  if (given !== undefined && given !== "") return path.resolve(context.cwd, given);
  return path.resolve(context.cwd, "lockstep-out", runId(started));
}

/** `2026-11-20T09-30-00-p4711`: sorts by time, and no two runs of one host share it. */
function runId(started: Date): string {
  const time = started.toISOString().slice(0, 19).replaceAll(":", "-");
  return `${time}-p${process.pid}`;
}

function seedOf(context: CliContext, flags: RunFlags): number {
  if (flags.seed !== undefined) return flags.seed;
  const text = context.env["LOCKSTEP_SEED"];
  if (text === undefined || text === "") return DEFAULT_SEED;
  if (!/^\d{1,10}$/.test(text)) {
    throw new UsageError(`LOCKSTEP_SEED is "${text}"`, { expected: "a whole number" });
  }
  return Number(text) >>> 0;
}
