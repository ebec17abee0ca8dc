import type { CanonicalField, FieldPart, FieldValue, LooseClass, SymbolClass } from "./model.ts";

const ZERO = "0x0";
/** Hexadecimal digits of an offset within a page. */
const OFFSET_DIGITS = 3;
const LOW_DIGITS = 8;

/** A word as a trace writes it; what comes from a file and is none counts as 0. */
export const wordText = (text: string | undefined): string =>
  text !== undefined && text.startsWith("0x") && text.length <= 18 ? text : ZERO;

/** The low 32 bits of a word. */
export function low32(text: string | undefined): number {
  const word = wordText(text);
  const low = word.length > 10 ? word.slice(-LOW_DIGITS) : word;
  return Number.parseInt(low, 16) >>> 0;
}

export const hex = (value: number): string => `0x${value.toString(16)}`;

/** 64 bits in two registers, the high word first (SMC-0.PAIRS). */
export function joined(high: string | undefined, low: string | undefined): string {
  const upper = low32(high);
  const lower = low32(low);
  if (upper === 0) return hex(lower);
  return hex(upper) + lower.toString(16).padStart(LOW_DIGITS, "0");
}

const constants = new Map<string, FieldValue>();
const MAX_KNOWN = 4096;

/** Most constants come again and again. */
export function constant(text: string): FieldValue {
  let value = constants.get(text);
  if (value === undefined) {
    value = { kind: "constant", text };
    if (constants.size < MAX_KNOWN) constants.set(text, value);
  }
  return value;
}

const LOOSE: Readonly<Record<LooseClass, FieldValue>> = {
  time: { kind: "loose", of: "time" },
  garbage: { kind: "loose", of: "garbage" },
  opaque: { kind: "loose", of: "opaque" },
};
export const loose = (of: LooseClass): FieldValue => LOOSE[of];

/** Zero is nothing, whatever it would be a name of. */
export function symbol(of: SymbolClass, scope: string, word: string, names = false): FieldValue {
  if (word === ZERO) return constant(ZERO);
  return { kind: "symbol", of, key: `${scope}:${word.slice(2)}`, beside: "", names };
}

/** A page of an address space, and the offset within it. */
export function address(space: string, word: string, names: boolean): FieldValue {
  if (word === ZERO) return constant(ZERO);
  const digits = word.slice(2);
  const page = digits.slice(0, -OFFSET_DIGITS) || "0";
  const offset = Number.parseInt(digits.slice(-OFFSET_DIGITS), 16);
  return {
    kind: "symbol",
    of: "page",
    key: `${space}:${page}`,
    beside: offset === 0 ? "" : `+${hex(offset)}`,
    names,
  };
}

export function field(
  name: string,
  part: FieldPart,
  raw: string,
  value: FieldValue,
): CanonicalField {
  return { name, part, raw, value };
}
