/**
 * NONCONTIG page lists (sheet MSG section 1.4): list pages of 4096 bytes hold 512 64-bit words;
 * words 0 to 510 are page addresses, word 511 is the address of the next list page.
 */
export const PAGE_LIST = {
  pageSize: 4096,
  entries: 511,
  link: 511,
  offsetMask: 0xfff,
} as const;

/** Pages that `size` bytes touch when they start `offset` bytes into the first; both below 2^52. */
export const pagesFor = (size: number, offset: number): number =>
  Math.ceil((size + offset) / PAGE_LIST.pageSize);

/** List pages that name `pages` data pages; the link is used only when more entries follow. */
export const listPagesFor = (pages: number): number => Math.ceil(pages / PAGE_LIST.entries);

/**
 * Writes the list of `pages` (addresses) into list pages that lie at `at` (addresses) and whose
 * bytes are `into`. Returns buf_ptr without offset. Throws RangeError when there is not enough room.
 */
export function encodePageList(
  pages: readonly number[],
  at: readonly number[],
  into: readonly (Uint8Array | DataView)[],
): number {
  const needed = Math.max(1, listPagesFor(pages.length));
  if (at.length < needed || into.length < needed) {
    throw new RangeError(`${pages.length} pages need ${needed} list pages`);
  }
  for (let list = 0; list < needed; list += 1) {
    const bytes = into[list];
    if (bytes === undefined || bytes.byteLength < PAGE_LIST.pageSize) {
      throw new RangeError("a list page has 4096 bytes");
    }
    const view = bytes instanceof DataView ? bytes : new DataView(bytes.buffer, bytes.byteOffset);
    const first = list * PAGE_LIST.entries;
    const count = Math.min(PAGE_LIST.entries, pages.length - first);
    for (let index = 0; index < count; index += 1) put(view, index, pages[first + index] ?? 0);
    if (list + 1 < needed) put(view, PAGE_LIST.link, at[list + 1] ?? 0);
  }
  return at[0] ?? 0;
}

/** Splits an address below 2^53 into the two halves of word `index`. */
function put(view: DataView, index: number, address: number): void {
  view.setUint32(index * 8, address >>> 0, true);
  view.setUint32(index * 8 + 4, Math.floor(address / 0x1_0000_0000), true);
}
