import { createHash } from "node:crypto";
import { type LedgerEntry, type LedgerIntent, parseEntry } from "./entry.ts";

/** Longest line that is read as an entry, in bytes. */
const MAX_LINE = 64 * 1024;
/** `prev` of the first entry. */
export const CHAIN_START = "0".repeat(64);
const NEWLINE = 0x0a;

/** The last entry that is known to have been written: what a ledger may not end before. */
export interface LedgerHead {
  readonly seq: number;
  /** SHA-256 of that entry's line. */
  readonly hash: string;
}

export interface LedgerReading {
  readonly entries: readonly LedgerEntry[];
  /** SHA-256 of the last entry's line, `CHAIN_START` where there is none. */
  readonly hash: string;
  /** The last entry lacks its line end. */
  readonly unended: boolean;
  /** The beginning of an entry at the end, cut off by a power cut or a full disk. */
  readonly torn?: Uint8Array;
  /** What shows that somebody changed the file; empty where nothing does. One sentence each. */
  readonly problems: readonly string[];
  /** Attempts whose end nobody wrote. */
  readonly open: readonly LedgerIntent[];
}

export const sha256 = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex");

/** Reads a whole ledger and checks its chain. Whatever the bytes are, it answers. */
export function readChain(bytes: Uint8Array, head?: LedgerHead): LedgerReading {
  const { lines, rest } = split(bytes);
  // Of a whole entry at the end only the line end was lost.
  const unended = rest !== undefined && parseEntry(rest) !== undefined;
  if (unended) lines.push(rest);
  const torn = unended ? undefined : rest;
  const entries: LedgerEntry[] = [];
  const problems: string[] = [];
  let hash = CHAIN_START;
  let headHash = "";
  for (let index = 0; index < lines.length; index += 1) {
    const line = lines[index] ?? new Uint8Array();
    const at = `line ${index + 1}`;
    const entry = line.length > MAX_LINE ? undefined : parseEntry(line);
    if (entry === undefined) {
      const next = parseEntry(lines[index + 1] ?? new Uint8Array());
      const accounted =
        next?.kind === "recovered" && next.bytes === line.length && next.sha256 === sha256(line);
      if (!accounted) problems.push(`${at} is no entry, and no recovery accounts for it`);
      continue;
    }
    if (entry.prev !== hash) {
      problems.push(
        `${at} does not follow from the entry before it: something was changed, taken out or put in`,
      );
    } else if (entry.seq !== entries.length + 1) {
      problems.push(`${at} is entry ${entry.seq}, where ${entries.length + 1} belongs`);
    }
    hash = sha256(line);
    entries.push(entry);
    if (entries.length === head?.seq) headHash = hash;
  }
  if (head !== undefined && entries.length < head.seq) {
    problems.push(
      `it ends with entry ${entries.length}, although entry ${head.seq} was written: the end was cut off`,
    );
  } else if (head !== undefined && headHash !== head.hash && problems.length === 0) {
    problems.push(`entry ${head.seq} is not the one that was written`);
  }
  return { entries, hash, unended, ...(torn && { torn }), problems, open: openIntents(entries) };
}

function openIntents(entries: readonly LedgerEntry[]): LedgerIntent[] {
  const open = new Map<string, LedgerIntent>();
  for (const entry of entries) {
    if (entry.kind === "intent") open.set(entry.id, entry);
    else if (entry.kind !== "recovered") open.delete(entry.id);
  }
  return [...open.values()];
}

/** Lines without their ends; with what follows the last end. */
function split(bytes: Uint8Array): { lines: Uint8Array[]; rest: Uint8Array | undefined } {
  const lines: Uint8Array[] = [];
  let start = 0;
  for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, start)) {
    lines.push(bytes.subarray(start, end));
    start = end + 1;
  }
  return { lines, rest: start < bytes.length ? bytes.subarray(start) : undefined };
}
