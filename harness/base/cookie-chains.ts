/** An object that is named by an opaque 64-bit cookie, held as exact unsigned 32-bit halves. */
export interface Chained<T> {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** The table's own link: the entry of the same slot that was entered before. */
  older: T | undefined;
}

const FIRST_SLOTS = 8;

/**
 * Objects by cookie, duplicates allowed: the newest is found. Constant time at any number, and no
 * allocation for what comes and goes with every call, which a Map has.
 */
export class CookieChains<T extends Chained<T>> {
  #slots: (T | undefined)[] = Array.from({ length: FIRST_SLOTS }, () => undefined);
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The newest entry with this cookie. */
  get(high: number, low: number): T | undefined {
    let entry = this.#slots[hash(high, low) & (this.#slots.length - 1)];
    while (entry !== undefined && (entry.cookieLow !== low || entry.cookieHigh !== high)) {
      entry = entry.older;
    }
    return entry;
  }

  add(entry: T): void {
    this.#link(entry);
    this.#size += 1;
    if (this.#size > this.#slots.length) this.#grow();
  }

  /** Removes exactly this entry; false when it is not in the table. */
  delete(entry: T): boolean {
    const slot = hash(entry.cookieHigh, entry.cookieLow) & (this.#slots.length - 1);
    let newer: T | undefined;
    let at = this.#slots[slot];
    while (at !== undefined && at !== entry) {
      newer = at;
      at = at.older;
    }
    if (at === undefined) return false;
    if (newer === undefined) this.#slots[slot] = entry.older;
    else newer.older = entry.older;
    entry.older = undefined;
    this.#size -= 1;
    return true;
  }

  /** All entries; of one cookie the newest comes first, otherwise in no particular order. */
  values(): T[] {
    const all: T[] = [];
    for (const slot of this.#slots) {
      for (let entry = slot; entry !== undefined; entry = entry.older) all.push(entry);
    }
    return all;
  }

  #link(entry: T): void {
    const slot = hash(entry.cookieHigh, entry.cookieLow) & (this.#slots.length - 1);
    entry.older = this.#slots[slot];
    this.#slots[slot] = entry;
  }

  #grow(): void {
    const all = this.values();
    this.#slots = Array.from({ length: this.#slots.length * 4 }, () => undefined);
    // The newest last, as they were entered.
    for (const entry of all.toReversed()) this.#link(entry);
  }
}

/** Spreads pointers, which differ in few bits, over the slots. */
function hash(high: number, low: number): number {
  const mixed = Math.imul(low ^ Math.imul(high, 0x9e37_79b1), 0x85eb_ca6b);
  return mixed ^ (mixed >>> 15);
}
