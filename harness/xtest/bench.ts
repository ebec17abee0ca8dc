import { createReadStream } from "node:fs";
import { mkdtemp, open, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { packageRoot } from "../base/index.ts";
import { judgeRun } from "./judge.ts";
import { XtestParser } from "./parser.ts";
import { RunCollector } from "./summary.ts";

export interface ParserBench {
  /** Throughput of parsing and judging over that of reading lines; higher is better. */
  readonly ratio: number;
  readonly bytes: number;
  readonly parserMs: number;
  readonly linesMs: number;
}

/**
 * Parses and judges a generated console log, and reads the same file line by line with
 * `node:readline`, alternating; the ratio is that of the fastest round of each. Needs the source
 * tree, for the log of which the file is made.
 */
export async function benchParser(
  options: { bytes?: number; rounds?: number } = {},
): Promise<ParserBench> {
  const { bytes = 64_000_000, rounds = 5 } = options;
  const folder = await mkdtemp(path.join(tmpdir(), "lockstep-bench-"));
  try {
    const file = path.join(folder, "xtest.log");
    const size = await generate(file, bytes);
    let parserMs = Number.POSITIVE_INFINITY;
    let linesMs = Number.POSITIVE_INFINITY;
    for (let i = 0; i < rounds; i++) {
      linesMs = Math.min(linesMs, await timed(() => readLines(file)));
      parserMs = Math.min(parserMs, await timed(() => parse(file)));
    }
    return { ratio: linesMs / parserMs, bytes: size, parserMs, linesMs };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

async function generate(file: string, bytes: number): Promise<number> {
  const source = path.join(packageRoot, "harness", "xtest", "testdata");
  const log = await readFile(path.join(source, "xtest-4.5.0-qemu-virt.console.raw"));
  const handle = await open(file, "w");
  let size = 0;
  try {
    for (; size < bytes; size += log.length) await handle.write(log);
  } finally {
    await handle.close();
  }
  return size;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function readLines(file: string): Promise<void> {
  let count = 0;
  const lines = createInterface({ input: createReadStream(file), crlfDelay: Infinity });
  lines.on("line", () => count++);
  await new Promise((resolve) => {
    lines.once("close", resolve);
  });
  if (count === 0) throw new Error("no lines were read");
}

async function parse(file: string): Promise<void> {
  const collector = new RunCollector();
  const parser = new XtestParser((event) => {
    if (event.type === "run-end") collector.add(judgeRun(event.run));
  });
  for await (const chunk of createReadStream(file)) parser.push(chunk as Buffer);
  parser.end();
  if (collector.summary().status !== "pass") throw new Error("the log was not parsed as a pass");
}
