import { ADDRESS_LIMIT, PAGE_MASK, PAGE_SIZE, type Ipa, type Pa } from "./address.ts";
import { PHYSICAL_LIMIT } from "./region.ts";

/**
 * What a stage-2 entry maps: RAM of the VM (read-write or read-only), a device, a page that belongs
 * to another VM (grant, foreign).
 */
export const MAPPING = { none: 0, ramRw: 1, ramRo: 2, mmio: 3, grant: 4, foreign: 5 } as const;
export type Mapping = (typeof MAPPING)[keyof typeof MAPPING];

export const BLOCK_SIZE = 2 * 1024 * 1024;
const PAGES_PER_BLOCK = BLOCK_SIZE / PAGE_SIZE;
const INDEX_MASK = PAGES_PER_BLOCK - 1;

/** One 2 MiB slot: a block mapping while `kinds` is undefined, else a table of 512 pages. */
export interface Stage2Leaf {
  blockFrame: number;
  blockKind: Mapping;
  /** The frame of a page of writable RAM, the complement of any other frame, 0 for none. */
  frames: Int32Array | undefined;
  kinds: Uint8Array | undefined;
}

type TableLeaf = Stage2Leaf & { frames: Int32Array; kinds: Uint8Array };

/**
 * Frames of writable RAM by page number minus `first`, for hot paths; not positive where that has to
 * be looked up (frame 0 never is RAM of a VM). The length is a power of two.
 */
export interface WritableWindow {
  readonly first: number;
  readonly frames: Int32Array;
}

/** From where no page number of the hot paths reaches. */
const NO_WINDOW: WritableWindow = { first: 2 ** 31, frames: new Int32Array(0) };
/** 16 GiB: beyond it pages are looked up one by one. */
const MAX_WINDOW_PAGES = 2 ** 22;

/**
 * A VM's stage-2 translation: 4 KiB pages and 2 MiB blocks, split when part of a block changes.
 * Lookups are by page number (address / 4096) and cost no allocation.
 */
export class Stage2 {
  readonly #leaves = new Map<number, Stage2Leaf>();
  #lastKey = -1;
  #lastLeaf: Stage2Leaf | undefined;
  #window: WritableWindow | undefined;

  /** The frame that backs page `page`, or -1 when nothing does. */
  frame(page: number): number {
    const leaf = this.leaf(Math.floor(page / PAGES_PER_BLOCK));
    if (leaf === undefined) return -1;
    const index = page & INDEX_MASK;
    if (leaf.kinds === undefined) return leaf.blockFrame + index;
    if (leaf.kinds[index] === MAPPING.none) return -1;
    const entry = leaf.frames?.[index] ?? 0;
    return entry < 0 ? ~entry : entry;
  }

  kind(page: number): Mapping {
    const leaf = this.leaf(Math.floor(page / PAGES_PER_BLOCK));
    if (leaf === undefined) return MAPPING.none;
    if (leaf.kinds === undefined) return leaf.blockKind;
    return (leaf.kinds[page & INDEX_MASK] ?? MAPPING.none) as Mapping;
  }

  /** The frame behind a page of writable RAM, -1 for any other; remembers it in the window. */
  writable(page: number): number {
    const window = this.#window;
    const known = window?.frames[page - window.first] ?? 0;
    if (known > 0) return known;
    if (this.kind(page) !== MAPPING.ramRw) return -1;
    const frame = this.frame(page);
    // Of a block: pages of tables are there already.
    if (window !== undefined) window.frames[page - window.first] = frame;
    return frame;
  }

  /** The window over what is mapped; made on first use, and anew when the mapped range has grown. */
  window(): WritableWindow {
    return (this.#window ??= this.#makeWindow());
  }

  #makeWindow(): WritableWindow {
    let [low, high] = [Infinity, -1];
    for (const key of this.#leaves.keys()) {
      low = Math.min(low, key);
      high = Math.max(high, key);
    }
    const first = low * PAGES_PER_BLOCK;
    const pages = (high + 1) * PAGES_PER_BLOCK - first;
    // Devices far below RAM must not stretch the window: it then starts at the top and reaches down.
    const length = Math.min(pages, MAX_WINDOW_PAGES);
    if (high < 0) return NO_WINDOW;
    const start = first + pages - length;
    const window = { first: start, frames: new Int32Array(2 ** Math.ceil(Math.log2(length))) };
    // Tables live in the window from now on: one copy of what may be large.
    for (const [key, leaf] of this.#leaves) {
      const room = roomIn(window, key);
      if (leaf.frames === undefined || room === undefined) continue;
      room.set(leaf.frames);
      leaf.frames = room;
    }
    return window;
  }

  /** Page numbers from `page` on were mapped otherwise than the window may have them. */
  #changed(page: number, count: number): void {
    const window = this.#window;
    if (window === undefined) return;
    const from = page - window.first;
    if (from < 0 || from + count > window.frames.length) this.#window = undefined;
    else if (count > 1) window.frames.fill(0, from, from + count);
  }

  /** The 2 MiB slot `key` (address / 2 MiB). */
  leaf(key: number): Stage2Leaf | undefined {
    if (key === this.#lastKey) return this.#lastLeaf;
    const leaf = this.#leaves.get(key);
    this.#lastKey = key;
    this.#lastLeaf = leaf;
    return leaf;
  }

  /** Where byte `at` is, or undefined when it is not mapped. */
  translate(at: Ipa): Pa | undefined {
    const frame = this.frame(Math.floor(at / PAGE_SIZE));
    return frame < 0 ? undefined : ((frame * PAGE_SIZE + (at & PAGE_MASK)) as Pa);
  }

  /** Maps one page. Replaces what was there. Throws RangeError for numbers out of range. */
  map(page: number, frame: number, kind: Exclude<Mapping, 0>): void {
    checkRange(page, frame, 1);
    const leaf = this.#table(Math.floor(page / PAGES_PER_BLOCK));
    leaf.frames[page & INDEX_MASK] = kind === MAPPING.ramRw ? frame : ~frame;
    leaf.kinds[page & INDEX_MASK] = kind;
    this.#changed(page, 1);
  }

  /** Maps 512 pages as one block; both numbers must be multiples of 512. */
  mapBlock(page: number, frame: number, kind: Exclude<Mapping, 0>): void {
    checkRange(page, frame, PAGES_PER_BLOCK);
    if (page % PAGES_PER_BLOCK !== 0 || frame % PAGES_PER_BLOCK !== 0) {
      throw new RangeError(`a block at page ${page}, frame ${frame} is not on a 2 MiB boundary`);
    }
    this.#lastKey = -1;
    this.#changed(page, PAGES_PER_BLOCK);
    this.#leaves.set(page / PAGES_PER_BLOCK, {
      blockFrame: frame,
      blockKind: kind,
      frames: undefined,
      kinds: undefined,
    });
  }

  /** Takes one page out and says which frame it was on; -1 when it was not mapped. */
  unmap(page: number): number {
    const frame = this.frame(page);
    if (frame < 0) return -1;
    const key = Math.floor(page / PAGES_PER_BLOCK);
    const leaf = this.#table(key);
    this.#changed(page, 1);
    leaf.kinds[page & INDEX_MASK] = MAPPING.none;
    leaf.frames[page & INDEX_MASK] = 0;
    if (leaf.kinds.every((kind) => kind === MAPPING.none)) {
      this.#leaves.delete(key);
      this.#lastKey = -1;
    }
    return frame;
  }

  /** Every mapped page, in no particular order. */
  *pages(): Iterable<{ page: number; frame: number; kind: Mapping }> {
    for (const [key, leaf] of this.#leaves) {
      for (let index = 0; index < PAGES_PER_BLOCK; index += 1) {
        const kind = (leaf.kinds === undefined ? leaf.blockKind : leaf.kinds[index]) as Mapping;
        if (kind === MAPPING.none) continue;
        const page = key * PAGES_PER_BLOCK + index;
        yield { page, frame: this.frame(page), kind };
      }
    }
  }

  clear(): void {
    this.#leaves.clear();
    this.#lastKey = -1;
    this.#window = undefined;
  }

  #table(key: number): TableLeaf {
    let leaf = this.#leaves.get(key);
    if (leaf === undefined) {
      leaf = { blockFrame: 0, blockKind: MAPPING.none, frames: undefined, kinds: undefined };
      this.#leaves.set(key, leaf);
      this.#lastKey = -1;
    }
    if (leaf.frames === undefined || leaf.kinds === undefined) {
      const { blockFrame, blockKind } = leaf;
      const window = this.#window;
      const room = window === undefined ? undefined : roomIn(window, key);
      const frames = room ?? new Int32Array(PAGES_PER_BLOCK);
      const kinds = new Uint8Array(PAGES_PER_BLOCK);
      if (blockKind !== MAPPING.none) {
        const writable = blockKind === MAPPING.ramRw;
        for (let index = 0; index < PAGES_PER_BLOCK; index += 1) {
          frames[index] = writable ? blockFrame + index : ~(blockFrame + index);
        }
        kinds.fill(blockKind);
      }
      leaf.frames = frames;
      leaf.kinds = kinds;
    }
    return leaf as TableLeaf;
  }
}

/** The part of a window that is slot `key`'s; undefined when it has not all of it. */
function roomIn({ first, frames }: WritableWindow, key: number): Int32Array | undefined {
  const from = key * PAGES_PER_BLOCK - first;
  if (from < 0 || from + PAGES_PER_BLOCK > frames.length) return undefined;
  return frames.subarray(from, from + PAGES_PER_BLOCK);
}

function checkRange(page: number, frame: number, count: number): void {
  if (!Number.isInteger(page) || page < 0 || (page + count) * PAGE_SIZE > ADDRESS_LIMIT) {
    throw new RangeError(`page ${page} is outside the 52-bit address space`);
  }
  if (!Number.isInteger(frame) || frame < 0 || (frame + count) * PAGE_SIZE > PHYSICAL_LIMIT) {
    throw new RangeError(`frame ${frame} is outside the 43-bit physical address space`);
  }
}
