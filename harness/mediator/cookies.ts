/** Something that a guest names by an opaque 64-bit cookie, held as exact 32-bit halves. */
export interface Cookied {
  readonly cookieHigh: number;
  readonly cookieLow: number;
}

/**
 * Cookies of strict rule sets' own making start with this word. No guest may use one, so a guest can
 * never name an object that only the mediator and the secure world share.
 */
export const OWN_COOKIE_HIGH = 0x4c6f_636b;

/** Unique cookies to entries; constant time at any number of entries, no bigint. */
export class CookieTable<T extends Cookied> {
  readonly #chains = new Map<number, T[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(high: number, low: number): T | undefined {
    const chain = this.#chains.get(hash(high, low));
    if (chain === undefined) return undefined;
    for (const entry of chain) {
      if (entry.cookieLow === low && entry.cookieHigh === high) return entry;
    }
    return undefined;
  }

  /** False when the cookie is taken. */
  add(entry: T): boolean {
    if (this.get(entry.cookieHigh, entry.cookieLow) !== undefined) return false;
    const key = hash(entry.cookieHigh, entry.cookieLow);
    const chain = this.#chains.get(key);
    if (chain === undefined) this.#chains.set(key, [entry]);
    else chain.push(entry);
    this.#size += 1;
    return true;
  }

  /** Removes exactly this entry; false when it is not in the table. */
  delete(entry: T): boolean {
    const key = hash(entry.cookieHigh, entry.cookieLow);
    const chain = this.#chains.get(key);
    const index = chain?.indexOf(entry) ?? -1;
    if (chain === undefined || index < 0) return false;
    if (chain.length === 1) this.#chains.delete(key);
    else chain.splice(index, 1);
    this.#size -= 1;
    return true;
  }

  values(): T[] {
    return [...this.#chains.values()].flat();
  }
}

const hash = (high: number, low: number): number => (low ^ Math.imul(high, 0x9e37_79b1)) | 0;
