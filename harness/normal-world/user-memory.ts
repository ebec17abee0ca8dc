import { type Ipa, PAGE_MASK, PAGE_SIZE } from "../machine/index.ts";
import type { Kernel } from "./kernel.ts";
import type { PageSpan } from "./pages.ts";

interface Mapping {
  readonly start: number;
  readonly pages: readonly Ipa[];
  /** Not normal cacheable memory. */
  readonly device: boolean;
}

/** A buffer in a process: a virtual address and the bytes there. */
export interface UserBuffer {
  readonly address: number;
  readonly size: number;
  /** A copy of `length` bytes at `at`. Throws RangeError outside of the buffer. */
  readonly read: (at?: number, length?: number) => Uint8Array;
  readonly write: (bytes: Uint8Array, at?: number) => void;
}

/** First address that mappings get, and the gap left between them. */
const MMAP_BASE = 0x7f00_0000_0000;

/** A process's address space, as far as buffers for the TEE need one. */
export class UserMemory {
  readonly #kernel: Kernel;
  readonly #mappings: Mapping[] = [];
  #next = MMAP_BASE;
  #closed = false;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  /** Fresh memory of `size` bytes at `offset` bytes into its first page; undefined when short. */
  allocate(size: number, offset = 0): UserBuffer | undefined {
    const count = Math.max(1, Math.ceil((size + offset) / PAGE_SIZE));
    const pages = this.#closed ? undefined : this.#kernel.pages.allocate(count);
    if (pages === undefined) return undefined;
    return this.#map(pages, offset, size);
  }

  /** Maps pages that something else owns as well. */
  map(span: PageSpan): UserBuffer {
    this.#kernel.pages.hold(span.pages);
    return this.#map(span.pages, span.offset, span.size);
  }

  /** A mapping with the memory type of a device, as a driver's registers have. */
  mapDevice(size: number): UserBuffer | undefined {
    const pages = this.#kernel.pages.allocate(Math.ceil(size / PAGE_SIZE));
    return pages === undefined ? undefined : this.#map(pages, 0, size, true);
  }

  /** Whether [address, address + size) touches device memory. */
  isDevice(address: number, size: number): boolean {
    return this.#mappings.some(
      ({ start, pages, device }) =>
        device && address < start + pages.length * PAGE_SIZE && address + size > start,
    );
  }

  /** Removes the mapping that starts at the page of `buffer`; its pages lose a reference. */
  unmap(buffer: UserBuffer): void {
    const start = buffer.address - (buffer.address & PAGE_MASK);
    const index = this.#mappings.findIndex((one) => one.start === start);
    const [gone] = index < 0 ? [] : this.#mappings.splice(index, 1);
    if (gone !== undefined) this.#kernel.pages.drop(gone.pages);
  }

  /** The end of the process: everything is unmapped, and nothing can be allocated any more. */
  close(): void {
    this.#closed = true;
    for (const { pages } of this.#mappings.splice(0)) this.#kernel.pages.drop(pages);
  }

  /** The bytes at [address, address + size); undefined when they are not all mapped together. */
  span(address: number, size: number): PageSpan | undefined {
    const offset = address & PAGE_MASK;
    const start = address - offset;
    const end = start + Math.ceil((offset + size) / PAGE_SIZE) * PAGE_SIZE;
    const home = this.#mappings.find(
      (one) => start >= one.start && end <= one.start + one.pages.length * PAGE_SIZE,
    );
    if (home === undefined) return undefined;
    const first = (start - home.start) / PAGE_SIZE;
    const pages = home.pages.slice(first, first + (end - start) / PAGE_SIZE);
    return this.#kernel.span(pages, offset, size);
  }

  #map(pages: readonly Ipa[], offset: number, size: number, device = false): UserBuffer {
    const start = this.#next;
    this.#next += (pages.length + 1) * PAGE_SIZE;
    this.#mappings.push({ start, pages, device });
    const span = this.#kernel.span(pages, offset, size);
    return {
      address: start + offset,
      size,
      read: (at, length) => span.read(at, length),
      write: (bytes, at) => span.write(bytes, at),
    };
  }
}
