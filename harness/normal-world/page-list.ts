import { type Ipa, PAGE_SIZE } from "../machine/index.ts";
import { encodePageList, listPagesFor, PAGE_LIST } from "../optee-abi/index.ts";
import type { Kernel } from "./kernel.ts";

/**
 * Writes a NONCONTIG page list of `pages` into fresh kernel pages; the caller drops them. The first
 * list page's address is that of `buf_ptr`. Undefined when memory is short. As in Linux the list pages
 * are adjacent, and a list that fills its last page links to whatever lies behind it (SMC-9.10).
 */
export function makePageList(kernel: Kernel, pages: readonly Ipa[]): Ipa[] | undefined {
  const count = Math.max(1, listPagesFor(pages.length));
  const list = count === 1 ? kernel.pages.allocate(1) : kernel.pages.allocateContiguous(count);
  if (list === undefined) return undefined;
  const { memory } = kernel.conduit;
  const views: DataView[] = [];
  for (let index = 0; index < count; index += 1) {
    const page = list[index] as Ipa;
    views.push(kernel.views.of(page / PAGE_SIZE, memory.page(page) ?? new Uint8Array(PAGE_SIZE)));
  }
  encodePageList(pages, list, views);
  const last = views.at(-1);
  if (last !== undefined && pages.length > 0 && pages.length % PAGE_LIST.entries === 0) {
    last.setBigUint64(PAGE_LIST.link * 8, BigInt((list.at(-1) ?? 0) + PAGE_SIZE), true);
  }
  for (const page of list) memory.dirty(page, PAGE_SIZE);
  return list;
}
