import { isPublished } from "./published-keys.ts";

/** Where registered secrets come from; `SecretStore` of `base` is one. */
export interface SecretSource {
  /** Grows when a secret is added. */
  readonly size: number;
  asBytes(): Buffer[];
}

const MIN_HEX_DIGITS = 32;
/** Bytes of a key that, in a row in a hex dump, are taken for a part of it. */
export const WINDOW_BYTES = 4;

/** The registered secrets in the forms in which they appear on a console. */
export class KnownSecrets {
  readonly #source: SecretSource;
  #size = -1;
  #literals: Buffer[] = [];
  #windows = new Set<string>();

  constructor(source: SecretSource) {
    this.#source = source;
  }

  /** Byte strings to look for as they are: the values, lines of multi-line values, both hex cases. */
  get literals(): readonly Buffer[] {
    this.#refresh();
    return this.#literals;
  }

  /** Runs of `WINDOW_BYTES` bytes (lower-case hex) of registered keys, for finding them in dumps. */
  get windows(): ReadonlySet<string> {
    this.#refresh();
    return this.#windows;
  }

  #refresh(): void {
    if (this.#source.size === this.#size) return;
    this.#size = this.#source.size;
    const literals = new Set<string>();
    this.#windows = new Set();
    for (const value of this.#source.asBytes().map((bytes) => bytes.toString("utf8"))) {
      if (isPublished(value.toLowerCase())) continue;
      for (const form of formsOf(value)) literals.add(form);
      for (const window of windowsOf(value)) this.#windows.add(window);
    }
    // Longest first, so that a value which contains another is masked as a whole.
    this.#literals = [...literals]
      .map((text) => Buffer.from(text, "utf8"))
      .toSorted((a, b) => b.length - a.length);
  }
}

function isHex(value: string): boolean {
  return value.length >= MIN_HEX_DIGITS && value.length % 2 === 0 && /^[0-9a-f]+$/i.test(value);
}

function formsOf(value: string): string[] {
  if (isHex(value)) return [value, value.toLowerCase(), value.toUpperCase()];
  if (!value.includes("\n")) return [value];
  const lines = value.split(/\r?\n/).map((line) => line.trim());
  return [value, ...lines.filter((line) => line.length >= 8 && !line.startsWith("-----"))];
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
