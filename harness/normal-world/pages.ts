import { type Conduit, type GuestMemory, type Ipa, PAGE_SIZE } from "../machine/index.ts";
import { TargetCrashError } from "../base/index.ts";

/** The kernel's page allocator over a conduit's RAM, with reference counts. */
export class PageAllocator {
  readonly #memory: GuestMemory;
  #free: Ipa[] = [];
  readonly #base: number;
  /** References by page number from the base; an array, as every temporary buffer holds its pages. */
  readonly #references: Int32Array;
  #used = 0;

  /** The free list is kept in an order that makes most buffers physically scattered. */
  constructor(conduit: Conduit) {
    this.#memory = conduit.memory;
    const count = conduit.ram.size / PAGE_SIZE;
    this.#base = conduit.ram.base;
    this.#references = new Int32Array(count);
    const stride = strideFor(count);
    for (let index = 0; index < count; index += 1) {
      this.#free.push((conduit.ram.base + ((index * stride) % count) * PAGE_SIZE) as Ipa);
    }
    this.#free.reverse();
  }

  get freePages(): number {
    return this.#free.length;
  }

  get usedPages(): number {
    return this.#used;
  }

  /** `count` zeroed pages, or undefined when there are not so many. */
  allocate(count: number): Ipa[] | undefined {
    if (count > this.#free.length) return undefined;
    // Most are for one page, and an array that grows has room for many.
    if (count === 1) return [this.#take()];
    const pages: Ipa[] = [];
    for (let index = 0; index < count; index += 1) pages.push(this.#take());
    return pages;
  }

  /** The next free page, zeroed; the caller has seen that there is one. */
  #take(): Ipa {
    const page = this.#free.pop() ?? (0 as Ipa);
    this.#memory.page(page)?.fill(0);
    this.#memory.dirty(page, PAGE_SIZE);
    this.#references[(page - this.#base) / PAGE_SIZE] = 1;
    this.#used += 1;
    return page;
  }

  /** `count` zeroed pages at adjacent addresses, or undefined when no run of free ones is so long. */
  allocateContiguous(count: number): Ipa[] | undefined {
    const free = new Set(this.#free);
    for (const first of this.#free) {
      let length = 0;
      while (length < count && free.has((first + length * PAGE_SIZE) as Ipa)) length += 1;
      if (length < count || count === 0) continue;
      const end = first + count * PAGE_SIZE;
      // To the end of the list, which is where pages are taken from.
      const rest = this.#free.filter((page) => page < first || page >= end);
      const run = Array.from({ length: count }, (_, index) => (first + index * PAGE_SIZE) as Ipa);
      this.#free = [...rest, ...run.toReversed()];
      return this.allocate(count);
    }
    return undefined;
  }

  /**
   * Gives up a free page, as a balloon driver does when the hypervisor wants memory; undefined when
   * none is free. The kernel does not touch it until `takeBack`.
   */
  giveUp(): Ipa | undefined {
    return this.#free.pop();
  }

  /** A page that was given up is the kernel's again, whatever it holds now. */
  takeBack(page: Ipa): void {
    this.#free.push(page);
  }

  /** Adds one reference to each of pages that were allocated. */
  hold(pages: readonly Ipa[]): void {
    const references = this.#references;
    for (let index = 0; index < pages.length; index += 1) {
      const number = ((pages[index] ?? 0) - this.#base) / PAGE_SIZE;
      references[number] = (references[number] ?? 0) + 1;
    }
  }

  /** Drops one reference of each; pages without any are free again. */
  drop(pages: readonly Ipa[]): void {
    const references = this.#references;
    for (let index = 0; index < pages.length; index += 1) {
      const page = pages[index] as Ipa;
      const number = (page - this.#base) / PAGE_SIZE;
      const held = references[number] ?? 0;
      if (held === 0) continue;
      references[number] = held - 1;
      if (held > 1) continue;
      this.#used -= 1;
      this.#free.push(page);
    }
  }
}

/** A step that visits every index below `count` once, far from one: coprime to it. */
function strideFor(count: number): number {
  const coprime = (a: number, b: number): boolean => (b === 0 ? a === 1 : coprime(b, a % b));
  let stride = Math.max(1, Math.floor(count * 0.382));
  while (!coprime(stride, count)) stride += 1;
  return stride;
}

/** Bytes over guest pages that need not be adjacent: byte 0 is `offset` bytes into the first page. */
export class PageSpan {
  readonly pages: readonly Ipa[];
  readonly offset: number;
  readonly size: number;
  readonly #memory: GuestMemory;

  constructor(memory: GuestMemory, pages: readonly Ipa[], offset: number, size: number) {
    this.#memory = memory;
    this.pages = pages;
    this.offset = offset;
    this.size = size;
  }

  /** A copy. Throws RangeError outside of the span. */
  read(at = 0, length: number = this.size - at): Uint8Array {
    const out = new Uint8Array(length);
    this.#each(at, length, (page, within, done, count) => {
      out.set(count === PAGE_SIZE ? page : page.subarray(within, within + count), done);
    });
    return out;
  }

  /** Throws RangeError outside of the span. */
  write(bytes: Uint8Array, at = 0): void {
    this.#each(at, bytes.length, (page, within, done, count, address) => {
      page.set(count === bytes.length ? bytes : bytes.subarray(done, done + count), within);
      this.#memory.dirty(address, count);
    });
  }

  #each(
    at: number,
    length: number,
    use: (page: Uint8Array, within: number, done: number, count: number, address: Ipa) => void,
  ): void {
    if (at < 0 || length < 0 || at + length > this.size) {
      throw new RangeError(`bytes ${at} to ${at + length} of a buffer of ${this.size} bytes`);
    }
    let position = this.offset + at;
    for (let done = 0; done < length;) {
      const within = position & (PAGE_SIZE - 1);
      const count = Math.min(PAGE_SIZE - within, length - done);
      const base = this.pages[position >>> 12];
      const page = base === undefined ? undefined : this.#memory.page(base);
      if (base === undefined || page === undefined) {
        throw new TargetCrashError("Linux took a fault on its own memory", {
          expected: "every page of the kernel's RAM mapped",
          seen: base === undefined ? "no such page" : `nothing at IPA 0x${base.toString(16)}`,
        });
      }
      use(page, within, done, count, (base + within) as Ipa);
      done += count;
      position += count;
    }
  }
}
