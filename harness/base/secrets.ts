/**
 * Values that must never reach a log, a report or an exception text. A secret is registered where
 * it enters (environment, key file, derivation) and masked wherever text leaves.
 */
export class SecretStore {
  readonly #values = new Set<string>();
  readonly #listeners: ((value: string) => void)[] = [];

  /**
   * Registers a secret text; values under 4 characters are ignored, they would mask everything, and
   * so is the all-zero hardware unique key, which everybody knows. Keys
   * are registered as hexadecimal digits, and masked in every form in which bytes are written.
   */
  add(value: string): void {
    if (value.length < 4 || ZEROS.test(value) || this.#values.has(value)) return;
    this.#values.add(value);
    for (const listener of this.#listeners) listener(value);
  }

  /** Calls `listener` with every value from now on, for those who mask in another thread. */
  watch(listener: (value: string) => void): void {
    this.#listeners.push(listener);
  }

  /** How many values are registered; grows only, so a cache of `asBytes` can tell when it is old. */
  get size(): number {
    return this.#values.size;
  }

  /**
   * `text` with every known secret replaced by asterisks of equal length, keys also in upper case,
   * with separators between bytes, and in base64.
   */
  mask(text: string): string {
    let out = text;
    for (const value of this.#values) {
      for (const form of KEY.test(value) ? keyForms(value) : [value]) {
        out = out.replaceAll(form, (found) => "*".repeat(found.length));
      }
    }
    return out;
  }

  /** The registered values as bytes, for writers that mask at byte level. */
  asBytes(): Buffer[] {
    return [...this.#values].map((value) => Buffer.from(value, "utf8"));
  }
}

/** At least 16 bytes in hexadecimal. */
const KEY = /^(?:[0-9a-f]{2}){16,}$/i;
const ZEROS = /^(?:00){16,}$/;

function keyForms(digits: string): (string | RegExp)[] {
  const pairs = digits.match(/../g) ?? [];
  const bytes = Buffer.from(digits, "hex");
  const spaced = new RegExp(pairs.join(String.raw`(?:[\s:,-]{0,3}(?:0x|\\x)?)`), "gi");
  return [spaced, bytes.toString("base64"), bytes.toString("base64url")];
}

export const secrets = new SecretStore();
