import { type FileHandle, open as openFile } from "node:fs/promises";
import path from "node:path";
import { UsageError } from "../../base/index.ts";
import type {
  CaseResult,
  ClauseCatalogue,
  Results,
  RunEvent,
  RunInfo,
  StreamInfo,
} from "../model.ts";
import type { Trace } from "../trace.ts";
import { readLines } from "./json-lines.ts";
import { CLAUSES, DIVERGENCES, EVENTS, RESULTS, RUN_JSON, sortedResults } from "./layout.ts";
import type { Divergences } from "../divergences.ts";
import { divergences } from "./divergence-shapes.ts";
import { exists, parse, readJson, requirePlainFile } from "./outside.ts";
import { caseResult, clauseCatalogue, results, runEvent, runInfo } from "./shapes.ts";
import { readTraceIndex, readTraces, type TraceFileInfo, type TraceIndex } from "./trace-reader.ts";

/** Bytes of a raw stream, with the place they were really taken from. */
export interface Slice {
  readonly bytes: Buffer;
  readonly from: number;
  readonly to: number;
  /** Bytes left out in the middle because the slice was longer than allowed; they follow `head`. */
  readonly omitted: number;
  /** Length of the part before the omission; all of `bytes` when nothing was left out. */
  readonly head: number;
}

const MAX_RUN_JSON = 64 * 1024 * 1024;
const MAX_RESULTS = 512 * 1024 * 1024;
const MAX_CLAUSES = 16 * 1024 * 1024;
const MAX_DIVERGENCES = 256 * 1024 * 1024;
/** Default bound of a slice in bytes. */
const MAX_SLICE = 64 * 1024;

const LINE_EVENT = '"type":"line"';

/**
 * Reads a bundle. Nothing in it is trusted: everything is checked, files are read only within the
 * folder, sizes are bounded. A bundle whose writer died is read as far as it goes.
 */
export class BundleReader {
  readonly dir: string;
  readonly info: RunInfo;
  readonly results: Results;
  #catalogue: ClauseCatalogue | undefined;
  #divergences: Divergences | undefined;

  private constructor(dir: string, info: RunInfo, cases: Results) {
    this.dir = dir;
    this.info = info;
    this.results = cases;
  }

  /**
   * The clauses that the run was held against; undefined in a bundle that has none. Throws UsageError
   * when the file is not what lockstep writes.
   */
  get catalogue(): ClauseCatalogue | undefined {
    const file = path.join(this.dir, CLAUSES);
    if (this.#catalogue === undefined && exists(file)) {
      this.#catalogue = readJson(file, MAX_CLAUSES, clauseCatalogue);
    }
    return this.#catalogue;
  }

  /**
   * Where boards differ from the emulated platform; undefined where no traces were compared. Throws
   * UsageError when the file is not what lockstep writes.
   */
  get divergences(): Divergences | undefined {
    const file = path.join(this.dir, DIVERGENCES);
    if (this.#divergences === undefined && exists(file)) {
      this.#divergences = readJson(file, MAX_DIVERGENCES, divergences);
    }
    return this.#divergences;
  }

  /**
   * Opens the bundle in `dir`. `info` stands in for run.json while the writer finishes. Throws
   * UsageError with file and position when it is not a bundle, damaged, or of a newer format.
   */
  static async open(dir: string, options: { info?: RunInfo } = {}): Promise<BundleReader> {
    const folder = path.resolve(dir);
    const info = options.info ?? readInfo(folder);
    const saved = exists(path.join(folder, RESULTS))
      ? readJson(path.join(folder, RESULTS), MAX_RESULTS, results)
      : undefined;
    const bare = new BundleReader(folder, info, saved ?? { format: 1, cases: [] });
    if (saved !== undefined) return bare;
    return new BundleReader(folder, info, await recoverResults(bare));
  }

  /** The run was cut short, or its writer died. */
  get incomplete(): boolean {
    return this.info.state !== "complete";
  }

  /**
   * The events in order. A last line without an end is left out: the writer died in it. Anything
   * else that is wrong throws UsageError with the line. With `lines: false` console lines are passed
   * over without being parsed.
   */
  async *events(options: { lines?: boolean } = {}): AsyncGenerator<RunEvent> {
    const file = path.join(this.dir, EVENTS);
    if (!exists(file)) return;
    requirePlainFile(file);
    for await (const { number, text, ended } of readLines(file)) {
      if (!ended) return;
      if (options.lines === false && text.includes(LINE_EVENT)) continue;
      const event = parse(text, `${file}:${number}`, runEvent);
      // An older bundle was being replaced here: its events do not belong to this run.
      if (event.type === "run-start" && event.id !== this.info.id) return;
      yield event;
    }
  }

  /**
   * The traces of a case on a target, by the number of the run; empty where none was recorded. A last
   * line without an end is left out: the writer died in it. Throws UsageError with file and line for
   * anything else that is wrong.
   */
  async traces(target: string, caseId: string): Promise<Trace[]> {
    return await readTraces(this.dir, target, caseId);
  }

  /** The same of a file that `traceIndex` lists. Throws UsageError also where runs are missing. */
  async listedTraces({ target, caseId, runs }: TraceFileInfo): Promise<Trace[]> {
    const found = await this.traces(target, caseId);
    if (found.length === runs) return found;
    throw new UsageError(`the trace of ${caseId} on ${target} is damaged`, {
      where: this.dir,
      expected: `${runs} runs, as traces.json says`,
      seen: String(found.length),
      next: "`lockstep report verify` tells what else is not as it was written.",
    });
  }

  /** The trace files of the run; undefined where nothing was traced or the run did not end. */
  get traceIndex(): TraceIndex | undefined {
    return readTraceIndex(this.dir);
  }

  /** Size of a stream in bytes; 0 when its file was never written. */
  size(stream: StreamInfo): number {
    const file = path.join(this.dir, stream.file);
    if (!exists(file)) return 0;
    return requirePlainFile(file).size;
  }

  /** The stream of that name of a target. */
  stream(target: string, name: string): StreamInfo | undefined {
    return this.info.streams.find((one) => one.target === target && one.name === name);
  }

  /**
   * Bytes `from` (inclusive) to `to` (exclusive) of a stream, cut to what there is. Longer than
   * `max` bytes, a quarter from the beginning and the rest from the end is returned.
   */
  async slice(stream: StreamInfo, from: number, to: number, max = MAX_SLICE): Promise<Slice> {
    const size = this.size(stream);
    const start = Math.min(Math.max(0, Math.floor(from)), size);
    const end = Math.min(Math.max(start, Math.floor(to)), size);
    if (end === start) {
      return { bytes: Buffer.alloc(0), from: start, to: end, omitted: 0, head: 0 };
    }
    const head = end - start <= max ? end - start : Math.floor(max / 4);
    const tail = end - start <= max ? 0 : max - head;
    const file = await openFile(path.join(this.dir, stream.file), "r");
    try {
      const first = await readAt(file, start, head);
      const last = await readAt(file, end - tail, tail);
      return {
        bytes: Buffer.concat([first, last]),
        from: start,
        to: end,
        omitted: end - start - head - tail,
        head,
      };
    } finally {
      await file.close();
    }
  }
}

async function readAt(file: FileHandle, at: number, length: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

function readInfo(folder: string): RunInfo {
  const file = path.join(folder, RUN_JSON);
  if (!exists(file)) {
    throw new UsageError("not a bundle of lockstep", {
      where: folder,
      seen: exists(folder) ? `no ${RUN_JSON} in the folder` : "no such folder",
      next: "Name the folder that `lockstep run` printed at its end",
    });
  }
  return readJson(file, MAX_RUN_JSON, runInfo);
}

/** What a dead writer left behind: every result that arrived, and `miss` for each case under way. */
async function recoverResults(reader: BundleReader): Promise<Results> {
  const cases = new Map<string, CaseResult>();
  const open = new Map<string, { target: string; id: string }>();
  for await (const event of reader.events({ lines: false })) {
    if (event.type === "case-start") open.set(keyOf(event), event);
    else if (event.type === "result") {
      cases.set(keyOf(event.result), caseResult(event.result, "result"));
      open.delete(keyOf(event.result));
    }
  }
  for (const [key, { target, id }] of open) {
    if (cases.has(key)) continue;
    const suite = id.includes(".") ? id.slice(0, id.indexOf(".")) : id;
    const reason = "the run ended before this case did";
    cases.set(key, { target, suite, id, title: id, status: "miss", reason });
  }
  return sortedResults(cases.values());
}

function keyOf(of: { target: string; id: string }): string {
  return JSON.stringify([of.target, of.id]);
}
