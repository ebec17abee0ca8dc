import { type Ipa, PAGE_SIZE } from "../machine/index.ts";
import { encodePageList, listPagesFor } from "../optee-abi/index.ts";
import type { Kernel } from "./kernel.ts";

/**
 * Writes a NONCONTIG page list of `pages` into fresh kernel pages; the caller drops them. The first
 * list page's address is that of `buf_ptr`. Undefined when memory is short.
 */
export function makePageList(kernel: Kernel, pages: readonly Ipa[]): Ipa[] | undefined {
  const list = kernel.pages.allocate(Math.max(1, listPagesFor(pages.length)));
  if (list === undefined) return undefined;
  const { memory } = kernel.conduit;
  const bytes = list.map((page) => memory.page(page) ?? new Uint8Array(PAGE_SIZE));
  encodePageList(pages, list, bytes);
  for (const page of list) memory.dirty(page, PAGE_SIZE);
  return list;
}
