import {
  type Frames,
  PAGE_SIZE,
  type PinWindow,
  type Stage2,
  type WritableWindow,
  frameToPa,
} from "../../machine/index.ts";
import { type MessageView, PAGE_LIST, WORD, listPagesFor } from "../../optee-abi/index.ts";
import { type BufferKind, STATUS, type ShmBuffer, type Status } from "./buffers.ts";
import type { OpteeGuest } from "./guest.ts";

const PAGE_HIGH = 2 ** 20;

/** A working copy of one guest list page. */
class Scratch {
  readonly bytes = new Uint8Array(PAGE_SIZE);
  readonly words = new Int32Array(this.bytes.buffer);
}

/** Never written to: an array that grows from nothing has room for many, and most need one. */
const NO_LISTS: number[] = [];

// A stack and not one object: an access hook may let another vCPU enter in the middle of a walk.
const scratches: Scratch[] = [];

/**
 * Replaces the guest's page list of parameter `index` by one of machine addresses and pins every
 * page that it names (MED-060 to MED-068). Returns the buffer or why it was refused; after a refusal
 * nothing of it is left.
 */
export function translateNoncontig(
  guest: OpteeGuest,
  view: MessageView,
  index: number,
  kind: BufferKind,
): ShmBuffer | Status {
  const { rules, heap, buffers } = guest;
  const pointerLow = view.low(index, WORD.buf_ptr);
  const offset = pointerLow & PAGE_LIST.offsetMask;
  const pages = rules.truncatePageCount
    ? truncatedPageCount(view, index, offset)
    : checkedPageCount(view, index, offset);
  if (pages < 0) return STATUS.einval;
  // MED-060, and MED-067 for 0: the list order of no pages underflows and cannot be allocated.
  if (pages === 0 || pages > rules.maxPagesPerBuffer) return STATUS.enomem;

  // MED-061: the list comes first, then the book-keeping, as its order decides which error is seen.
  let lists: number[] = NO_LISTS;
  for (let list = listPagesFor(pages); list > 0; list -= 1) {
    const frame = heap.allocate("page-list");
    if (frame < 0) return giveBack(guest, lists, STATUS.enomem);
    if (lists.length === 0) lists = [frame];
    else lists.push(frame);
  }
  const high = view.high(index, WORD.shm_ref);
  const low = view.low(index, WORD.shm_ref);
  const buffer = buffers.open(high, low, pages, kind);
  if (typeof buffer === "number") return giveBack(guest, lists, buffer);
  buffer.lists = lists;
  const first = view.high(index, WORD.buf_ptr) * PAGE_HIGH + (pointerLow >>> 12);
  if (!walk(guest, buffer, first)) {
    buffers.close(buffer);
    return STATUS.einval;
  }
  const list = lists[0] ?? 0;
  // MED-065: the mediator's list, the guest's offset.
  view.setWords(index, WORD.buf_ptr, list >>> 20, ((list << 12) | offset) >>> 0);
  return buffer;
}

function giveBack(guest: OpteeGuest, lists: readonly number[], status: Status): Status {
  for (const frame of lists) guest.heap.release(frame);
  return status;
}

/** MED-067: as Xen computes it, in 64 bits that wrap and a 32-bit count. */
function truncatedPageCount(view: MessageView, index: number, offset: number): number {
  const bytes = BigInt.asUintN(64, view.big(index, WORD.size) + BigInt(offset) + 4095n);
  return Number(BigInt.asUintN(32, bytes >> 12n));
}

/** -1 for no pages and for a size that wraps. Exact as far as any limit reaches. */
function checkedPageCount(view: MessageView, index: number, offset: number): number {
  const high = view.high(index, WORD.size);
  const low = view.low(index, WORD.size);
  if (high === 0xffff_ffff && low + offset > 0xffff_ffff) return -1;
  const pages = Math.ceil((high * 0x1_0000_0000 + low + offset) / PAGE_SIZE);
  return pages === 0 ? -1 : pages;
}

/** MED-063, MED-064: follows the guest's list, one copy of each list page, and fills ours. */
function walk(guest: OpteeGuest, buffer: ShmBuffer, firstList: number): boolean {
  const { heap, space } = guest;
  const { stage2, frames } = space;
  const scratch = scratches.pop() ?? new Scratch();
  let listPage = firstList;
  let done = 0;
  let good = true;
  for (let list = 0; list < buffer.lists.length && good; list += 1) {
    // MED-063: held only while it is read.
    const frame = guest.hold(listPage);
    if (frame < 0) {
      good = false;
      break;
    }
    const count = Math.min(PAGE_LIST.entries, buffer.reserved - done);
    const last = done + count === buffer.reserved;
    const bytes = heap.memory.page(frameToPa(frame));
    if (bytes === undefined) {
      guest.letGo(frame);
      good = false;
      break;
    }
    scratch.bytes.set(last ? bytes.subarray(0, count * 8) : bytes);
    guest.letGo(frame);
    const pinned = pinEntries(stage2, frames, scratch.words, count, buffer.entries, done);
    buffer.count = done + pinned;
    if (pinned < count) {
      good = false;
      break;
    }
    const own = buffer.lists[list] ?? 0;
    const page = heap.bytes(own);
    page.set(buffer.bytes.subarray(done * 8, (done + count) * 8));
    done += count;
    if (!last) {
      const low = scratch.words[PAGE_LIST.link * 2] ?? 0;
      const high = scratch.words[PAGE_LIST.link * 2 + 1] ?? 0;
      listPage = (high >>> 0) * PAGE_HIGH + (low >>> 12);
      putEntry(page, PAGE_LIST.link, buffer.lists[list + 1] ?? 0);
    }
    heap.dirty(own, last ? count * 8 : PAGE_SIZE);
  }
  scratches.push(scratch);
  return good;
}

/** Writes a frame's address as word `index` of a list page. */
function putEntry(page: Uint8Array, index: number, frame: number): void {
  const view = new DataView(page.buffer, page.byteOffset + index * 8, 8);
  view.setUint32(0, frame << 12, true);
  view.setUint32(4, frame >>> 20, true);
}

/**
 * Translates and pins the first `count` entries of a guest's list page into `target` from its entry
 * `at` on; returns how many were good. The low 12 bits of an entry are dropped (MED-066). What the
 * windows have is done by `pinRemembered`; the rest is looked up and remembered here.
 */
export function pinEntries(
  stage2: Stage2,
  frames: Frames,
  source: Int32Array,
  count: number,
  target: Int32Array,
  at: number,
): number {
  const window = stage2.window();
  let pins = frames.lastPins;
  let done = 0;
  for (;;) {
    done = pinRemembered(source, window, pins, done, count, target, at);
    if (done === count) return count;
    const low = source[done * 2] ?? 0;
    const high = (source[done * 2 + 1] ?? 0) >>> 0;
    const frame = stage2.writable(high * PAGE_HIGH + (low >>> 12));
    // A page that is no writable RAM has frame -1, which no frame table has.
    if (!frames.pin(frame)) return done;
    pins = frames.lastPins;
    target[(at + done) * 2] = frame << 12;
    target[(at + done) * 2 + 1] = frame >>> 20;
    done += 1;
  }
}

/** From so many pins of a frame on, `Frames.pin` decides whether there may be one more. */
const MANY_PINS = 0x8000;

/**
 * The mediator's hottest loop: signed 32-bit lanes, typed arrays and no call. Goes on from entry
 * `index` to the first that the windows do not have, and returns its number.
 */
function pinRemembered(
  source: Int32Array,
  window: WritableWindow,
  pins: PinWindow,
  index: number,
  count: number,
  target: Int32Array,
  at: number,
): number {
  const table = window.frames;
  const first = window.first | 0;
  const counts = pins.counts;
  const firstCount = pins.first | 0;
  // Page numbers from 2^31 on (8 TiB) do not fit the lanes; frame 0 has to fall before the counts.
  if (window.first >= 2 ** 31 || firstCount === 0) return index;
  const beyondTable = ~(table.length - 1);
  const beyondCounts = ~(counts.length - 1);
  const shift = at << 1;
  const end = count << 1;
  let from = index << 1;
  // By four, as one test then decides for all four, which takes two thirds of the time.
  for (; from + 8 <= end; from += 8) {
    const high0 = source[from + 1] as number;
    const high1 = source[from + 3] as number;
    const high2 = source[from + 5] as number;
    const high3 = source[from + 7] as number;
    const slot0 = (((high0 << 20) | ((source[from] as number) >>> 12)) - first) | 0;
    const slot1 = (((high1 << 20) | ((source[from + 2] as number) >>> 12)) - first) | 0;
    const slot2 = (((high2 << 20) | ((source[from + 4] as number) >>> 12)) - first) | 0;
    const slot3 = (((high3 << 20) | ((source[from + 6] as number) >>> 12)) - first) | 0;
    const outside = (slot0 | slot1 | slot2 | slot3) & beyondTable;
    if ((((high0 | high1 | high2 | high3) >>> 11) | outside) !== 0) break;
    const frame0 = table[slot0] as number;
    const frame1 = table[slot1] as number;
    const frame2 = table[slot2] as number;
    const frame3 = table[slot3] as number;
    const count0 = (frame0 - firstCount) | 0;
    const count1 = (frame1 - firstCount) | 0;
    const count2 = (frame2 - firstCount) | 0;
    const count3 = (frame3 - firstCount) | 0;
    const unknown = (count0 | count1 | count2 | count3) & beyondCounts;
    if (unknown !== 0) break;
    const pins0 = counts[count0] as number;
    const pins1 = counts[count1] as number;
    const pins2 = counts[count2] as number;
    const pins3 = counts[count3] as number;
    if (((pins0 | pins1 | pins2 | pins3) & MANY_PINS) !== 0) break;
    // One frame may be named more than once: each count is read again.
    counts[count0] = pins0 + 1;
    counts[count1] = (counts[count1] as number) + 1;
    counts[count2] = (counts[count2] as number) + 1;
    counts[count3] = (counts[count3] as number) + 1;
    const to = from + shift;
    target[to] = frame0 << 12;
    target[to + 1] = frame0 >>> 20;
    target[to + 2] = frame1 << 12;
    target[to + 3] = frame1 >>> 20;
    target[to + 4] = frame2 << 12;
    target[to + 5] = frame2 >>> 20;
    target[to + 6] = frame3 << 12;
    target[to + 7] = frame3 >>> 20;
  }
  for (; from < end; from += 2) {
    const high = source[from + 1] as number;
    const slot = (((high << 20) | ((source[from] as number) >>> 12)) - first) | 0;
    if (((high >>> 11) | (slot & beyondTable)) !== 0) return from >> 1;
    const frame = table[slot] as number;
    const counter = (frame - firstCount) | 0;
    if (frame <= 0 || (counter & beyondCounts) !== 0) return from >> 1;
    const references = counts[counter] as number;
    if ((references & MANY_PINS) !== 0) return from >> 1;
    counts[counter] = references + 1;
    target[from + shift] = frame << 12;
    target[from + shift + 1] = frame >>> 20;
  }
  return count;
}
