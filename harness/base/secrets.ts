/**
 * Values that must never reach a log, a report or an exception text. A secret is registered where
 * it enters (environment, key file, derivation) and masked wherever text leaves.
 */
export class SecretStore {
  readonly #values = new Set<string>();
  readonly #listeners: ((value: string) => void)[] = [];

  /**
   * Registers a secret text; values under 4 characters are ignored, they would mask everything. Keys
   * are registered as hexadecimal digits, and masked in every form in which bytes are written.
   */
  add(value: string): void {
    if (value.length < 4 || this.#values.has(value)) return;
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

  /** `text` with every known secret replaced by asterisks of equal length. */
  mask(text: string): string {
    let out = text;
    for (const value of this.#values) out = out.replaceAll(value, "*".repeat(value.length));
    return out;
  }

  /** The registered values as bytes, for writers that mask at byte level. */
  asBytes(): Buffer[] {
    return [...this.#values].map((value) => Buffer.from(value, "utf8"));
  }
}

export const secrets = new SecretStore();
