import { readFileSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import type { ExpectedList } from "../expected/model.ts";
import { judgeRun, type JudgeOptions } from "../judge.ts";
import type { ParsedRun, XtestEvent } from "../model.ts";
import { XtestParser } from "../parser.ts";
import type { RunReport } from "../report.ts";
import { RunCollector, type XtestSummary } from "../summary.ts";
import type { FakeCase } from "./fake-xtest.ts";

/** Console of QEMU virt from U-Boot to the end of a whole run of xtest 4.5.0: 139 cases, 39397 subtests. */
export const GOLDEN_FILE = path.join(
  packageRoot,
  "harness",
  "xtest",
  "testdata",
  "xtest-4.5.0-qemu-virt.console.raw",
);
export const golden = (): Buffer => readFileSync(GOLDEN_FILE);

export function eventsOf(chunks: Iterable<Uint8Array | string>): XtestEvent[] {
  const events: XtestEvent[] = [];
  const parser = new XtestParser((event) => events.push(event));
  for (const chunk of chunks) parser.push(chunk);
  parser.end();
  return events;
}

export function runsOf(...chunks: (Uint8Array | string)[]): ParsedRun[] {
  return eventsOf(chunks).flatMap((event) => (event.type === "run-end" ? [event.run] : []));
}

/** The reports of every run in a text. */
export function judged(text: string, options: JudgeOptions = {}): RunReport[] {
  return runsOf(text).map((run) => judgeRun(run, options));
}

export function summed(text: string | Uint8Array, options: JudgeOptions = {}): XtestSummary {
  const collector = new RunCollector();
  for (const run of runsOf(text)) collector.add(judgeRun(run, options));
  return collector.summary();
}

export function expectedOf(
  cases: readonly FakeCase[],
  records: ExpectedList["records"] = [],
): ExpectedList {
  const list = cases.map(({ id, title, suite }) => ({ id, title, suite }));
  return { xtest: "4.5.0", file: "test.yaml", cases: list, records };
}
