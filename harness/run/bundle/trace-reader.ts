import { lstatSync } from "node:fs";
import path from "node:path";
import { UsageError } from "../../base/index.ts";
import type { Trace, TraceRecord } from "../trace.ts";
import { type Check, count, list, matching, object, oneOf, text } from "./check.ts";
import { readGzipLines } from "./json-lines.ts";
import { TRACE_INDEX, traceFile } from "./layout.ts";
import { exists, parse, readJson, requirePlainFile } from "./outside.ts";
import { traceLine } from "./trace-shapes.ts";

/** One file under `traces/`, as `traces.json` lists it when the run has ended. */
export interface TraceFileInfo {
  readonly target: string;
  readonly caseId: string;
  /** How many runs of scenarios it holds. */
  readonly runs: number;
  readonly bytes: number;
  /** In hexadecimal. */
  readonly sha256: string;
}

export interface TraceIndex {
  readonly format: 1;
  /** Sorted by target, then case. */
  readonly files: readonly TraceFileInfo[];
}

const MAX_INDEX = 64 * 1024 * 1024;
const MAX_FILE = 64 * 1024 * 1024;
/** What a file may hold, unpacked. */
const MAX_TEXT = 1024 * 1024 * 1024;

const traceIndex: Check<TraceIndex> = object({
  format: oneOf([1]),
  files: list(
    object({
      target: text,
      caseId: text,
      runs: count,
      bytes: count,
      sha256: matching(/^[0-9a-f]{64}$/, "a SHA-256 in hex"),
    }),
  ),
});

/** Throws UsageError when the file is not what lockstep writes. */
export function readTraceIndex(dir: string): TraceIndex | undefined {
  const file = path.join(dir, TRACE_INDEX);
  return exists(file) ? readJson(file, MAX_INDEX, traceIndex) : undefined;
}

/** Where the traces of a case are; undefined where there is no such file, or no way to it but a link. */
export function traceFileIn(dir: string, target: string, caseId: string): string | undefined {
  const parts = traceFile(target, caseId);
  let at = dir;
  for (const part of parts.slice(0, -1)) {
    at = path.join(at, part);
    const stat = lstatSync(at, { throwIfNoEntry: false });
    if (stat === undefined) return undefined;
    if (!stat.isDirectory()) throw new UsageError("is not a folder", { where: at });
  }
  const file = path.join(dir, ...parts);
  return exists(file) ? file : undefined;
}

/** See `BundleReader.traces`. */
export async function readTraces(dir: string, target: string, caseId: string): Promise<Trace[]> {
  const file = traceFileIn(dir, target, caseId);
  if (file === undefined) return [];
  if (requirePlainFile(file).size > MAX_FILE) {
    throw new UsageError(`is larger than ${MAX_FILE / 1024 / 1024} MiB`, { where: file });
  }
  const traces: { header: Trace["header"]; records: TraceRecord[] }[] = [];
  for await (const { number, text: line, ended } of readGzipLines(file, MAX_TEXT)) {
    if (!ended) break;
    const where = `${file}:${number}`;
    const read = parse(line, where, traceLine);
    if (read.type === "trace") {
      if (read.target !== target || read.caseId !== caseId) {
        throw new UsageError("is a trace of something else", {
          where,
          expected: `${caseId} on ${target}`,
          seen: `${read.caseId} on ${read.target}`,
        });
      }
      traces.push({ header: read, records: [] });
      continue;
    }
    const trace = traces.at(-1);
    if (trace === undefined || trace.records.at(-1)?.type === "end") {
      throw new UsageError("is a record of no trace", {
        where,
        expected: "a line that says what it is a trace of",
        seen: `a record of type ${read.type}`,
      });
    }
    trace.records.push(read);
  }
  return traces.toSorted((a, b) => a.header.run - b.header.run);
}
