import { TargetCrashError } from "../base/index.ts";
import { PAGE_SIZE, type Pa, type PhysicalMemory } from "../machine/index.ts";

/** Bytes that a memory reference points into. Offsets and lengths are in bytes. */
export interface MemoryObject {
  readonly size: number;
  /** Where byte 0 lies in its page; at its start when absent. */
  readonly offset?: number;
  /** A copy. Throws RangeError outside the object. */
  read(offset: number, length: number): Uint8Array;
  /** Throws RangeError outside the object. */
  write(offset: number, bytes: Uint8Array): void;
}

function outside(offset: number, length: number, size: number): RangeError {
  return new RangeError(`bytes ${offset} to ${offset + length} of an object of ${size} bytes`);
}

/** Memory of a trusted application: its stack, heap or globals. */
export class PrivateMemory implements MemoryObject {
  readonly bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  get size(): number {
    return this.bytes.length;
  }

  read(offset: number, length: number): Uint8Array {
    if (offset < 0 || offset + length > this.size) throw outside(offset, length, this.size);
    return this.bytes.slice(offset, offset + length);
  }

  write(offset: number, bytes: Uint8Array): void {
    if (offset < 0 || offset + bytes.length > this.size) {
      throw outside(offset, bytes.length, this.size);
    }
    this.bytes.set(bytes, offset);
  }
}

/**
 * Non-secure pages as OP-TEE has them mapped: byte 0 is `offset` bytes into the first page. Every
 * access sees the memory as it is now; the normal world may change it at any time.
 */
export class SharedPages implements MemoryObject {
  readonly pages: readonly Pa[];
  readonly offset: number;
  readonly size: number;
  readonly #memory: PhysicalMemory;
  #last: Uint8Array | undefined;
  #lastIndex = -1;
  #lastEpoch = 0;

  constructor(memory: PhysicalMemory, pages: readonly Pa[], offset: number, size: number) {
    this.#memory = memory;
    this.pages = pages;
    this.offset = offset;
    this.size = size;
  }

  read(offset: number, length: number): Uint8Array {
    if (offset < 0 || offset + length > this.size) throw outside(offset, length, this.size);
    const out = new Uint8Array(length);
    let at = this.offset + offset;
    for (let done = 0; done < length;) {
      const within = at & (PAGE_SIZE - 1);
      const count = Math.min(PAGE_SIZE - within, length - done);
      const page = this.#page(at);
      out.set(count === PAGE_SIZE ? page : page.subarray(within, within + count), done);
      done += count;
      at += count;
    }
    return out;
  }

  write(offset: number, bytes: Uint8Array): void {
    const length = bytes.length;
    if (offset < 0 || offset + length > this.size) throw outside(offset, length, this.size);
    let at = this.offset + offset;
    for (let done = 0; done < length;) {
      const within = at & (PAGE_SIZE - 1);
      const count = Math.min(PAGE_SIZE - within, length - done);
      this.#page(at).set(count === length ? bytes : bytes.subarray(done, done + count), within);
      this.#dirty(at, count);
      done += count;
      at += count;
    }
  }

  /** The little-endian u32 at `offset`, which is 4-byte aligned within its page. Read once. */
  u32(offset: number): number {
    const at = this.offset + offset;
    const page = this.#page(at);
    const i = at & (PAGE_SIZE - 1);
    const [a = 0, b = 0, c = 0, d = 0] = [page[i], page[i + 1], page[i + 2], page[i + 3]];
    return (a | (b << 8) | (c << 16) | (d << 24)) >>> 0;
  }

  setU32(offset: number, value: number): void {
    const at = this.offset + offset;
    const page = this.#page(at);
    const i = at & (PAGE_SIZE - 1);
    page[i] = value;
    page[i + 1] = value >>> 8;
    page[i + 2] = value >>> 16;
    page[i + 3] = value >>> 24;
    this.#dirty(at, 4);
  }

  /** Sets a u64 from its two unsigned halves. */
  setU64(offset: number, high: number, low: number): void {
    this.setU32(offset, low);
    this.setU32(offset + 4, high);
  }

  /** The page of byte `at`; the one used last is remembered as long as the memory allows it. */
  #page(at: number): Uint8Array {
    const { epoch } = this.#memory;
    const last = this.#last;
    const index = at >>> 12;
    if (last !== undefined && index === this.#lastIndex && epoch === this.#lastEpoch) return last;
    const page = this.#find(at);
    // NaN equals nothing: where each access has to ask, nothing is remembered.
    this.#lastEpoch = epoch ?? Number.NaN;
    this.#lastIndex = index;
    this.#last = page;
    return page;
  }

  #find(at: number): Uint8Array {
    const pa = this.pages[at >>> 12];
    const page = pa === undefined ? undefined : this.#memory.page(pa);
    if (page === undefined) {
      throw new TargetCrashError("OP-TEE took an external abort on shared memory", {
        expected: "every page of a registered object backed by non-secure RAM",
        seen: pa === undefined ? `no page ${at >>> 12}` : `nothing at 0x${pa.toString(16)}`,
      });
    }
    return page;
  }

  #dirty(at: number, length: number): void {
    const pa = this.pages[at >>> 12];
    if (pa !== undefined) this.#memory.dirty((pa + (at & (PAGE_SIZE - 1))) as Pa, length);
  }
}
