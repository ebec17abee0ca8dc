import { createReadStream } from "node:fs";
import { errorCode, messageOf, UsageError } from "../base/index.ts";
import type { Results } from "../run/index.ts";
import { bundledVersions, loadExpected } from "./expected/load.ts";
import type { ExpectedList } from "./expected/model.ts";
import { judgeRun } from "./judge.ts";
import type { ParsedRun } from "./model.ts";
import { XtestParser } from "./parser.ts";
import { RunCollector, toResults, type XtestSummary } from "./summary.ts";

export interface AnalyseOptions {
  /** A list, `none`, or `assume`: the list that comes with lockstep and fits the first run best. */
  readonly expected: ExpectedList | "none" | "assume";
  readonly board?: string | undefined;
  /** Version of OP-TEE; without it the one that the log itself shows is taken. */
  readonly optee?: string | undefined;
  /** Called with each run as it was read, before it is judged and forgotten. */
  readonly onRun?: ((run: ParsedRun) => void) | undefined;
}

export interface LogAnalysis {
  readonly summary: XtestSummary;
  readonly expected: ExpectedList | undefined;
  /** True where the list was chosen by lockstep because it fits. */
  readonly assumed: boolean;
  readonly optee: string | undefined;
}

/**
 * Parses and judges a whole log as it streams by. Throws UsageError when no xtest run is in it;
 * `name` is for that message.
 */
export async function analyseLog(
  chunks: AsyncIterable<Uint8Array | string>,
  name: string,
  options: AnalyseOptions,
): Promise<LogAnalysis> {
  const candidates = options.expected === "assume" ? await bundledLists() : [];
  let expected = typeof options.expected === "object" ? options.expected : undefined;
  const collector = new RunCollector();
  let first = true;
  const parser = new XtestParser((event) => {
    if (event.type !== "run-end") return;
    const { run } = event;
    options.onRun?.(run);
    if (first && options.expected === "assume") expected = bestFit(candidates, run);
    first = false;
    const optee = options.optee ?? parser.opteeVersion;
    collector.add(judgeRun(run, { expected, board: options.board, optee }));
  });
  for await (const chunk of chunks) parser.push(chunk);
  parser.end();
  if (parser.runs === 0) {
    throw new UsageError("no xtest run found", {
      where: name,
      expected: 'a console log or the output of xtest, with its line "Run test suite with level=…"',
      next: "Check that this is the right file",
    });
  }
  return {
    summary: collector.summary(),
    expected,
    assumed: options.expected === "assume" && expected !== undefined,
    optee: options.optee ?? parser.opteeVersion,
  };
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "no such file",
  EISDIR: "a folder",
  EACCES: "it may not be read by you",
};

/** The bytes of a file, or of `stdin` for `-`. Reading errors become UsageError. */
export async function* readLog(
  file: string,
  stdin: AsyncIterable<Uint8Array> = process.stdin,
): AsyncGenerator<Uint8Array> {
  const stream: AsyncIterable<Uint8Array> =
    file === "-" ? stdin : createReadStream(file, { highWaterMark: 256 * 1024 });
  try {
    for await (const chunk of stream) yield chunk;
  } catch (error) {
    throw new UsageError("cannot read the log", {
      where: file,
      seen: REASONS[errorCode(error) ?? ""] ?? messageOf(error),
      next: "Give a readable file, or - for standard input",
      cause: error,
    });
  }
}

/**
 * A raw console log as results, for `lockstep compare`. Throws UsageError when it cannot be read
 * or holds no xtest run.
 */
export async function resultsFromLog(
  file: string,
  options: { readonly target: string } & Partial<AnalyseOptions>,
): Promise<Results> {
  const { target, ...rest } = options;
  const analysis = await analyseLog(readLog(file), file, {
    expected: "assume",
    board: target,
    ...rest,
  });
  return toResults(target, analysis.summary);
}

async function bundledLists(): Promise<ExpectedList[]> {
  return await Promise.all((await bundledVersions()).map((version) => loadExpected(version)));
}

/** The list that knows most cases of the run; none where it knows less than half of them. */
function bestFit(lists: readonly ExpectedList[], run: ParsedRun): ExpectedList | undefined {
  let best: { list: ExpectedList; known: number } | undefined;
  for (const list of lists) {
    const ids = new Set(list.cases.map((one) => one.id));
    const known = run.cases.filter((one) => ids.has(one.id)).length;
    if (known > (best?.known ?? 0)) best = { list, known };
  }
  return best !== undefined && best.known * 2 >= run.cases.length ? best.list : undefined;
}
