import { PAGE_SIZE } from "./address.ts";

/** A device behind memory-mapped registers; `offset` is from the region's base, `size` in bytes. */
export interface MmioDevice {
  read(offset: number, size: 1 | 2 | 4 | 8): bigint;
  write(offset: number, size: 1 | 2 | 4 | 8, value: bigint): void;
}

/** One range of the physical address map. Base and size are multiples of 4096 bytes. */
export interface RegionSpec {
  readonly name: string;
  readonly base: number;
  readonly size: number;
  readonly type: "ram" | "rom" | "mmio";
  /** Only the secure world may access it. */
  readonly secure?: boolean;
  /** What a ROM holds, or RAM at the start; zero beyond its end. */
  readonly contents?: Uint8Array;
  readonly device?: MmioDevice;
}

/** Frame numbers fit a signed 32-bit lane, so physical addresses end at 2^43 (8 TiB). */
export const PHYSICAL_LIMIT = 2 ** 43;

/** 64 pages: scattered VMs touch few pages of any chunk. */
const CHUNK_SHIFT = 6;
const CHUNK_MASK = 63;

/** A region with its pages, which come into being when they are first touched. */
export class Region {
  readonly spec: RegionSpec;
  readonly base: number;
  readonly end: number;
  readonly secure: boolean;
  readonly #chunks: ((Uint8Array | undefined)[] | undefined)[] = [];

  /** Throws RangeError for bounds that are not whole pages below 2^43. */
  constructor(spec: RegionSpec) {
    const { base, size } = spec;
    if (
      !Number.isInteger(base) ||
      !Number.isInteger(size) ||
      base < 0 ||
      size <= 0 ||
      base % PAGE_SIZE !== 0 ||
      size % PAGE_SIZE !== 0 ||
      base + size > PHYSICAL_LIMIT
    ) {
      throw new RangeError(
        `region ${spec.name}: base ${base} and size ${size} are not whole 4 KiB pages below 2^43`,
      );
    }
    this.spec = spec;
    this.base = base;
    this.end = base + size;
    this.secure = spec.secure === true;
  }

  /** Page `index` counted from the base of the region. */
  page(index: number): Uint8Array {
    // Whole pages below 2^43 bytes: indices fit a signed lane, and shifts cost less than divisions.
    const known = this.#chunks[index >>> CHUNK_SHIFT]?.[index & CHUNK_MASK];
    return known ?? this.#make(index);
  }

  #make(index: number): Uint8Array {
    const chunk = (this.#chunks[index >>> CHUNK_SHIFT] ??= []);
    const fresh = new Uint8Array(PAGE_SIZE);
    const from = index * PAGE_SIZE;
    const contents = this.spec.contents;
    if (contents !== undefined && from < contents.length) {
      fresh.set(contents.subarray(from, from + PAGE_SIZE));
    }
    chunk[index & CHUNK_MASK] = fresh;
    return fresh;
  }

  /** Makes the page zero, giving its bytes back. */
  zero(index: number): void {
    const chunk = this.#chunks[index >>> CHUNK_SHIFT];
    const contents = this.spec.contents;
    if (contents !== undefined && index * PAGE_SIZE < contents.length) this.page(index).fill(0);
    else if (chunk !== undefined) chunk[index & CHUNK_MASK] = undefined;
  }
}
