/** Allocation of blocks in a range, from its top downwards, first gap that fits. */
export class BlockPool {
  readonly #blocks: number;
  /** Taken ranges [from, to) by falling position. */
  readonly #taken: { readonly from: number; readonly to: number }[] = [];

  constructor(blocks: number) {
    this.#blocks = blocks;
  }

  /** Takes the range from `from`; false when a part of it is taken or outside. */
  take(from: number, blocks: number): boolean {
    const to = from + blocks;
    if (to > this.#blocks || this.#taken.some((one) => from < one.to && one.from < to)) {
      return false;
    }
    this.#insert(from, to);
    return true;
  }

  /** Takes `blocks` wherever there is room; gives the first, undefined without room. */
  allocate(blocks: number): number | undefined {
    let top = this.#blocks;
    for (const { from, to } of this.#taken) {
      if (top - to >= blocks) break;
      top = from;
    }
    if (top < blocks) return undefined;
    this.#insert(top - blocks, top);
    return top - blocks;
  }

  #insert(from: number, to: number): void {
    const at = this.#taken.findIndex((one) => one.from < from);
    this.#taken.splice(at < 0 ? this.#taken.length : at, 0, { from, to });
  }
}
