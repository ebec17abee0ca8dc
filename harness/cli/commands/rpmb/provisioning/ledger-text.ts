import type { LedgerEntry, LedgerReading } from "../../../../provision/index.ts";
import type { Style } from "../../../style.ts";
import { plain } from "./text.ts";

/** `lockstep rpmb provision --ledger --json`. */
export function ledgerDocument(file: string, reading: LedgerReading): object {
  const { entries, open, problems, torn } = reading;
  return {
    format: 1,
    file,
    intact: problems.length === 0,
    problems,
    tornBytes: torn?.length ?? 0,
    open: open.map(({ id }) => id),
    entries,
  };
}

/** The ledger as people read it: an attempt a line, and what is wrong with the file. */
export function ledgerText(file: string, reading: LedgerReading, style: Style): string {
  const { entries, open, problems, torn } = reading;
  const lines = [
    `${plain(file)}: ${entries.length} ${entries.length === 1 ? "entry" : "entries"}\n`,
  ];
  for (const entry of entries) lines.push(`  ${entryText(entry)}\n`);
  for (const { id, time, cid } of open) {
    lines.push(
      `${style.yellow("open:")} the attempt ${id} of ${time} on ${cid} has no end; the plan for that part says what it is now\n`,
    );
  }
  if (torn !== undefined) {
    lines.push(
      `${style.yellow("torn:")} ${torn.length} bytes at the end are the beginning of an entry that a power cut or a full disk tore; the next entry accounts for them\n`,
    );
  }
  for (const problem of problems) lines.push(`${style.red("changed:")} ${plain(problem)}\n`);
  return lines.join("");
}

function entryText(entry: LedgerEntry): string {
  const head = `${String(entry.seq).padStart(4)}  ${entry.time}  ${entry.kind.padEnd(9)}`;
  return plain(`${head} ${restText(entry)}`);
}

function restText(entry: LedgerEntry): string {
  switch (entry.kind) {
    case "intent": {
      const { cid, keyId, board, part, route, by, host, emulated } = entry;
      const what = emulated ? "emulated part" : part;
      return `${entry.id}  CID ${cid}, key ${keyId || "(not known)"}, ${board} ${what}, ${route}, by ${by}@${host}`;
    }
    case "done":
      return `${entry.id}  ${entry.verdict}, key ${entry.keyId || "(not known)"}, write counter ${entry.writeCounter}`;
    case "failed":
      return `${entry.id}  the part is ${entry.part}: ${entry.reason}`;
    case "settled":
      return `${entry.id}  the part was found ${entry.part}${entry.keyId === "" ? "" : `, key ${entry.keyId}`}`;
    default:
      return `${entry.bytes} torn bytes in the line before`;
  }
}
