import { PAGE_LIST } from "../../optee-abi/index.ts";

/** The page that holds an address, where there is one that can be read. */
export type PageOf = (at: number) => Uint8Array | undefined;

/** Memory that need not be in one piece: the address of its byte `offset`, undefined where it has none. */
export type Span = (offset: number) => number | undefined;

const { pageSize: PAGE, entries: ENTRIES, link: LINK } = PAGE_LIST;
/** Addresses of memory are below this; a page number then stays exact. */
const LIMIT = 2 ** 52;
/** List pages that are followed for one address: 32,704 data pages, 127 MiB. */
const MAX_LISTS = 64;

export const flat =
  (at: number): Span =>
  (offset) =>
    at + offset;

export const shifted =
  (span: Span, by: number): Span =>
  (offset) =>
    span(by + offset);

/** `pages` in a row, the first from byte `start` on. */
export const paged =
  (pages: readonly number[], start: number): Span =>
  (offset) => {
    const at = start + offset;
    const page = pages[Math.floor(at / PAGE)];
    return page === undefined ? undefined : page + (at % PAGE);
  };

/** What a page list names (MSG-1.4), looked up entry by entry as it is needed; `pointer` is buf_ptr. */
export function listed(pageOf: PageOf, pointer: number): Span {
  const start = pointer % PAGE;
  return (offset) => {
    const at = start + offset;
    const index = Math.floor(at / PAGE);
    const list = listPage(pageOf, pointer - start, Math.floor(index / ENTRIES));
    const page = list === undefined ? undefined : wordAt(list, index % ENTRIES);
    return page === undefined || page % PAGE !== 0 ? undefined : page + (at % PAGE);
  };
}

/** The first `count` pages that a list names; undefined where one of them cannot be found. */
export function pagesListed(pageOf: PageOf, pointer: number, count: number): number[] | undefined {
  const pages: number[] = [];
  let list = pageOf(pointer - (pointer % PAGE));
  while (list !== undefined) {
    for (let index = 0; index < ENTRIES && pages.length < count; index += 1) {
      const page = wordAt(list, index);
      if (page === undefined || page % PAGE !== 0) return undefined;
      pages.push(page);
    }
    if (pages.length === count) return pages;
    const next = wordAt(list, LINK);
    list = next === undefined || next % PAGE !== 0 ? undefined : pageOf(next);
  }
  return undefined;
}

function listPage(pageOf: PageOf, first: number, number: number): Uint8Array | undefined {
  if (!(number < MAX_LISTS)) return undefined;
  let list = first < LIMIT ? pageOf(first) : undefined;
  for (let step = 0; step < number && list !== undefined; step += 1) {
    const next = wordAt(list, LINK);
    list = next === undefined || next % PAGE !== 0 ? undefined : pageOf(next);
  }
  return list;
}

/** Entry `index` of a list page, where it is an address that memory could have. */
function wordAt(list: Uint8Array, index: number): number | undefined {
  const view = new DataView(list.buffer, list.byteOffset + index * 8, 8);
  const word = view.getUint32(4, true) * 0x1_0000_0000 + view.getUint32(0, true);
  return word < LIMIT ? word : undefined;
}

/** A copy of the first `length` bytes; undefined unless all of them can be read. */
export function readSpan(pageOf: PageOf, span: Span, length: number): Uint8Array | undefined {
  const out = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const at = span(done);
    if (at === undefined || !(at < LIMIT)) return undefined;
    const page = pageOf(at);
    if (page === undefined) return undefined;
    const from = at % PAGE;
    const count = Math.min(PAGE - from, length - done);
    out.set(page.subarray(from, from + count), done);
    done += count;
  }
  return out;
}
