import { appendFileSync, mkdirSync } from "node:fs";
import { createHash, type Hash } from "node:crypto";
import path from "node:path";
import { gzipSync } from "node:zlib";
import type { KnownSecrets } from "../mask/known-secrets.ts";
import { maskBytes, maskValue, TextMasker } from "../mask/text-masker.ts";
import type { Trace, TraceRecord } from "../trace.ts";
import { compareText, traceFile } from "./layout.ts";
import type { TraceIndex } from "./trace-reader.ts";

/** Traces repeat themselves: a thirtieth is left, in little time. */
const LEVEL = 1;

interface Written {
  readonly target: string;
  readonly caseId: string;
  readonly hash: Hash;
  bytes: number;
  runs: number;
}

/** Appends traces to the files of their cases, each as it ends. */
export class TraceWriter {
  readonly #dir: string;
  readonly #known: KnownSecrets;
  readonly #files = new Map<string, Written>();

  constructor(dir: string, known: KnownSecrets) {
    this.#dir = dir;
    this.#known = known;
  }

  /** Throws what the disk says. */
  add({ header, records }: Trace): void {
    const { target, caseId } = header;
    const file = path.join(this.#dir, ...traceFile(target, caseId));
    let written = this.#files.get(file);
    if (written === undefined) {
      mkdirSync(path.dirname(file), { recursive: true });
      written = { target, caseId, hash: createHash("sha256"), bytes: 0, runs: 0 };
      this.#files.set(file, written);
    }
    const lines = [JSON.stringify(header), ...this.#lines(records), ""];
    // A member of its own for each run: a file that the writer died in is whole up to there.
    const bytes = gzipSync(lines.join("\n"), { level: LEVEL });
    appendFileSync(file, bytes);
    written.hash.update(bytes);
    written.bytes += bytes.length;
    written.runs += 1;
  }

  /** Undefined where nothing was traced. */
  get index(): TraceIndex | undefined {
    if (this.#files.size === 0) return undefined;
    const files = [...this.#files.values()]
      .toSorted((a, b) => compareText(a.target, b.target) || compareText(a.caseId, b.caseId))
      .map(({ target, caseId, runs, bytes, hash }) => {
        return { target, caseId, runs, bytes, sha256: hash.copy().digest("hex") };
      });
    return { format: 1, files };
  }

  #lines(records: readonly TraceRecord[]): string[] {
    // Dumps of keys may go over several lines of the console.
    const masker = new TextMasker(this.#known);
    return records.map((record) => JSON.stringify(this.#masked(record, masker)));
  }

  #masked(record: TraceRecord, masker: TextMasker): TraceRecord {
    switch (record.type) {
      case "console":
        return { ...record, text: masker.line(record.text) };
      case "end":
        return { ...record, ...this.#maskedEnd(record) };
      case "smc":
        return this.#maskedMemory(record);
      case "guest":
        return record;
      default:
        return record satisfies never;
    }
  }

  #maskedEnd({ value, reason }: Extract<TraceRecord, { type: "end" }>): object {
    return {
      ...(value === undefined ? {} : { value: maskValue(this.#known, value) }),
      ...(reason === undefined ? {} : { reason: maskValue(this.#known, reason) }),
    };
  }

  #maskedMemory(record: Extract<TraceRecord, { type: "smc" }>): TraceRecord {
    const { message } = record;
    if (message === undefined || this.#known.windows.size === 0) return record;
    const params = message.params.map((param) => {
      if (param.data === undefined) return param;
      return { ...param, data: { ...param.data, head: maskBytes(this.#known, param.data.head) } };
    });
    return { ...record, message: { ...message, params } };
  }
}
