/** A stretch of a line in which bytes stand one after the other. */
export interface DumpRun {
  /** The bytes in the order of memory, as lower-case hexadecimal digits. */
  readonly bytes: string;
  /** Where each written number stands; `from` inclusive, `to` exclusive. */
  readonly tokens: readonly { readonly from: number; readonly to: number }[];
  /** Which number a byte stands in. */
  readonly tokenOf: (byte: number) => number;
}

/** `a1 b2`, `a1:b2`, `a1-b2`, `0xa1, 0xb2`, `\xa1\xb2`. */
const PAIRS =
  /(?<![0-9a-f])(?:0x|\\x)?[0-9a-f]{2}(?:(?:[ :,-]{1,2}(?:0x)?|\\x)[0-9a-f]{2}(?![0-9a-f]))+/gi;
const PAIR = /(?<=^|[^0-9a-f]|0x|\\x)[0-9a-f]{2}/gi;
/** Numbers of 16, 32 or 64 bits, as memory dumps group bytes (`md`, `hexdump`, `xxd`). */
const GROUPS =
  /(?<![0-9a-f])(?:0x)?([0-9a-f]{4}|[0-9a-f]{8}|[0-9a-f]{16})(?:[ ,]{1,2}(?:0x)?(?:[0-9a-f]{16}|[0-9a-f]{8}|[0-9a-f]{4})(?![0-9a-f]))+/gi;
const GROUP = /(?<![0-9a-f])(?:[0-9a-f]{16}|[0-9a-f]{8}|[0-9a-f]{4})(?![0-9a-f])/gi;
/** `161, 178`, as JavaScript and JSON have bytes. */
const DECIMALS = /(?<![\d.])\d{1,3}(?:, ?\d{1,3}(?![\d.]))+/g;
const DECIMAL = /\d{1,3}/g;

interface Token {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** The dumps in a line, numbers of several bytes in both byte orders. */
export function* dumpRuns(line: string): Generator<DumpRun> {
  for (const tokens of runs(line, PAIRS, PAIR)) yield runOf(tokens, (text) => text);
  for (const tokens of runs(line, GROUPS, GROUP)) {
    yield runOf(tokens, reversed);
    yield runOf(tokens, (text) => text);
  }
  for (const tokens of runs(line, DECIMALS, DECIMAL)) {
    if (tokens.every(({ text }) => Number(text) < 256)) {
      yield runOf(tokens, (text) => Number(text).toString(16).padStart(2, "0"));
    }
  }
}

function* runs(line: string, run: RegExp, token: RegExp): Generator<Token[]> {
  for (const found of line.matchAll(run)) {
    yield [...found[0].matchAll(token)].map((one) => {
      const from = found.index + one.index;
      return { from, to: from + one[0].length, text: one[0].toLowerCase() };
    });
  }
}

const reversed = (text: string): string => (text.match(/../g) ?? []).toReversed().join("");

function runOf(tokens: readonly Token[], bytesOf: (text: string) => string): DumpRun {
  const owners: number[] = [];
  let bytes = "";
  for (const [index, { text }] of tokens.entries()) {
    const part = bytesOf(text);
    bytes += part;
    for (let byte = 0; byte < part.length / 2; byte += 1) owners.push(index);
  }
  return { bytes, tokens, tokenOf: (byte) => owners[byte] ?? 0 };
}
