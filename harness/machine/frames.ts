import { Random } from "../base/index.ts";
import { PAGE_SIZE, type Pa } from "./address.ts";
import { PHYSICAL_LIMIT } from "./region.ts";

/** A range of physical addresses in bytes; base and size are multiples of 4096. */
export interface Window {
  readonly base: number;
  readonly size: number;
}

/** Who holds a frame: 0 nobody, 1 the hypervisor itself, from 2 the numbers that VMs are given. */
export type OwnerId = number;
export const NOBODY: OwnerId = 0;
export const HYPERVISOR: OwnerId = 1;

/** References that keep frames from being reused, held by one owner for one reason. */
export interface PinRecord {
  readonly owner: OwnerId;
  readonly reason: string;
  /** The pinned frame numbers. */
  frames(): Iterable<number>;
  /** The table's own links, to the records entered before and after; undefined to begin with. */
  before: PinRecord | undefined;
  after: PinRecord | undefined;
}

export const FRAMES_PER_CHUNK = 512;
/** The largest number of pins on one frame. */
export const MAX_PINS = 0xffff;

/** Book-keeping of 512 frames (2 MiB); `owners` is there only while they differ. */
export class FrameChunk {
  owner: OwnerId = NOBODY;
  owners: Uint16Array | Uint32Array | undefined;
  /** How many of `owners` are somebody. */
  owned = 0;

  ownerOf(index: number): OwnerId {
    return this.owners === undefined ? this.owner : (this.owners[index] ?? NOBODY);
  }
}

/** Pin counts of the frames from `first` on. The length is a power of two. */
export interface PinWindow {
  readonly first: number;
  /** One past the last frame that exists. */
  readonly end: number;
  readonly counts: Uint16Array;
}

interface Range {
  readonly first: number;
  readonly end: number;
  /** Pin counts: of the whole range when it is below 16 GiB, else of each 2 MiB that has any. */
  readonly pins: Map<number, PinWindow>;
}

const MAX_FLAT_FRAMES = 2 ** 22;
const NO_PINS: PinWindow = { first: 0, end: 0, counts: new Uint16Array(0) };

/**
 * The hypervisor's frame table: who owns each frame, how many pins hold it, which are free. A frame
 * is reused only when it has neither owner nor pins; unmapping takes the owner away, no more.
 */
export class Frames {
  readonly #ranges: readonly Range[];
  readonly #chunks = new Map<number, FrameChunk>();
  // A linked list, as records come and go with every temporary buffer.
  #oldest: PinRecord | undefined;
  #newest: PinRecord | undefined;
  readonly #waiting = new Map<number, () => void>();
  readonly #random: Random | undefined;
  /** Number of frames in all ranges. */
  readonly #total: number;
  #lastPins = NO_PINS;
  #cursor: number;
  #lastKey = -1;
  #lastChunk: FrameChunk | undefined;

  /**
   * `scatter` hands frames out in a random order from that seed, else ascending. Throws RangeError
   * for windows that are not whole pages below 2^43.
   */
  constructor(windows: readonly Window[], options: { readonly scatter?: number } = {}) {
    this.#ranges = windows.map(({ base, size }) => {
      if (
        !Number.isInteger(base / PAGE_SIZE) ||
        !Number.isInteger(size / PAGE_SIZE) ||
        base < 0 ||
        size <= 0 ||
        base + size > PHYSICAL_LIMIT
      ) {
        throw new RangeError(`window at ${base} of ${size} bytes is not whole pages below 2^43`);
      }
      return { first: base / PAGE_SIZE, end: (base + size) / PAGE_SIZE, pins: new Map() };
    });
    this.#total = this.#ranges.reduce((sum, range) => sum + range.end - range.first, 0);
    this.#random = options.scatter === undefined ? undefined : new Random(options.scatter);
    this.#cursor = this.#ranges[0]?.first ?? 0;
  }

  has(frame: number): boolean {
    return this.#ranges.some((range) => frame >= range.first && frame < range.end);
  }

  owner(frame: number): OwnerId {
    return this.#peek(frame)?.ownerOf(frame & 511) ?? NOBODY;
  }

  pins(frame: number): number {
    const window = this.#pinWindow(frame, false);
    return window.counts[frame - window.first] ?? 0;
  }

  #chunk(frame: number): FrameChunk {
    const key = frame >>> 9;
    if (key === this.#lastKey && this.#lastChunk !== undefined) return this.#lastChunk;
    let chunk = this.#chunks.get(key);
    if (chunk === undefined) {
      chunk = new FrameChunk();
      this.#chunks.set(key, chunk);
    }
    this.#lastKey = key;
    this.#lastChunk = chunk;
    return chunk;
  }

  /** Takes one free frame for `owner`; undefined when none is left. */
  allocate(owner: OwnerId): number | undefined {
    const frame = this.#random === undefined ? this.#nextFree() : this.#randomFree(this.#random);
    if (frame !== undefined) this.#setOwner(frame, owner);
    return frame;
  }

  /** Takes 512 contiguous free frames on a 2 MiB boundary; undefined when there are none. */
  allocateBlock(owner: OwnerId): number | undefined {
    if (this.#random !== undefined) return undefined;
    for (const range of this.#ranges) {
      for (
        let first = Math.ceil(range.first / FRAMES_PER_CHUNK) * FRAMES_PER_CHUNK;
        first + FRAMES_PER_CHUNK <= range.end;
        first += FRAMES_PER_CHUNK
      ) {
        const known = this.#chunks.get(first >>> 9);
        if (known === undefined) {
          if (this.#pinned(first)) continue;
          this.#chunks.set(first >>> 9, Object.assign(new FrameChunk(), { owner }));
          return first;
        }
        if (known.owner === NOBODY && known.owners === undefined && !this.#pinned(first)) {
          known.owner = owner;
          return first;
        }
      }
    }
    return undefined;
  }

  /** Takes exactly this frame; false when it is not free or not in the table. */
  claim(frame: number, owner: OwnerId): boolean {
    if (!this.has(frame) || !this.isFree(frame)) return false;
    this.#setOwner(frame, owner);
    return true;
  }

  isFree(frame: number): boolean {
    return (
      this.owner(frame) === NOBODY &&
      this.pins(frame) === 0 &&
      (this.#waiting.size === 0 || !this.#waiting.has(frame))
    );
  }

  /** The owner lets go. The frame becomes free, or goes to who waits for it, once no pin is left. */
  release(frame: number): void {
    this.#setOwner(frame, NOBODY);
    this.#settle(frame);
  }

  /**
   * Runs `then` as soon as `frame` has neither owner nor pins, which may be now; until then nobody
   * else gets the frame. Throws RangeError when somebody waits for it already.
   */
  whenUnused(frame: number, then: () => void): void {
    if (this.#waiting.has(frame)) throw new RangeError(`frame ${frame} is awaited already`);
    this.#waiting.set(frame, then);
    this.#settle(frame);
  }

  /** The pin counts that `pin` used last, for hot paths that count themselves. */
  get lastPins(): PinWindow {
    return this.#lastPins;
  }

  /** Adds one pin; false, and nothing changed, when the frame has 65,535 of them or is unknown. */
  pin(frame: number): boolean {
    const last = this.#lastPins;
    const near = frame >= last.first && frame < last.end;
    const window = near ? last : this.#pinWindow(frame, true);
    const { first, counts } = window;
    this.#lastPins = window;
    const count = counts[frame - first] ?? MAX_PINS;
    if (count === MAX_PINS) return false;
    counts[frame - first] = count + 1;
    return true;
  }

  /** Drops one pin. Throws RangeError when the frame has none: a reference was dropped twice. */
  unpin(frame: number): void {
    const last = this.#lastPins;
    const near = frame >= last.first && frame < last.end;
    const { first, counts } = near ? last : this.#pinWindow(frame, false);
    const count = counts[frame - first] ?? 0;
    if (count === 0) throw new RangeError(`frame ${frame} is not pinned`);
    counts[frame - first] = count - 1;
    if (count === 1 && this.#waiting.size > 0) this.#settle(frame);
  }

  /** Drops one pin of each of the first `count` pages of a page list; throws as `unpin` does. */
  unpinEntries(list: Int32Array, count: number): void {
    let { first, counts } = NO_PINS;
    for (let index = 0; index < count; index += 1) {
      const frame = frameOfEntry(list, index);
      let place = (frame - first) | 0;
      if (place >>> 0 >= counts.length) {
        ({ first, counts } = this.#pinWindow(frame, false));
        place = (frame - first) | 0;
      }
      const references = counts[place] ?? 0;
      if (references === 0) throw new RangeError(`frame ${frame} is not pinned`);
      counts[place] = references - 1;
      if (references === 1 && this.#waiting.size > 0) this.#settle(frame);
    }
  }

  /** Enters a set of pins into the list of who holds what and why. */
  addRecord(record: PinRecord): void {
    record.before = this.#newest;
    if (this.#newest === undefined) this.#oldest = record;
    else this.#newest.after = record;
    this.#newest = record;
  }

  dropRecord(record: PinRecord): void {
    const { before, after } = record;
    if (before === undefined && this.#oldest !== record) return;
    if (before === undefined) this.#oldest = after;
    else before.after = after;
    if (after === undefined) this.#newest = before;
    else after.before = before;
    record.before = undefined;
    record.after = undefined;
  }

  /** Who holds pins, with reasons; of one owner when given. */
  records(owner?: OwnerId): readonly PinRecord[] {
    const all: PinRecord[] = [];
    for (let at = this.#oldest; at !== undefined; at = at.after) all.push(at);
    return owner === undefined ? all : all.filter((record) => record.owner === owner);
  }

  /** Number of frames that carry at least one pin. */
  pinnedFrames(): number {
    let total = 0;
    for (const range of this.#ranges) {
      for (const { counts } of range.pins.values()) {
        for (const count of counts) if (count !== 0) total += 1;
      }
    }
    return total;
  }

  #peek(frame: number): FrameChunk | undefined {
    return this.#chunks.get(frame >>> 9);
  }

  #pinWindow(frame: number, make: boolean): PinWindow {
    for (const range of this.#ranges) {
      if (frame < range.first || frame >= range.end) continue;
      const flat = range.end - range.first <= MAX_FLAT_FRAMES;
      const key = flat ? range.first : frame - (frame & 511);
      const known = range.pins.get(key);
      if (known !== undefined || !make) return known ?? NO_PINS;
      const length = flat ? range.end - range.first : FRAMES_PER_CHUNK;
      const counts = new Uint16Array(2 ** Math.ceil(Math.log2(length)));
      const made = { first: key, end: Math.min(key + length, range.end), counts };
      range.pins.set(key, made);
      return made;
    }
    return NO_PINS;
  }

  /** Whether any of the 512 frames from `first` on has a pin. */
  #pinned(first: number): boolean {
    const window = this.#pinWindow(first, false);
    const from = first - window.first;
    return window.counts.subarray(from, from + FRAMES_PER_CHUNK).some((count) => count !== 0);
  }

  #setOwner(frame: number, owner: OwnerId): void {
    const chunk = this.#chunk(frame);
    const before = chunk.ownerOf(frame & 511);
    if (before === owner) return;
    if (chunk.owners === undefined) {
      chunk.owners = ownersFor(Math.max(owner, chunk.owner)).fill(chunk.owner);
      chunk.owned = chunk.owner === NOBODY ? 0 : FRAMES_PER_CHUNK;
    }
    if (owner > SMALL_OWNER && chunk.owners instanceof Uint16Array) {
      chunk.owners = Uint32Array.from(chunk.owners);
    }
    chunk.owners[frame & 511] = owner;
    if (before === NOBODY) chunk.owned += 1;
    if (owner === NOBODY) chunk.owned -= 1;
    if (chunk.owned === 0) {
      chunk.owner = NOBODY;
      chunk.owners = undefined;
    }
  }

  #settle(frame: number): void {
    const then = this.#waiting.get(frame);
    if (then === undefined) return;
    if (this.pins(frame) !== 0 || this.owner(frame) !== NOBODY) return;
    this.#waiting.delete(frame);
    then();
  }

  #nextFree(): number | undefined {
    const ranges = this.#ranges;
    let start = ranges.findIndex(
      (range) => this.#cursor >= range.first && this.#cursor < range.end,
    );
    if (start < 0) start = 0;
    for (let turn = 0; turn <= ranges.length; turn += 1) {
      const range = ranges[(start + turn) % ranges.length];
      if (range === undefined) return undefined;
      const from = turn === 0 ? Math.max(this.#cursor, range.first) : range.first;
      for (let frame = from; frame < range.end; frame += 1) {
        if (this.isFree(frame)) {
          this.#cursor = frame + 1;
          return frame;
        }
      }
    }
    return undefined;
  }

  #randomFree(random: Random): number | undefined {
    const total = this.#total;
    if (total === 0) return undefined;
    for (let attempt = 0; attempt < 64; attempt += 1) {
      const index =
        total <= 2 ** 32 ? random.below(total) : Math.floor((random.u32() / 2 ** 32) * total);
      const frame = this.#frameAt(index);
      if (this.isFree(frame)) return frame;
    }
    return this.#nextFree();
  }

  /** Frame `index` counted over all ranges. */
  #frameAt(index: number): number {
    let left = index;
    for (let place = 0; ; place += 1) {
      const range = this.#ranges[place];
      if (range === undefined) return -1;
      const length = range.end - range.first;
      if (left < length) return range.first + left;
      left -= length;
    }
  }
}

/** Owners that two bytes hold: all but those of machines that have seen 65,534 VMs. */
const SMALL_OWNER = 0xffff;

const ownersFor = (owner: OwnerId): Uint16Array | Uint32Array =>
  owner > SMALL_OWNER ? new Uint32Array(FRAMES_PER_CHUNK) : new Uint16Array(FRAMES_PER_CHUNK);

/** The frame number in entry `index` of a list of page addresses, two 32-bit words each. */
export const frameOfEntry = (list: Int32Array, index: number): number =>
  ((list[index * 2 + 1] as number) << 20) | ((list[index * 2] as number) >>> 12);

/** The physical address of a frame number. */
export const frameToPa = (frame: number): Pa => (frame * PAGE_SIZE) as Pa;
/** The frame number of a physical address below 2^43. */
export const paToFrame = (at: Pa): number => Math.floor(at / PAGE_SIZE);
