import { crc32 } from "node:zlib";

/** The page of boards/bridge/console.s: offsets in bytes from its start. */
export const CONSOLE_PAGE = {
  size: 0x1000,
  code: 0x000,
  codeSize: 0x400,
  answer: 0x400,
  /** Sequence, operation, x0..x3, check: little-endian 64-bit words. */
  answerWords: 7,
  /** x4..x7 and their check. */
  upper: 0x438,
  upperWords: 5,
} as const;

export const OPERATION = { smc: 1n, checksum: 2n, checksums: 3n, fill: 4n } as const;
/** Pieces of memory that one `checksum` covers, and blocks that one `checksums` does. */
export const MAX_PIECES = 4;
export const MAX_BLOCKS = 8;

/** The CRC-32 of 64-bit words as they stand in memory, little-endian. */
export function checkOf(words: readonly bigint[]): bigint {
  const bytes = new DataView(new ArrayBuffer(words.length * 8));
  for (const [index, word] of words.entries()) bytes.setBigUint64(index * 8, word, true);
  return BigInt(crc32(new Uint8Array(bytes.buffer)));
}

/** The arguments of `go` behind the address. Zero operands at the end are left out. */
export function goArguments(
  sequence: bigint,
  operation: bigint,
  operands: readonly bigint[],
): string {
  let count = operands.length;
  while (count > 1 && operands[count - 1] === 0n) count -= 1;
  const words = [sequence, operation, ...operands.slice(0, count)];
  return [...words, checkOf(words)].map((word) => word.toString(16)).join(" ");
}

export interface Answer {
  readonly words: readonly bigint[];
  /** Whether x4..x7 are not what went in. */
  readonly upperChanged: boolean;
}

/** x0..x3 of the answer to `sequence`; undefined unless these words are exactly that. */
export function readAnswer(
  words: readonly bigint[],
  sequence: bigint,
  operation: bigint,
): Answer | undefined {
  const [seen, what = 0n] = words;
  if (words.length !== CONSOLE_PAGE.answerWords || seen !== sequence) return undefined;
  if ((what & 0xffff_ffffn) !== operation || checkOf(words.slice(0, 6)) !== words[6]) {
    return undefined;
  }
  return { words: words.slice(2, 6), upperChanged: what >> 32n !== 0n };
}

/** One or two words, and the same as text at a fixed place. */
const ROW =
  /^([0-9a-f]{8,16}): (?:([0-9a-f]{16}) ([0-9a-f]{16})  (.{16})|([0-9a-f]{16}) {19}(.{8}))$/;

/**
 * 64-bit words that `md.q` shows, two a row, put together from as many attempts as it takes: a row
 * counts when its address, its shape and its text column agree with its words.
 */
export class WordRows {
  readonly #at: number;
  readonly #words: (bigint | undefined)[];

  /** `count` words from `at` on, which is a multiple of 8. */
  constructor(at: number, count: number) {
    this.#at = at;
    this.#words = Array.from({ length: count });
  }

  /** Takes every good row of `lines`. */
  add(lines: readonly string[]): void {
    for (const line of lines) this.#row(line);
  }

  /** The first run of words that are missing: its address and how many; undefined when all are there. */
  get missing(): { readonly at: number; readonly count: number } | undefined {
    const first = this.#words.indexOf(undefined);
    if (first < 0) return undefined;
    const next = this.#words.findIndex((word, index) => index > first && word !== undefined);
    return { at: this.#at + first * 8, count: (next < 0 ? this.#words.length : next) - first };
  }

  /** The words, once none is missing. */
  get words(): readonly bigint[] {
    return this.#words.filter((word) => word !== undefined);
  }

  #row(line: string): void {
    const [, at = "", left, right, both, single, half] = ROW.exec(line) ?? [];
    const values = [left ?? single, right].filter((value) => value !== undefined);
    const text = both ?? half;
    const first = (Number.parseInt(at, 16) - this.#at) / 8;
    if (!Number.isInteger(first) || first < 0 || first + values.length > this.#words.length) return;
    const bytes = Buffer.alloc(values.length * 8);
    const words = values.map((value) => BigInt(`0x${value}`));
    for (const [index, word] of words.entries()) bytes.writeBigUInt64LE(word, index * 8);
    if (printable(bytes) !== text) return;
    for (const [index, word] of words.entries()) this.#words[first + index] = word;
  }
}

const printable = (bytes: Buffer): string =>
  Array.from(bytes, (byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : ".")).join(
    "",
  );
