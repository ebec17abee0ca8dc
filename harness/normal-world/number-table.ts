/**
 * Objects by small number, the lowest free number first: file descriptors, ids of shared memory. An
 * array, because entries come and go with every temporary buffer.
 */
export class NumberTable<T> {
  readonly #first: number;
  readonly #entries: (T | undefined)[] = [];
  /** No number below is free. */
  #lowest: number;
  #size = 0;

  constructor(first: number) {
    this.#first = first;
    this.#lowest = first;
  }

  get size(): number {
    return this.#size;
  }

  get(number: number): T | undefined {
    return this.#entries[number - this.#first];
  }

  /** Puts `entry` at the lowest free number, which it gives. */
  add(entry: T): number {
    const entries = this.#entries;
    let index = this.#lowest - this.#first;
    while (entries[index] !== undefined) index += 1;
    entries[index] = entry;
    this.#size += 1;
    this.#lowest = index + this.#first + 1;
    return index + this.#first;
  }

  set(number: number, entry: T): void {
    if (this.get(number) === undefined) this.#size += 1;
    this.#entries[number - this.#first] = entry;
  }

  /** Frees a number; what was there. */
  delete(number: number): T | undefined {
    const entry = this.get(number);
    if (entry === undefined) return undefined;
    this.#entries[number - this.#first] = undefined;
    this.#size -= 1;
    if (number < this.#lowest) this.#lowest = number;
    return entry;
  }

  /** Every number with its entry, ascending. */
  entries(): [number, T][] {
    return this.#entries.flatMap((entry, index): [number, T][] =>
      entry === undefined ? [] : [[index + this.#first, entry]],
    );
  }
}
