import { isPublishedWhole } from "./published-keys.ts";

/** Where registered secrets come from; `SecretStore` of `base` is one. */
export interface SecretSource {
  /** Grows when a secret is added. */
  readonly size: number;
  asBytes(): Buffer[];
  /** Takes a secret that was met on the way. */
  add?(value: string): void;
}

const MIN_HEX_DIGITS = 32;
/** Bytes of a key that, in a row in a dump, are taken for a part of it. */
export const WINDOW_BYTES = 4;
/** Shortest piece of a key's raw bytes, between line ends, that is looked for. */
const MIN_RAW_PIECE = 8;
/** Keys that are learnt on the way, at most: whoever prints more is making them up. */
const MAX_LEARNT = 64;

/** The registered secrets in the forms in which they appear on a console. */
export class KnownSecrets {
  readonly #source: SecretSource;
  #size = -1;
  #literals: Buffer[] = [];
  #texts: string[] = [];
  #windows = new Set<string>();
  #learnt = 0;

  constructor(source: SecretSource) {
    this.#source = source;
  }

  /** Byte strings to look for as they are, the longest first. */
  get literals(): readonly Buffer[] {
    this.#refresh();
    return this.#literals;
  }

  /** The same, as they read in text that was decoded as UTF-8. */
  get texts(): readonly string[] {
    this.#refresh();
    return this.#texts;
  }

  /** Runs of `WINDOW_BYTES` bytes (lower-case hex) of registered keys, for finding them in dumps. */
  get windows(): ReadonlySet<string> {
    this.#refresh();
    return this.#windows;
  }

  /** A key (hexadecimal) that a console showed: wherever else it turns up, it is masked from now on. */
  learn(key: string): void {
    if (this.#learnt >= MAX_LEARNT || isPublishedWhole(key)) return;
    const before = this.#source.size;
    this.#source.add?.(key);
    if (this.#source.size > before) this.#learnt += 1;
  }

  #refresh(): void {
    if (this.#source.size === this.#size) return;
    this.#size = this.#source.size;
    const literals = new Map<string, Buffer>();
    this.#windows = new Set();
    for (const value of this.#source.asBytes().map((bytes) => bytes.toString("utf8"))) {
      if (isPublishedWhole(value.trim()) || /^0+$/.test(value)) continue;
      for (const form of formsOf(value)) literals.set(form.toString("latin1"), form);
      for (const window of windowsOf(value)) this.#windows.add(window);
    }
    // Longest first, so that a value which contains another is masked as a whole.
    this.#literals = [...literals.values()].toSorted((a, b) => b.length - a.length);
    this.#texts = [...new Set(this.#literals.map((form) => form.toString("utf8")))];
  }
}

function isHex(value: string): boolean {
  return value.length >= MIN_HEX_DIGITS && value.length % 2 === 0 && /^[0-9a-f]+$/i.test(value);
}

const texts = (all: readonly string[]): Buffer[] => all.map((text) => Buffer.from(text, "utf8"));

function formsOf(value: string): Buffer[] {
  if (isHex(value)) {
    const bytes = Buffer.from(value, "hex");
    const digits = [value, value.toLowerCase(), value.toUpperCase()];
    return [...texts([...digits, ...base64Forms(bytes)]), ...rawForms(bytes)];
  }
  if (!value.includes("\n")) return texts([value]);
  const lines = value.split(/\r?\n/).map((line) => line.trim());
  return texts([value, ...lines.filter((line) => line.length >= 8 && !line.startsWith("-----"))]);
}

/** Base64 of the bytes alone, and what is the same of it wherever they stand in something longer. */
function base64Forms(bytes: Buffer): string[] {
  const inner = [0, 1, 2].map((before) => {
    const text = Buffer.concat([Buffer.alloc(before), bytes]).toString("base64");
    return text.slice(Math.ceil((before * 8) / 6), Math.floor(((before + bytes.length) * 8) / 6));
  });
  const all = [bytes.toString("base64"), ...inner];
  return [...all, ...all.map((text) => text.replaceAll("+", "-").replaceAll("/", "_"))];
}

/** The bytes themselves, and what line ends among them leave of them. */
function rawForms(bytes: Buffer): Buffer[] {
  const pieces = bytes.toString("latin1").split(/[\r\n]+/);
  return [
    bytes,
    ...pieces
      .filter((piece) => piece.length >= MIN_RAW_PIECE)
      .map((piece) => Buffer.from(piece, "latin1")),
  ];
}

function windowsOf(value: string): string[] {
  if (!isHex(value)) return [];
  const hex = value.toLowerCase();
  const windows: string[] = [];
  for (let at = 0; at + WINDOW_BYTES * 2 <= hex.length; at += 2) {
    const window = hex.slice(at, at + WINDOW_BYTES * 2);
    if (new Set(window).size > 2) windows.push(window);
  }
  return windows;
}
