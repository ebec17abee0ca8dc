import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import {
  EXIT,
  InfrastructureError,
  InterruptedError,
  systemClock,
  UsageError,
} from "../base/index.ts";
import { type BoardConfig, loadBoard } from "../board/index.ts";
import type {
  DifferentialFinding,
  DifferentialResult,
  Explain,
  Program,
  StoredProgram,
} from "../lockstep/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import { BridgedTarget, transportOf } from "../platform/index.ts";
import type { ContextLine } from "../run/index.ts";
import type { CliContext } from "./context.ts";
import { openBoardForCli } from "./open-board.ts";
import { isBridged } from "./run-loop/bridged.ts";
import { softwareVersions, wholeImage } from "./run-loop/facts.ts";
import { ramFolder, tasOf } from "./run-loop/bridged-run.ts";
import { printable } from "./style.ts";

/** What `lockstep fuzz --board` was asked for. */
export interface FuzzBoardFlags {
  readonly board: string;
  readonly rules: RuleSetName;
  readonly runs?: number;
  /** Milliseconds. */
  readonly time?: number;
  readonly out: string;
  readonly json?: boolean;
}

const DEFAULT_RUNS = 200;

interface OnBoard {
  readonly target: BridgedTarget;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** What is known already: the expectations of the board that cover case `fuzz.campaign`. */
  readonly explain: Explain;
}

const CASE = "fuzz.campaign";

/** Runs `work` with a machine that stands at its boot loader and can be set back. */
async function onBoard<T>(
  context: CliContext,
  name: string,
  seed: number,
  work: (on: OnBoard) => Promise<T>,
): Promise<T> {
  const { ssh: _, ...config } = await loadBoard(name, context);
  checkBoard(config);
  const { ExpectationLedger, loadExpectations } = await import("../lockstep/index.ts");
  const expectations = await loadExpectations(config, context);
  const dir = await mkdtemp(path.join(await ramFolder(), "lockstep-fuzz-"));
  const ramFile = path.join(dir, "ram");
  try {
    const isShared = transportOf(config) === "shared-ram";
    const opened = await openBoardForCli(config, context, {
      servePart: false,
      ...(isShared && { sharedRam: ramFile }),
    });
    const { tas, ...from } = await tasOf(config, opened.prepared);
    const { env, abort } = context;
    const target = new BridgedTarget({
      board: opened.board,
      ...(isShared ? { ramFile } : {}),
      env,
      abort,
      tas,
      ...from,
      seed,
    });
    try {
      const { explain } = new ExpectationLedger({
        target: config.name,
        expectations,
        versions: () => softwareVersions(opened.board, wholeImage(config, opened.prepared)),
        today: new Date(systemClock.wallMs()).toISOString().slice(0, 10),
      }).of(CASE);
      return await work({ target, tas, explain });
    } finally {
      await target.close();
      await opened.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** Throws UsageError for boards that cannot be fuzzed. */
function checkBoard(config: BoardConfig): void {
  const { conduits, name } = config;
  if (isBridged(config) && conduits.includes("vm")) return;
  throw new UsageError(`board "${name}" cannot be fuzzed`, {
    expected: "the emulated platform, or a board whose boot loader is a bridge for conduit vm",
    seen: `conduits ${conduits.join(", ") || "none"}`,
    next: "Take --board qemu-virt-hyp, or leave --board out.",
  });
}

/** A campaign of random programs on the model and on a board. Sets the exit code. */
export async function fuzzBoard(
  context: CliContext,
  flags: FuzzBoardFlags,
  seed: number,
): Promise<void> {
  const { runDifferential } = await import("../lockstep/index.ts");
  const { rules, board } = flags;
  const runs = flags.runs ?? (flags.time === undefined ? DEFAULT_RUNS : undefined);
  const result = await onBoard(context, board, seed, async ({ target, tas, explain }) => {
    const stage = context.progress.stage(`fuzzing ${board}, rules ${rules}, seed ${seed}`);
    let shown = performance.now();
    const found = await runDifferential({
      target,
      tas,
      explain,
      rules,
      seed,
      abort: context.abort,
      ...(runs === undefined ? {} : { runs }),
      ...(flags.time === undefined ? {} : { timeMs: flags.time }),
      onProgress: ({ programs, secureSmcs, differing }) => {
        if (runs === undefined || performance.now() - shown < 200) return;
        shown = performance.now();
        context.progress.count(programs, runs, `programs, ${secureSmcs} SMCs, ${differing} differ`);
      },
      onFinding: ({ kind, number, title }) =>
        context.progress.note(printable(`program ${number}: ${kind}, ${title}`)),
    });
    stage[found.findings.length === 0 ? "done" : "failed"](`${found.secureSmcs} SMCs`);
    return found;
  });
  await conclude(context, flags, result);
}

interface Saved {
  readonly finding: DifferentialFinding;
  readonly file: string;
}

async function conclude(
  context: CliContext,
  flags: FuzzBoardFlags,
  result: DifferentialResult,
): Promise<void> {
  const saved = await save(context, flags, result);
  if (flags.json === true) {
    context.out(`${JSON.stringify(documentOf(flags.board, result, saved), undefined, 2)}\n`);
  } else tell(context, flags.board, result, saved);
  if (result.interrupted) throw new InterruptedError("interrupted; the figures are those so far");
  if (result.programs === 0) {
    throw new InfrastructureError(`no program ran on board ${flags.board}`, {
      next: "Run again; see `lockstep doctor` for what may be missing.",
    });
  }
  const crashed = result.findings.some(({ kind }) => kind === "crash");
  context.setExit(crashed ? EXIT.crashed : result.findings.length > 0 ? EXIT.failed : EXIT.ok);
}

async function save(
  context: CliContext,
  { board, out }: FuzzBoardFlags,
  { rules, seed, findings }: DifferentialResult,
): Promise<Saved[]> {
  if (findings.length === 0) return [];
  const { STORED_FORMAT, writeStored } = await import("../lockstep/index.ts");
  return findings.map((finding, index) => {
    const stored: StoredProgram = {
      format: STORED_FORMAT,
      about: `program ${finding.number} of seed ${seed} on ${board}`,
      rules,
      differs: { board, title: finding.title.slice(0, 400) },
      program: finding.program,
    };
    const folder = path.resolve(context.cwd, out);
    return { finding, file: writeStored(folder, `${board}-${finding.kind}-${index + 1}`, stored) };
  });
}

const round = (n: number): number => Math.round(n * 10) / 10;

/** The document of `--json`. Times are apart, so that two documents of one seed compare. */
function documentOf(
  board: string,
  { coverage, findings, seconds, ...result }: DifferentialResult,
  saved: readonly Saved[],
): unknown {
  return {
    board,
    ...result,
    clauses: coverage.clauses,
    findings: findings.map((finding) => {
      const { program: _program, key: _key, ...rest } = finding;
      return { ...rest, file: saved.find((one) => one.finding === finding)?.file };
    }),
    time: {
      seconds: round(seconds),
      smcsPerMinute: Math.round((result.secureSmcs / Math.max(seconds, 0.001)) * 60),
    },
  };
}

function tell(
  context: CliContext,
  board: string,
  result: DifferentialResult,
  saved: readonly Saved[],
): void {
  const { rules, seed, programs, secureSmcs, smcs, restores, reboots, seconds } = result;
  const lines = [
    `${board}, rules ${rules}, seed ${seed}: ${programs} programs, ${smcs} SMCs of guests, ` +
      `${secureSmcs} of the real secure world, ${restores} restores, ${reboots} reboots, ` +
      `${round(seconds)} s`,
  ];
  if (result.predictedCrashes > 0) {
    lines.push(`${result.predictedCrashes} programs crash model and board at the same SMC`);
  }
  if (result.lost > 0) {
    lines.push(`${result.lost} programs lost to the laboratory, or not ended in time`);
  }
  for (const { expectation, reason, count } of result.explained) {
    lines.push(`explained by ${expectation} (${count} programs): ${reason}`);
  }
  for (const finding of result.findings) {
    const one = saved.find(({ finding: of }) => of === finding);
    lines.push(...describe(context, finding));
    if (one === undefined) continue;
    const file = path.relative(context.cwd, one.file);
    const steps = finding.program.steps.length;
    lines.push(`  ${steps} steps: lockstep fuzz --board ${board} --replay ${file}`);
  }
  const count = result.findings.length;
  lines.push(
    count === 0
      ? "no unexplained divergence"
      : `${count} unexplained divergence${count === 1 ? "" : "s"}`,
  );
  context.out(`${printable(lines.join("\n"))}\n`);
}

function describe(context: CliContext, finding: DifferentialFinding): string[] {
  const { kind, title, clauses, count, number, cause } = finding;
  const head = kind === "crash" ? "CRASH" : "DIVERGENCE";
  const about = clauses.length === 0 ? "" : ` [${clauses.join(", ")}]`;
  const programs = count === 1 ? "1 program" : `${count} programs`;
  return [
    `${context.style.out.red(head)} ${title}${about}`,
    `  ${programs}, first program ${number}`,
    ...(cause === undefined
      ? []
      : [...contextOf("model", cause.left), ...contextOf("board", cause.right)]),
  ];
}

const contextOf = (side: string, lines: readonly ContextLine[]): string[] =>
  lines.map(({ record, text, here }) => `  ${side} ${here === true ? ">" : " "} ${record} ${text}`);

/** Runs a program on model and board once, and tells where they part. */
export async function replayOnBoard(
  context: CliContext,
  flags: FuzzBoardFlags,
  program: Program,
): Promise<void> {
  const { replayDifferential } = await import("../lockstep/index.ts");
  const { board, rules } = flags;
  const outcome = await onBoard(context, board, 1, async ({ target, tas, explain }) =>
    replayDifferential({ target, tas, explain, rules, seed: 1 }, program),
  );
  if (flags.json === true) {
    const { finding, model, real } = outcome;
    const { program: _program, key: _key, ...rest } = finding ?? { program, key: "" };
    const found = finding === undefined ? undefined : rest;
    context.out(`${JSON.stringify({ board, rules, finding: found, model, real }, undefined, 2)}\n`);
  } else {
    for (const line of outcome.real) context.out(`${printable(line)}\n`);
    const { finding } = outcome;
    const text =
      finding === undefined
        ? "no divergence"
        : describe(context, { ...finding, number: 0, count: 1 }).join("\n");
    context.out(`${printable(text)}\n`);
  }
  const kind = outcome.finding?.kind;
  context.setExit(kind === undefined ? EXIT.ok : kind === "crash" ? EXIT.crashed : EXIT.failed);
}
