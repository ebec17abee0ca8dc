import { availableParallelism } from "node:os";
import path from "node:path";
import { Command, InvalidArgumentError, Option } from "commander";
import { EXIT, InterruptedError, UsageError } from "../../base/index.ts";
import type { CampaignFinding, CampaignResult } from "../../lockstep/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { parseDuration } from "../options.ts";
import { printable } from "../style.ts";

interface Flags {
  readonly board?: string;
  readonly seed?: number;
  readonly runs?: number;
  readonly rules?: RuleSetName;
  readonly time?: number;
  readonly jobs?: number;
  readonly out: string;
  readonly replay?: string;
  readonly json?: boolean;
}

const DEFAULT_RUNS = 5000;
const RULES: readonly RuleSetName[] = ["strict", "xen", "kvm"];

export const build: CommandBuilder = (context) => {
  const command = new Command("fuzz")
    .description(
      "Let hostile guests run random programs against the mediator and the OP-TEE model, and check\n" +
        "after every step that nothing of what must hold is broken. With --board, run them on the\n" +
        "model and on a real OP-TEE, and find where the two go different ways. What is found is made\n" +
        "as small as possible and saved as a program that can be replayed.",
    )
    .option(
      "--board <board>",
      "a board whose real secure world is held against the model (default: emulated)",
    )
    .option("--seed <n>", "seed of the campaign (default: LOCKSTEP_SEED, else a fresh one)", whole)
    .option(
      "--runs <n>",
      `how many programs (default: ${DEFAULT_RUNS}, 200 on a board; without end with --time)`,
      some,
    )
    .addOption(
      new Option("--rules <rules>", "the mediator's rule set (default: strict)").choices(RULES),
    )
    .option("--time <time>", "start no program after so long, e.g. 60s or 5m", someTime)
    .option("--jobs <n>", "worker threads (default: one for each processor)", workers)
    .option("--out <dir>", "folder for programs that found something", "lockstep-fuzz")
    .option("--replay <file>", "run the program of a file and print its trace")
    .option("--json", "print one JSON document")
    .addHelpText(
      "after",
      "\nExit codes: 0 nothing found, 1 an invariant is broken, model and board differ, or an\n" +
        "expectation about the board has expired or is no longer true, 2 usage, 3 the laboratory\n" +
        "failed twice in a row, 5 a program crashed the board, 70 a defect of the fuzzer, 130\n" +
        "interrupted. Under --rules xen the known defects of the Xen mediator are found and listed\n" +
        "with their clauses; they do not count. The result depends on --seed and --runs only, on a\n" +
        "board also on that board.",
    )
    .action(async (flags: Flags) => {
      if (flags.board !== undefined && flags.board !== "emulated") {
        await onBoard(context, flags, flags.board);
        return;
      }
      if (flags.replay === undefined) await campaign(context, flags);
      else await replayFile(context, flags, flags.replay);
    });
  return examples(command, [
    ["lockstep fuzz", "some thousand programs, a few seconds a core"],
    ["lockstep fuzz --time 10m --rules kvm", "as many as ten minutes allow"],
    ["lockstep fuzz --seed 7 --runs 200", "the same programs every time"],
    ["lockstep fuzz --rules xen", "what the Xen mediator's known defects lead to"],
    ["lockstep fuzz --replay lockstep-fuzz/strict-quotas.json", "what a program does, SMC by SMC"],
    ["lockstep fuzz --board qemu-virt-hyp --time 10m", "the model against a real OP-TEE"],
  ]);
};

function whole(text: string): number {
  const value = Number(text);
  if (!/^\d{1,10}$/.test(text) || value > 0xffff_ffff) {
    throw new InvalidArgumentError("Write a whole number from 0 to 4294967295.");
  }
  return value;
}

function some(text: string): number {
  const value = whole(text);
  if (value === 0) throw new InvalidArgumentError("Write a whole number from 1.");
  return value;
}

/** Each worker loads the whole model: thousands of them exhaust any host's memory. */
const MAX_JOBS = 256;

function workers(text: string): number {
  const value = some(text);
  if (value > MAX_JOBS) {
    throw new InvalidArgumentError(`Write a whole number from 1 to ${MAX_JOBS}.`);
  }
  return value;
}

/** Milliseconds. No time at all would run nothing and find nothing. */
function someTime(text: string): number {
  const ms = parseDuration(text);
  if (ms === 0) throw new InvalidArgumentError("Write a time above 0, e.g. 60s or 5m.");
  return ms;
}

function seedOf(flags: Flags, context: CliContext): number {
  if (flags.seed !== undefined) return flags.seed;
  const fromEnvironment = context.env["LOCKSTEP_SEED"];
  if (fromEnvironment === undefined || fromEnvironment === "") {
    return Math.floor(Math.random() * 0x1_0000_0000);
  }
  try {
    return whole(fromEnvironment);
  } catch {
    throw new UsageError(`LOCKSTEP_SEED is "${fromEnvironment}"`, {
      expected: "a whole number from 0 to 4294967295",
    });
  }
}

/** The same programs on the model and on a board. */
async function onBoard(context: CliContext, flags: Flags, board: string): Promise<void> {
  const { fuzzBoard, replayOnBoard } = await import("../fuzz-board.ts");
  if (flags.jobs !== undefined && flags.jobs > 1) {
    throw new UsageError("a board runs one program after the other", {
      next: "Leave --jobs out.",
    });
  }
  if (flags.replay === undefined) {
    await fuzzBoard(
      context,
      { ...flags, board, rules: flags.rules ?? "strict" },
      seedOf(flags, context),
    );
    return;
  }
  const { forRealMachines, readStored } = await import("../../lockstep/index.ts");
  const stored = readStored(path.resolve(context.cwd, flags.replay));
  const program = forRealMachines(stored.program);
  if (program === undefined) {
    throw new UsageError("the program needs a scripted secure world, which no board has", {
      where: flags.replay,
      next: "Replay it without --board.",
    });
  }
  await replayOnBoard(context, { ...flags, board, rules: flags.rules ?? stored.rules }, program);
}

async function campaign(context: CliContext, flags: Flags): Promise<void> {
  const { runCampaign } = await import("../../lockstep/index.ts");
  const rules = flags.rules ?? "strict";
  const seed = seedOf(flags, context);
  const runs = flags.runs ?? (flags.time === undefined ? DEFAULT_RUNS : undefined);
  const stage = context.progress.stage(`fuzzing, rules ${rules}, seed ${seed}`);
  let shown = performance.now();
  const result = await runCampaign({
    rules,
    seed,
    jobs: flags.jobs ?? availableParallelism(),
    abort: context.abort,
    ...(runs === undefined ? {} : { runs }),
    ...(flags.time === undefined ? {} : { timeMs: flags.time }),
    onProgress: ({ programs, smcs, findings }) => {
      if (runs === undefined || performance.now() - shown < 200) return;
      shown = performance.now();
      context.progress.count(programs, runs, `programs, ${smcs} SMCs, ${findings.length} findings`);
    },
  });
  if (runs !== undefined) context.progress.count(runs, runs, "programs");
  const good = result.findings.every(({ excusedBy }) => excusedBy.length > 0);
  stage[good ? "done" : "failed"](result.interrupted ? "interrupted" : `${result.batch.smcs} SMCs`);
  await conclude(context, flags, result);
}

/** Saves what was found, says what was done and sets the exit code. */
export async function conclude(
  context: CliContext,
  flags: Pick<Flags, "out" | "json">,
  result: CampaignResult,
): Promise<void> {
  const bugs = result.findings.filter(({ excusedBy }) => excusedBy.length === 0);
  const saved = await save(context, flags, result, bugs);
  if (flags.json === true)
    context.out(`${JSON.stringify(await documentOf(result, saved), undefined, 2)}\n`);
  else await tell(context, result, saved);
  // Whoever interrupts has been told what there is.
  if (result.interrupted) throw new InterruptedError("interrupted; the figures are those so far");
  context.setExit(bugs.length === 0 ? EXIT.ok : EXIT.failed);
}

interface Saved {
  readonly finding: CampaignFinding;
  readonly file: string;
  readonly steps: number;
}

/** Shrinks and saves the first program of every bug that was found. */
async function save(
  context: CliContext,
  flags: Pick<Flags, "out">,
  { rules, seed }: CampaignResult,
  bugs: readonly CampaignFinding[],
): Promise<Saved[]> {
  if (bugs.length === 0) return [];
  const { shrinkFinding, STORED_FORMAT, writeStored } = await import("../../lockstep/index.ts");
  const saved: Saved[] = [];
  for (const finding of bugs) {
    const { invariant, seen } = finding;
    const program = await shrinkFinding(finding, {
      rules,
      seed,
      stop: () => context.abort.aborted,
    });
    const file = writeStored(path.resolve(context.cwd, flags.out), `${rules}-${invariant}`, {
      format: STORED_FORMAT,
      about: `program ${finding.program} of seed ${seed}`,
      rules,
      found: { invariant, seen: seen.slice(0, 400) },
      program,
    });
    saved.push({ finding, file, steps: program.steps.length });
  }
  return saved;
}

/** The document of `--json`. Times are apart, so that two documents of one seed compare. */
async function documentOf(
  { rules, seed, batch, findings, seconds: took, cpuSeconds, interrupted }: CampaignResult,
  saved: readonly Saved[],
): Promise<unknown> {
  const { abiReached } = await import("../../lockstep/index.ts");
  const { coverage, findings: _same, ...counts } = batch;
  return {
    rules,
    seed,
    interrupted,
    ...counts,
    clauses: coverage.clauses,
    abi: abiReached(coverage),
    findings: findings.map((finding) => ({
      ...finding,
      file: saved.find((one) => one.finding === finding)?.file,
    })),
    time: {
      seconds: round(took),
      cpuSeconds: round(cpuSeconds),
      smcsPerMinute: perMinute(batch.smcs, took),
      smcsPerCpuMinute: perMinute(batch.smcs, cpuSeconds),
    },
  };
}

const round = (n: number): number => Math.round(n * 10) / 10;
const perMinute = (smcs: number, took: number): number =>
  Math.round((smcs / Math.max(took, 0.001)) * 60);

async function tell(
  context: CliContext,
  { rules, seed, batch, findings, seconds: took, cpuSeconds }: CampaignResult,
  saved: readonly Saved[],
): Promise<void> {
  const { abiReached, INVARIANTS } = await import("../../lockstep/index.ts");
  const { programs, smcs, created, refused, deaths, coverage } = batch;
  const abi = abiReached(coverage).map(({ table, reached, of }) => `${reached} of ${of} ${table}`);
  const lines = [
    `rules ${rules}, seed ${seed}: ${programs} programs, ${smcs} SMCs ` +
      `(${perMinute(smcs, took)} a minute, ${perMinute(smcs, cpuSeconds)} a processor minute), ` +
      `${created} VMs created, ${refused} refused, ${deaths} deaths`,
    `reached ${coverage.clauses.length} clauses by the mediator's trace, ${abi.join(", ")}`,
  ];
  for (const finding of findings) {
    const { invariant, seen, program, step, count, excusedBy } = finding;
    const programsOf = count === 1 ? "1 program" : `${count} programs`;
    const where = `${programsOf}, first program ${program}, step ${step}`;
    if (excusedBy.length > 0) {
      lines.push(`known defect ${excusedBy.join(", ")}: ${invariant} (${where})`);
      continue;
    }
    const one = saved.find(({ finding: of }) => of === finding);
    lines.push(
      `${context.style.out.red("VIOLATION")} ${invariant}: ${INVARIANTS[invariant]}`,
      `  seen: ${seen} (${where})`,
    );
    if (one === undefined) continue;
    const file = path.relative(context.cwd, one.file);
    lines.push(`  ${one.steps} steps: lockstep fuzz --rules ${rules} --replay ${file}`);
  }
  const bugs = findings.filter(({ excusedBy }) => excusedBy.length === 0).length;
  const known = findings.length - bugs;
  if (bugs === 0)
    lines.push(`${known === 0 ? "" : "apart from known defects, "}no invariant is broken`);
  else lines.push(bugs === 1 ? "1 invariant is broken" : `${bugs} invariants are broken`);
  context.out(`${printable(lines.join("\n"))}\n`);
}

/** Replays a file under the rules asked for, else its own. */
async function replayFile(context: CliContext, flags: Flags, file: string): Promise<void> {
  const { excusesOf, readStored, replay } = await import("../../lockstep/index.ts");
  const stored = readStored(path.resolve(context.cwd, file));
  const rules = flags.rules ?? stored.rules;
  const trace: string[] = [];
  const violations = replay(stored.program, rules, (line) => {
    trace.push(line);
    if (flags.json !== true) context.out(`${printable(line)}\n`);
  }).map((violation) => ({
    ...violation,
    excusedBy: excusesOf(violation.invariant, rules).map(({ clause }) => clause),
  }));
  const bugs = violations.filter(({ excusedBy }) => excusedBy.length === 0);
  if (flags.json === true) {
    context.out(`${JSON.stringify({ file, rules, violations, trace }, undefined, 2)}\n`);
  } else {
    for (const { invariant, step, excusedBy } of violations) {
      const why = excusedBy.length === 0 ? "" : `, known defect ${excusedBy.join(", ")}`;
      context.out(`broken in step ${step}: ${invariant}${why}\n`);
    }
    if (violations.length === 0) context.out("no invariant is broken\n");
  }
  context.setExit(bugs.length === 0 ? EXIT.ok : EXIT.failed);
}
