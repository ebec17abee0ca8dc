import type { CounterReading, KeyVerdict } from "../../../rpmb/index.ts";
import { BLOCK_SIZE } from "../../../rpmb/index.ts";
import type { RpmbFsListing } from "../../../secure-world/index.ts";
import { printable, type Style } from "../../style.ts";
import { type PartDocument, partText } from "./verify-report.ts";

/** `lockstep rpmb dump --json`. */
export interface DumpDocument {
  readonly format: 1;
  readonly board?: string;
  readonly subject: string;
  readonly part: PartDocument;
  readonly key: {
    readonly verdict: KeyVerdict;
    readonly reason: string;
    readonly routes: readonly string[];
    readonly keyId?: string;
  };
  readonly counter?: CounterReading;
  /** Whether MAC and nonce vouch for what was read; absent where no known key could check them. */
  readonly authentic: boolean | undefined;
  /** OP-TEE's storage; absent where there is none. */
  readonly storage?: RpmbFsListing;
  readonly blocks?: {
    readonly address: number;
    readonly count: number;
    readonly sha256: string;
    readonly hex?: string;
    readonly file?: string;
  };
  readonly problems: readonly string[];
}

export function dumpText(document: DumpDocument, style: Style): string {
  const { part, key, counter, storage, blocks, authentic, problems } = document;
  const out = [style.bold([document.board, document.subject].filter(Boolean).join(" "))];
  const row = (name: string, value: string): void => void out.push(`  ${name.padEnd(9)} ${value}`);
  const sheet = partText(part);
  if (sheet !== undefined) row("part", sheet);
  if (part.relWrSecC !== undefined) row("rel_wr", `REL_WR_SEC_C ${part.relWrSecC}`);
  const id = key.keyId === undefined ? "" : `, key id ${key.keyId}`;
  row(
    "key",
    key.verdict === "proven"
      ? `proven: ${key.routes.join(" = ")}${id}`
      : `${key.verdict}: ${key.reason}`,
  );
  if (counter !== undefined) {
    row(
      "counter",
      `${counter.value}${counter.expired ? " (expired)" : ""}${counter.authentic ? "" : ", unverified"}`,
    );
  }
  const trust = { true: "verified: MAC and nonce are right", false: style.red("not authentic") };
  const any = storage !== undefined || blocks !== undefined;
  if (any || authentic !== undefined) {
    row(
      "data",
      authentic === undefined
        ? style.yellow("unverified: no known key checks them")
        : trust[`${authentic}`],
    );
  }
  if (storage !== undefined) out.push(...storageLines(storage));
  else if (key.verdict !== "none programmed") row("storage", "none of OP-TEE's is on it");
  if (blocks?.file !== undefined) {
    row(
      "written",
      `${blocks.count} blocks from ${blocks.address} on to ${blocks.file}, SHA-256 ${blocks.sha256}`,
    );
  }
  if (blocks?.hex !== undefined)
    out.push(...hexLines(blocks.address, Buffer.from(blocks.hex, "hex")));
  for (const problem of problems) out.push(style.red(`problem: ${problem}`));
  return `${out.join("\n")}\n`;
}

function storageLines({ version, files, freeEntries, problems }: RpmbFsListing): string[] {
  const head = `  ${"storage".padEnd(9)} OP-TEE's, version ${version}: ${files.length} files, ${freeEntries} free entries`;
  const width = Math.max(4, ...files.map(({ size }) => String(size).length));
  return [
    head,
    ...files.map(({ name, size, start, flags }) => {
      const last = (flags & 2) === 0 ? "" : "  last entry";
      return `    ${String(size).padStart(width)} bytes at ${start}  ${printable(name, "")}${last}`;
    }),
    ...problems.map((problem) => `    problem: ${printable(problem, "")}`),
  ];
}

const LINE = 16;

function hexLines(address: number, data: Buffer): string[] {
  const lines: string[] = [];
  for (let at = 0; at < data.length; at += LINE) {
    const bytes = data.subarray(at, at + LINE);
    if (at % BLOCK_SIZE === 0) lines.push(`  block ${address + at / BLOCK_SIZE}`);
    const text = bytes.toString("latin1").replaceAll(/[^ -~]/g, ".");
    lines.push(
      `    ${(at % BLOCK_SIZE).toString(16).padStart(2, "0")}  ${bytes.toString("hex").replaceAll(/(..)(?=.)/g, "$1 ")}  ${text}`,
    );
  }
  return lines;
}
