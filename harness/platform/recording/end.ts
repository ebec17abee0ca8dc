import { hash } from "node:crypto";
import { EXIT, LockstepError, messageOf } from "../../base/index.ts";
import type { TraceRecord } from "../../run/index.ts";
import { type Data, Skipped } from "../target.ts";
import type { RecordSink } from "./recorder.ts";

/** How a run ended, before it is a record. */
export type RunEnd =
  | { readonly how: "done"; readonly value: Data }
  | { readonly how: "skip" | "crash" | "error"; readonly reason: string };

/** Longest value, as JSON, and longest run of bytes in it that a trace holds as they are. */
const MAX_VALUE = 64 * 1024;
const MAX_BYTES = 4096;
const MAX_REASON = 2000;

/** What a run that was ended by `error` comes to. */
export function endOf(error: unknown): RunEnd {
  if (error instanceof Skipped) return { how: "skip", reason: error.reason };
  const crash = error instanceof LockstepError && error.exitCode === EXIT.crashed;
  return { how: crash ? "crash" : "error", reason: messageOf(error).slice(0, MAX_REASON) };
}

/** The last record of a run whose others went to `sink`. */
export function endRecord(end: RunEnd, { dropped }: RecordSink): TraceRecord {
  return {
    type: "end",
    ...(end.how === "done" ? { how: end.how, value: plainValue(end.value) } : end),
    ...(dropped === 0 ? {} : { dropped }),
  };
}

/**
 * A scenario's result as JSON. A bigint becomes `{ "$bigint": "0x…" }`, bytes `{ "$bytes": hex }` or,
 * where they are many, `{ "$bytes": count, "$sha256": hex }`; so does the whole where it is too large.
 */
function plainValue(value: Data): unknown {
  const plain = plainData(value);
  const text = JSON.stringify(plain) ?? "null";
  if (text.length <= MAX_VALUE) return plain;
  return { $json: text.length, $sha256: hash("sha256", text, "hex") };
}

function plainData(value: Data | undefined): unknown {
  if (typeof value === "bigint") {
    return { $bigint: value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}` };
  }
  if (value instanceof Uint8Array) {
    if (value.length <= MAX_BYTES) return { $bytes: Buffer.from(value).toString("hex") };
    return { $bytes: value.length, $sha256: hash("sha256", value, "hex") };
  }
  if (Array.isArray(value)) return value.map((item: Data) => plainData(item));
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [key, plainData(item as Data)]));
}
