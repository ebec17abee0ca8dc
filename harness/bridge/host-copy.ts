import { PAGE_SIZE, type Pa, type PhysicalMemory } from "../machine/index.ts";
import type { FreeRam } from "./ram-window.ts";

/** Where the bytes really are. Both calls take effect at once. */
export interface RawMemory {
  read(at: number, target: Uint8Array): void;
  write(at: number, bytes: Uint8Array): void;
}

const ZEROS = new Uint8Array(1024 * 1024);

interface Page {
  readonly bytes: Uint8Array;
  /** Read since the last SMC, so that the bytes are those of the machine. */
  fresh: boolean;
  /** The part that is to be written, empty when `to` is 0. */
  from: number;
  to: number;
}

/**
 * A machine's RAM as the model sees it between two SMCs: pages are copied when they are first touched,
 * changed bytes go out before the next SMC, and after it every page is looked at again only when it is
 * needed. Outside of `window` nothing is backed.
 */
export class HostCopy implements PhysicalMemory {
  readonly #raw: RawMemory;
  readonly #base: number;
  readonly #end: number;
  readonly #pages = new Map<number, Page>();
  readonly #dirty = new Set<Page>();
  readonly #numbers = new Map<Page, number>();

  constructor(raw: RawMemory, window: FreeRam) {
    this.#raw = raw;
    this.#base = window.base;
    this.#end = window.base + window.size;
  }

  read(at: Pa, length: number): Uint8Array {
    this.#check(at, length);
    const out = new Uint8Array(length);
    for (let done = 0; done < length;) {
      const offset = (at + done) % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, length - done);
      const page = this.#page(at + done);
      out.set(page.bytes.subarray(offset, offset + count), done);
      done += count;
    }
    return out;
  }

  write(at: Pa, bytes: Uint8Array): void {
    this.#check(at, bytes.length);
    for (let done = 0; done < bytes.length;) {
      const offset = (at + done) % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, bytes.length - done);
      const page = this.#page(at + done);
      page.bytes.set(bytes.subarray(done, done + count), offset);
      this.#mark(page, offset, offset + count);
      done += count;
    }
  }

  page(at: Pa): Uint8Array | undefined {
    if (at < this.#base || at >= this.#end) return undefined;
    return this.#page(at).bytes;
  }

  dirty(at: Pa, length: number): void {
    this.#check(at, length);
    for (let done = 0; done < length;) {
      const offset = (at + done) % PAGE_SIZE;
      const count = Math.min(PAGE_SIZE - offset, length - done);
      this.#mark(this.#page(at + done), offset, offset + count);
      done += count;
    }
  }

  zero(at: Pa, length: number): void {
    this.#check(at, length);
    if (at % PAGE_SIZE !== 0 || length % PAGE_SIZE !== 0) {
      throw new RangeError(`0x${at.toString(16)} and ${length} bytes are not whole pages`);
    }
    for (let done = 0; done < length; done += ZEROS.length) {
      this.#raw.write(at + done, ZEROS.subarray(0, Math.min(ZEROS.length, length - done)));
    }
    const [first, end] = [at / PAGE_SIZE, (at + length) / PAGE_SIZE];
    for (const [page, number] of this.#numbers) {
      if (number < first || number >= end) continue;
      page.bytes.fill(0);
      this.#dirty.delete(page);
      page.from = 0;
      page.to = 0;
    }
  }

  /** Before an SMC: every changed byte goes to the machine. */
  flush(): void {
    for (const page of this.#dirty) {
      const at = (this.#numbers.get(page) ?? 0) * PAGE_SIZE;
      this.#raw.write(at + page.from, page.bytes.subarray(page.from, page.to));
      page.from = 0;
      page.to = 0;
    }
    this.#dirty.clear();
  }

  /** After an SMC: the machine may have changed any page. */
  invalidate(): void {
    for (const page of this.#pages.values()) page.fresh = false;
  }

  #page(at: number): Page {
    const number = Math.floor(at / PAGE_SIZE);
    let page = this.#pages.get(number);
    if (page === undefined) {
      page = { bytes: new Uint8Array(PAGE_SIZE), fresh: false, from: 0, to: 0 };
      this.#pages.set(number, page);
      this.#numbers.set(page, number);
    }
    if (!page.fresh) {
      this.#raw.read(number * PAGE_SIZE, page.bytes);
      page.fresh = true;
    }
    return page;
  }

  #mark(page: Page, from: number, to: number): void {
    page.from = page.to === 0 ? from : Math.min(page.from, from);
    page.to = Math.max(page.to, to);
    this.#dirty.add(page);
  }

  #check(at: number, length: number): void {
    if (at >= this.#base && length >= 0 && at + length <= this.#end) return;
    throw new RangeError(
      `0x${at.toString(16)} and ${length} bytes are outside the board's free RAM`,
    );
  }
}
