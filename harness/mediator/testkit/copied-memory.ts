import { type Pa, PAGE_SIZE, type PhysicalMemory } from "../../machine/index.ts";

/**
 * Memory as behind a wire: `page()` gives a copy, made anew after every SMC, and only what is reported
 * by `dirty()` gets back. Call `forget` at each SMC.
 */
export class CopiedMemory implements PhysicalMemory {
  readonly #memory: PhysicalMemory;
  readonly #copies = new Map<number, Uint8Array>();

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  forget(): void {
    this.#copies.clear();
  }

  read(at: Pa, length: number): Uint8Array {
    return this.#memory.read(at, length);
  }

  write(at: Pa, bytes: Uint8Array): void {
    this.#memory.write(at, bytes);
    this.forget();
  }

  page(at: Pa): Uint8Array | undefined {
    const base = at - (at % PAGE_SIZE);
    const known = this.#copies.get(base);
    if (known !== undefined) return known;
    const copy = this.#memory.page(at)?.slice();
    if (copy !== undefined) this.#copies.set(base, copy);
    return copy;
  }

  dirty(at: Pa, length: number): void {
    const base = at - (at % PAGE_SIZE);
    const copy = this.#copies.get(base);
    if (copy === undefined) throw new RangeError(`no copy of the page at ${base}`);
    this.#memory.write(at, copy.subarray(at - base, at - base + length));
  }

  as(): this {
    return this;
  }
}

/** Memory that cannot attribute accesses: without `as`. */
export const anonymous = (memory: PhysicalMemory): PhysicalMemory => ({
  read: (at, length) => memory.read(at, length),
  write: (at, bytes) => memory.write(at, bytes),
  page: (at, intent) => memory.page(at, intent),
  dirty: (at, length) => memory.dirty(at, length),
});
