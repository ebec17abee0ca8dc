import { type Chained, CookieChains } from "../base/index.ts";

/**
 * Cookies of strict rule sets' own making start with this word. No guest may use one, so a guest can
 * never name an object that only the mediator and the secure world share.
 */
export const OWN_COOKIE_HIGH = 0x4c6f_636b;

/** Unique cookies to entries; constant time at any number of entries, no bigint. */
export class CookieTable<T extends Chained<T>> {
  readonly #entries = new CookieChains<T>();

  get size(): number {
    return this.#entries.size;
  }

  get(high: number, low: number): T | undefined {
    return this.#entries.get(high, low);
  }

  /** The cookie must be free: look before. */
  add(entry: T): void {
    this.#entries.add(entry);
  }

  /** Removes exactly this entry; false when it is not in the table. */
  delete(entry: T): boolean {
    return this.#entries.delete(entry);
  }

  values(): T[] {
    return this.#entries.values();
  }
}
