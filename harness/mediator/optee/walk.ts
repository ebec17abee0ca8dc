import {
  type Frames,
  MAPPING,
  MAX_PINS,
  PAGE_SIZE,
  type Stage2,
  frameToPa,
} from "../../machine/index.ts";
import { type MessageView, PAGE_LIST, WORD, listPagesFor } from "../../optee-abi/index.ts";
import { type BufferKind, STATUS, type ShmBuffer, type Status } from "./buffers.ts";
import type { OpteeGuest } from "./guest.ts";

const WORDS_PER_PAGE = PAGE_SIZE / 4;
const PAGE_HIGH = 2 ** 20;
const SLOT_HIGH = 2 ** 11;

/** Working copies of one guest list page and of the list page made from it. */
class Scratch {
  readonly source = new Uint32Array(WORDS_PER_PAGE);
  readonly sourceBytes = new Uint8Array(this.source.buffer);
  readonly target = new Uint32Array(WORDS_PER_PAGE);
  readonly targetBytes = new Uint8Array(this.target.buffer);
}

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
    : checkedPageCount(view, index, offset, rules.maxPagesPerBuffer);
  if (pages < 0) return STATUS.einval;
  // MED-060, and MED-067 for 0: the list order of no pages underflows and cannot be allocated.
  if (pages === 0 || pages > rules.maxPagesPerBuffer) return STATUS.enomem;

  // MED-061: the list comes first, then the book-keeping, as its order decides which error is seen.
  const lists: number[] = [];
  for (let list = listPagesFor(pages); list > 0; list -= 1) {
    const frame = heap.allocate("page-list");
    if (frame < 0) return giveBack(guest, lists, STATUS.enomem);
    lists.push(frame);
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

/** -1 for no pages and for a size that wraps; a number over `limit` for anything too large. */
function checkedPageCount(view: MessageView, index: number, offset: number, limit: number): number {
  const high = view.high(index, WORD.size);
  const low = view.low(index, WORD.size);
  if (high === 0xffff_ffff && low + offset > 0xffff_ffff) return -1;
  if (high >= PAGE_HIGH) return limit + 1;
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
    const bytes =
      stage2.kind(listPage) === MAPPING.ramRw
        ? heap.memory.page(frameToPa(stage2.frame(listPage)))
        : undefined;
    if (bytes === undefined) {
      good = false;
      break;
    }
    const count = Math.min(PAGE_LIST.entries, buffer.reserved - done);
    const last = done + count === buffer.reserved;
    scratch.sourceBytes.set(last ? bytes.subarray(0, count * 8) : bytes);
    const pinned = pinEntries(stage2, frames, scratch, count, buffer.pinned, done);
    done += pinned;
    buffer.count = done;
    if (pinned < count) {
      good = false;
      break;
    }
    if (!last) {
      const low = scratch.source[PAGE_LIST.link * 2] ?? 0;
      const high = scratch.source[PAGE_LIST.link * 2 + 1] ?? 0;
      listPage = high * PAGE_HIGH + (low >>> 12);
      const next = buffer.lists[list + 1] ?? 0;
      scratch.target[PAGE_LIST.link * 2] = next << 12;
      scratch.target[PAGE_LIST.link * 2 + 1] = next >>> 20;
    }
    const length = last ? count * 8 : PAGE_SIZE;
    const own = buffer.lists[list] ?? 0;
    heap.bytes(own).set(last ? scratch.targetBytes.subarray(0, length) : scratch.targetBytes);
    heap.dirty(own, length);
  }
  scratches.push(scratch);
  return good;
}

/**
 * Translates and pins `count` entries of `scratch.source` into `scratch.target`; returns how many
 * were good. The low 12 bits of an entry are dropped (MED-066). This is the mediator's hottest loop:
 * 32-bit lanes and typed arrays only, the table of the last 2 MiB kept at hand on both sides.
 */
export function pinEntries(
  stage2: Stage2,
  frames: Frames,
  scratch: { readonly source: Uint32Array; readonly target: Uint32Array },
  count: number,
  pinned: Uint32Array,
  at: number,
): number {
  const { source, target } = scratch;
  let slot = -1;
  let kinds: Uint8Array | undefined;
  let table: Uint32Array | undefined;
  let blockKind: number = MAPPING.none;
  let blockFrame = 0;
  let pinSlot = -1;
  let pins: Uint16Array | undefined;
  for (let index = 0; index < count; index += 1) {
    const low = source[index * 2] as number;
    const key = (source[index * 2 + 1] as number) * SLOT_HIGH + (low >>> 21);
    if (key !== slot) {
      const leaf = stage2.leaf(key);
      if (leaf === undefined) return index;
      slot = key;
      kinds = leaf.kinds;
      table = leaf.frames;
      blockKind = leaf.blockKind;
      blockFrame = leaf.blockFrame;
    }
    const page = (low >>> 12) & 511;
    const kind = kinds === undefined ? blockKind : kinds[page];
    if (kind !== MAPPING.ramRw) return index;
    const frame = table === undefined ? blockFrame + page : (table[page] as number);
    if (pins === undefined || frame >>> 9 !== pinSlot) {
      pins = frames.pinCounts(frame);
      pinSlot = frame >>> 9;
    }
    const references = pins[frame & 511] as number;
    if (references === MAX_PINS) return index;
    pins[frame & 511] = references + 1;
    pinned[at + index] = frame;
    target[index * 2] = frame << 12;
    target[index * 2 + 1] = frame >>> 20;
  }
  return count;
}
