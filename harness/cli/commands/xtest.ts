import { access, rename, rm, writeFile } from "node:fs/promises";
import path from "node:path";
import { Command } from "commander";
import { InterruptedError, messageOf, UsageError } from "../../base/index.ts";
import {
  analyseLog,
  bundledVersions,
  type ExpectedList,
  expectationsDir,
  formatExpected,
  judgeRun,
  loadExpected,
  type LogAnalysis,
  type ParsedRun,
  readLog,
  recordRun,
} from "../../xtest/index.ts";
import type { CliContext, CommandBuilder } from "../context.ts";
import { examples } from "../help.ts";
import { analysisDocument, analysisText } from "../xtest-report.ts";

interface ParseFlags {
  readonly json?: boolean;
  readonly expect?: string;
  readonly board?: string;
  readonly optee?: string;
}

interface ExpectFlags {
  readonly xtest?: string;
  readonly optee?: string;
  readonly board?: string;
  readonly out?: string;
  readonly remark?: string;
  readonly widen?: boolean;
}

export const build: CommandBuilder = (context) => {
  const parse = new Command("parse")
    .description(
      "Judge every xtest run in a raw log: a console log with boot messages and kernel lines in " +
        "it, or the plain output of xtest. xtest's exit code is never asked.",
    )
    .argument("<log>", "the log file, or - for standard input")
    .option("--json", "print JSON (docs/xtest.md)")
    .option(
      "--expect <list>",
      "expected cases: a version such as 4.5.0, a file, or none (default: the recorded version that fits)",
    )
    .option("--board <name>", "board of the log, to compare subtests, subcases and skips")
    .option("--optee <version>", "OP-TEE of the log (default: the version that the log shows)")
    .action((log: string, flags: ParseFlags) => parseCommand(context, log, flags));
  const expect = new Command("expect")
    .description(
      "Record the cases, subcases, skips and the subtest count of a clean whole run, as a new list " +
        "or into the list of that xtest. What contradicts a record is refused without --widen.",
    )
    .argument("<log>", "the log file, or - for standard input")
    .requiredOption("--xtest <version>", "version of xtest, e.g. 4.5.0; xtest does not print it")
    .requiredOption("--board <name>", "the board that ran it")
    .option("--optee <version>", "version of OP-TEE (default: the version that the log shows)")
    .option("--out <file>", "the list to write (default: xtest-VERSION.yaml here)")
    .option("--remark <text>", "what the record rests on")
    .option("--widen", "accept a count, cases, subcases and skips beyond the record")
    .action((log: string, flags: ExpectFlags) => expectCommand(context, log, flags));
  examples(parse, [
    ["lockstep xtest parse console.log", "verdict and every case"],
    ["lockstep xtest parse console.log --board qemu-virt --optee 4.5.0", "with the board's record"],
    ["ssh board xtest | lockstep xtest parse -", "straight from a board"],
    ["lockstep xtest parse console.log --json --expect none", "for scripts, nothing expected"],
  ]);
  examples(expect, [
    ["lockstep xtest expect run.log --xtest 4.5.0 --optee 4.5.0 --board my-board", "a new record"],
    [
      "lockstep xtest expect run2.log --xtest 4.5.0 --board my-board --widen",
      "take in a second run",
    ],
  ]);
  const command = new Command("xtest").description("Judge xtest logs and record what to expect.");
  command.addCommand(parse).addCommand(expect);
  return examples(command, [
    ["lockstep xtest parse console.log", "judge a raw log"],
    ["lockstep xtest expect run.log --xtest 4.5.0 --board my-board", "record a clean run"],
  ]);
};

async function parseCommand(context: CliContext, log: string, flags: ParseFlags): Promise<void> {
  const expected =
    flags.expect === undefined
      ? "assume"
      : flags.expect === "none"
        ? "none"
        : await loadExpected(fromCwd(context, flags.expect));
  const analysis = await analyse(context, log, {
    expected,
    board: flags.board,
    optee: flags.optee,
  });
  if (flags.json === true) {
    const document = analysisDocument(log, analysis, flags.board);
    context.out(`${JSON.stringify(document, undefined, 2)}\n`);
  } else context.out(analysisText(log, analysis, flags.board, context.style.out));
  context.setExit(analysis.summary.exitCode);
}

async function expectCommand(context: CliContext, log: string, flags: ExpectFlags): Promise<void> {
  const { xtest = "", board = "" } = flags;
  if (!/^\d+\.\d+(?:\.\d+)?$/.test(xtest)) {
    throw new UsageError(`"${xtest}" is no version of xtest`, { expected: "e.g. 4.5.0" });
  }
  const file = path.resolve(context.cwd, flags.out ?? `xtest-${xtest}.yaml`);
  const before = await existing(file, xtest);
  const runs: ParsedRun[] = [];
  const { optee } = await analyse(context, log, {
    expected: "none",
    board: undefined,
    optee: flags.optee,
    onRun: (run) => {
      if (runs.length < 2) runs.push(run);
    },
  });
  const [run, second] = runs;
  if (run === undefined || second !== undefined) {
    throw new UsageError("only a log with exactly one run can be recorded", { where: log });
  }
  if (optee === undefined) {
    throw new UsageError("the log does not show its OP-TEE version", {
      where: log,
      next: "Give it with --optee, e.g. --optee 4.5.0",
    });
  }
  const report = judgeRun(run);
  const key = { xtest, optee, board, remark: flags.remark };
  const list = recordRun(run, report, key, before, flags.widen === true);
  await replaceFile(file, await formatExpected(list));
  const record = list.records.at(-1);
  context.err(
    `recorded ${run.cases.length} cases of xtest ${xtest} on ${board} with OP-TEE ${optee}: ` +
      `${record?.subtests.min} to ${record?.subtests.max} subtests`,
  );
  context.out(`${file}\n`);
}

/** The list to add to: the file itself, else the one that comes with lockstep for that version. */
async function existing(file: string, xtest: string): Promise<ExpectedList | undefined> {
  let list: ExpectedList | undefined;
  try {
    await access(file);
    list = await loadExpected(file);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    if ((await bundledVersions()).includes(xtest)) {
      list = await loadExpected(path.join(expectationsDir, `xtest-${xtest}.yaml`));
    }
  }
  if (list !== undefined && list.xtest !== xtest) {
    throw new UsageError(`the list is of xtest ${list.xtest}, not ${xtest}`, { where: list.file });
  }
  return list;
}

async function replaceFile(file: string, text: string): Promise<void> {
  const part = `${file}.${process.pid}.tmp`;
  try {
    await writeFile(part, text);
    await rename(part, file);
  } catch (error) {
    await rm(part, { force: true });
    throw new UsageError("cannot write the list", {
      where: file,
      seen: messageOf(error),
      next: "Give a file in a folder that you can write to, with --out",
      cause: error,
    });
  }
}

async function analyse(
  context: CliContext,
  log: string,
  options: Parameters<typeof analyseLog>[2],
): Promise<LogAnalysis> {
  const file = log === "-" ? log : path.resolve(context.cwd, log);
  const name = log === "-" ? "standard input" : log;
  return await analyseLog(watched(context, readLog(file, context.streams.stdin)), name, options);
}

/** The same chunks, ended by Ctrl-C. */
async function* watched<T>(context: CliContext, chunks: AsyncIterable<T>): AsyncGenerator<T> {
  for await (const chunk of chunks) {
    if (context.abort.aborted) throw new InterruptedError("interrupted while reading the log");
    yield chunk;
  }
}

const fromCwd = (context: CliContext, what: string): string =>
  /^\d+\.\d+(?:\.\d+)?$/.test(what) ? what : path.resolve(context.cwd, what);
