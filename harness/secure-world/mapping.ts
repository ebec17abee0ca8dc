import { ADDRESS_LIMIT, PAGE_MASK, PAGE_SIZE, type Pa } from "../machine/index.ts";
import { PAGE_LIST } from "../optee-abi/index.ts";
import type { Core } from "./core.ts";
import { SharedPages } from "./memory-object.ts";
import type { Partition } from "./partition.ts";

const TWO_32 = 0x1_0000_0000;
const HIGH_LIMIT = ADDRESS_LIMIT / TWO_32;

/** Core heap that a registered object takes: a header and one address for each page, in bytes. */
export const registeredObjectHeap = (pages: number): number => 64 + 8 * pages;

/** `size` bytes at `pa` when they lie wholly in the reserved shared memory. */
export function reservedShm(core: Core, pa: number, size: number): SharedPages | undefined {
  const pool = core.build.reservedShm;
  if (pool === undefined || pa < pool.base || pa + size > pool.base + pool.size) return undefined;
  const first = Math.floor(pa / PAGE_SIZE) * PAGE_SIZE;
  const count = Math.ceil((pa + size - first) / PAGE_SIZE);
  const pages = Array.from({ length: count }, (_, index) => (first + index * PAGE_SIZE) as Pa);
  return new SharedPages(core.memory, pages, pa - first, size);
}

/** The page of non-secure RAM at `pa`, which is page aligned, when `size` bytes fit in it. */
export function wholePage(partition: Partition, pa: number, size: number): SharedPages | undefined {
  if (pa % PAGE_SIZE !== 0 || size > PAGE_SIZE || !canShare(partition, pa)) return undefined;
  return new SharedPages(partition.core.memory, [pa as Pa], 0, PAGE_SIZE);
}

/** Whether the page at `pa` can be shared: non-secure RAM that the guest has not lent. */
export const canShare = (partition: Partition, pa: number): boolean =>
  isNonSecureRam(partition.core, pa) && !(partition.lent.count > 0 && partition.lent.holds(pa));

/** Whether a page of non-secure RAM is at `pa`. */
export function isNonSecureRam(core: Core, pa: number): boolean {
  if (pa >= ADDRESS_LIMIT || !core.build.dynamicShm) return false;
  const { memory } = core;
  return memory.backs?.(pa as Pa) ?? memory.page(pa as Pa) !== undefined;
}

/**
 * Reads the page list of a NONCONTIG reference (MSG-1.4): each entry once, every address aligned
 * and non-secure RAM, links only where more entries are needed. Undefined for any violation, or when
 * the heap has no room for the object.
 */
export function extractPages(
  partition: Partition,
  bufPtr: number,
  size: number,
): SharedPages | undefined {
  const { core } = partition;
  if (bufPtr >= ADDRESS_LIMIT || size >= ADDRESS_LIMIT) return undefined;
  const offset = bufPtr & PAGE_MASK;
  if (size + offset === 0) return undefined;
  const count = Math.floor((size + offset - 1) / PAGE_SIZE) + 1;
  if (!partition.heapHasRoom(registeredObjectHeap(count))) return undefined;
  const pages: Pa[] = [];
  let listPa = bufPtr - offset;
  for (;;) {
    const list = canShare(partition, listPa) ? core.memory.page(listPa as Pa) : undefined;
    if (list === undefined) return undefined;
    const words = core.lists.of(Math.floor(listPa / PAGE_SIZE), list);
    const here = Math.min(PAGE_LIST.entries, count - pages.length);
    for (let index = 0; index < here; index += 1) {
      const page = entry(words, index);
      if (page === undefined || !canShare(partition, page)) return undefined;
      pages.push(page as Pa);
    }
    if (pages.length === count) break;
    const next = entry(words, PAGE_LIST.link);
    if (next === undefined) return undefined;
    listPa = next;
  }
  return new SharedPages(core.memory, pages, offset, count * PAGE_SIZE - offset);
}

/** Word `index` of a list page when it is a page-aligned address below 2^52. */
function entry(words: DataView, index: number): number | undefined {
  const low = words.getUint32(index * 8, true);
  const high = words.getUint32(index * 8 + 4, true);
  return (low & PAGE_MASK) === 0 && high < HIGH_LIMIT ? high * TWO_32 + low : undefined;
}
