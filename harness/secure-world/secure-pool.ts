/** A range of the pool, in bytes from its start. */
export interface Extent {
  readonly base: number;
  readonly size: number;
}

/** Secure RAM that is handed out in contiguous ranges, lowest fit first. */
export class SecurePool {
  /** Free ranges, ascending and never adjacent. */
  #free: Extent[];

  constructor(size: number) {
    this.#free = [{ base: 0, size }];
  }

  /** Bytes that are free. */
  get free(): number {
    return this.#free.reduce((total, { size }) => total + size, 0);
  }

  /** A range of each of these sizes, all above 0; undefined, with nothing taken, unless all fit. */
  takeAll(sizes: readonly number[]): readonly Extent[] | undefined {
    const taken: Extent[] = [];
    for (const size of sizes) {
      const extent = this.#take(size);
      if (extent === undefined) {
        for (const one of taken) this.give(one);
        return undefined;
      }
      taken.push(extent);
    }
    return taken;
  }

  give(extent: Extent): void {
    const all = [...this.#free, extent].toSorted((a, b) => a.base - b.base);
    const merged: Extent[] = [];
    for (const one of all) {
      const last = merged.at(-1);
      if (last === undefined || last.base + last.size < one.base) merged.push(one);
      else merged[merged.length - 1] = { base: last.base, size: last.size + one.size };
    }
    this.#free = merged;
  }

  #take(size: number): Extent | undefined {
    const index = this.#free.findIndex((one) => one.size >= size);
    const range = this.#free[index];
    if (range === undefined || size <= 0) return undefined;
    const rest = { base: range.base + size, size: range.size - size };
    this.#free = this.#free.toSpliced(index, 1, ...(rest.size > 0 ? [rest] : []));
    return { base: range.base, size };
  }
}
