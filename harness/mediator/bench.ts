import {
  Frames,
  GuestSpace,
  type Ipa,
  PAGE_SIZE,
  type PhysicalMemory,
  SparseMemory,
} from "../machine/index.ts";
import { Random } from "../base/index.ts";
import { PAGE_LIST } from "../optee-abi/index.ts";
import { pinEntries } from "./optee/walk.ts";

export interface PageListBench {
  /** Pages translated and pinned a second over entries copied a second; higher is better. */
  readonly ratio: number;
  readonly pagesPerSecond: number;
  readonly copiesPerSecond: number;
}

const RAM = { base: 0x4000_0000, size: 64 * 1024 * 1024 };
const FRAMES = { base: 0x30_0000_0000, size: 256 * 1024 * 1024 };
const LISTS = 32;
const ENTRIES = PAGE_LIST.entries;
const PASSES = 10;

/**
 * Translates and pins the pages of 32 full page lists (511 entries each, all of a VM's pages in a
 * random order, on scattered frames) by the mediator's own function, in turns with a plain copy of
 * the same entries; the fastest round of each counts. Unpinning is done and not counted.
 */
export function benchPageList(rounds = 60): PageListBench {
  const frames = new Frames([FRAMES], { scatter: 1 });
  const space = new GuestSpace(frames, memoryOf(), 2);
  if (!space.populate(RAM.base as Ipa, RAM.size)) throw new RangeError("no RAM for the VM");
  const lists = makeLists();
  const pinned = lists.map(({ length }) => new Int32Array(length * 2));
  const copies = lists.map(({ length }) => new BigUint64Array(length));
  const sources = lists.map((list) => new Int32Array(list.buffer));
  let pinMs = Infinity;
  let copyMs = Infinity;
  for (let round = 0; round < rounds; round += 1) {
    let start = performance.now();
    for (let pass = 0; pass < PASSES; pass += 1) {
      for (let list = 0; list < LISTS; list += 1) {
        copy(lists[list] as BigUint64Array, copies[list] as BigUint64Array);
      }
    }
    copyMs = Math.min(copyMs, performance.now() - start);
    start = performance.now();
    for (let pass = 0; pass < PASSES; pass += 1) {
      for (let list = 0; list < LISTS; list += 1) {
        const source = sources[list] as Int32Array;
        const target = pinned[list] as Int32Array;
        const done = pinEntries(space.stage2, frames, source, ENTRIES, target, 0);
        if (done !== ENTRIES) throw new RangeError(`only ${done} pages of a list were pinned`);
      }
    }
    pinMs = Math.min(pinMs, performance.now() - start);
    for (let pass = 0; pass < PASSES; pass += 1) {
      for (const target of pinned) frames.unpinEntries(target, ENTRIES);
    }
  }
  const entries = (LISTS * ENTRIES * PASSES * 1000) / 1;
  const [pagesPerSecond, copiesPerSecond] = [entries / pinMs, entries / copyMs];
  return { ratio: pagesPerSecond / copiesPerSecond, pagesPerSecond, copiesPerSecond };
}

function copy(from: BigUint64Array, to: BigUint64Array): void {
  for (let index = 0; index < from.length; index += 1) to[index] = from[index] as bigint;
}

function makeLists(): BigUint64Array[] {
  const random = new Random(1);
  const pages = Array.from({ length: RAM.size / PAGE_SIZE }, (_, page) => page);
  for (let left = pages.length; left > 1; left -= 1) {
    const other = random.below(left);
    [pages[left - 1], pages[other]] = [pages[other] as number, pages[left - 1] as number];
  }
  return Array.from({ length: LISTS }, (_, list) =>
    BigUint64Array.from({ length: ENTRIES }, (_entry, index) =>
      BigInt(RAM.base + (pages[list * ENTRIES + index] ?? 0) * PAGE_SIZE),
    ),
  );
}

const memoryOf = (): PhysicalMemory =>
  new SparseMemory([{ name: "guests", ...FRAMES, type: "ram" }]).view("normal");
