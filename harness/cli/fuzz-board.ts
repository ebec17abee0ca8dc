import { mkdtemp, rm } from "node:fs/promises";
import path from "node:path";
import { EXIT, InfrastructureError, InterruptedError, UsageError } from "../base/index.ts";
import { type BoardConfig, loadBoard } from "../board/index.ts";
import type {
  DifferentialFinding,
  DifferentialResult,
  ExpectationLedger,
  Explain,
  Program,
  StoredProgram,
} from "../lockstep/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import { BridgedTarget, transportOf } from "../platform/index.ts";
import type { ContextLine, ExpectationOutcome } from "../run/index.ts";
import type { CliContext } from "./context.ts";
import { today } from "./known-divergences.ts";
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

/** So many programs, or more, in which nothing differs as an expectation says make it untrue. */
const DEFAULT_RUNS = 200;

interface OnBoard {
  readonly target: BridgedTarget;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** What is known already: the expectations of the board that cover case `fuzz.campaign`. */
  readonly ledger: ExpectationLedger;
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
      const ledger = new ExpectationLedger({
        target: config.name,
        expectations,
        versions: () => softwareVersions(opened.board, wholeImage(config, opened.prepared)),
        today: today(),
      });
      return await work({ target, tas, ledger, explain: ledger.of(CASE).explain });
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
  const why = whyNot(config);
  if (why === undefined) return;
  throw new UsageError(`board "${config.name}" cannot be fuzzed`, {
    expected:
      "a bridged board with conduit vm, whose programs are VMs behind Lockstep's own mediator",
    seen: why,
    next: "Take --board qemu-virt-hyp, the same OP-TEE built for several guests, or leave --board out.",
  });
}

function whyNot(config: BoardConfig): string | undefined {
  const { conduits, bridge, rpmb } = config;
  if (conduits.length === 0) return "no conduit to its secure world";
  if (!conduits.includes("vm")) {
    return `conduits ${conduits.join(", ")}: its OP-TEE is built without NS-virtualization and knows one normal world`;
  }
  if (!isBridged(config)) return "no bridge to its boot loader";
  if (bridge?.guest !== undefined) return `the mediator of ${bridge.guest} in front of its OP-TEE`;
  if (rpmb !== undefined) return "an OP-TEE with RPMB storage, which the fuzzer's model is not";
  return undefined;
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
  const result = await onBoard(context, board, seed, async ({ target, tas, ledger, explain }) => {
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
    return { ...found, expectations: outcomesOf(ledger, found) };
  });
  await conclude(context, flags, result);
}

interface Judged extends DifferentialResult {
  /** What became of the expectations that cover the campaign. */
  readonly expectations: readonly ExpectationOutcome[];
}

/** A campaign that is short or has holes says nothing of what it did not show. */
export function outcomesOf(
  ledger: ExpectationLedger,
  { programs, lost, interrupted }: DifferentialResult,
): readonly ExpectationOutcome[] {
  if (programs > 0) ledger.compared(CASE);
  if (interrupted || lost > 0 || programs < DEFAULT_RUNS) ledger.missed(CASE);
  return ledger.outcomes(() => false).filter(({ cases }) => cases > 0);
}

interface Saved {
  readonly finding: DifferentialFinding;
  readonly file: string;
}

export async function conclude(
  context: CliContext,
  flags: FuzzBoardFlags,
  result: Judged,
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
  const failed = result.findings.length > 0 || result.expectations.some(isWrong);
  context.setExit(crashed ? EXIT.crashed : failed ? EXIT.failed : EXIT.ok);
}

const isWrong = ({ outcome }: ExpectationOutcome): boolean =>
  outcome === "stale" || outcome === "expired";

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
  { coverage, findings, seconds, ...result }: Judged,
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

function tell(context: CliContext, board: string, result: Judged, saved: readonly Saved[]): void {
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
  for (const { id, outcome, expires, owner, where } of result.expectations.filter(isWrong)) {
    const what =
      outcome === "expired"
        ? `expired on ${expires}: look at it again and set another date, or remove it`
        : `is no longer true: none of ${programs} programs differs so; remove it`;
    lines.push(
      `${context.style.out.red("EXPECTATION")} ${id} ${what} (owner: ${owner})`,
      `  ${where}`,
    );
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
