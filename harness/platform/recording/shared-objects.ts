import { PAGE_LIST, pagesFor } from "../../optee-abi/index.ts";
import { flat, type PageOf, paged, pagesListed, type Span } from "./spans.ts";

/** Memory that is known by a cookie, of `size` bytes. */
export interface SharedObject {
  readonly span: Span;
  readonly size: number;
  readonly pages: number;
}

/** Pages of all objects of one normal world that are kept: 1 GiB. */
const MAX_PAGES = 262_144;

/** The object behind a page list; undefined where it is no proper list, or too large. */
export function listedObject(
  pageOf: PageOf,
  pointer: number,
  size: number,
): SharedObject | undefined {
  const start = pointer % PAGE_LIST.pageSize;
  const count = pagesFor(size, start);
  if (count === 0 || !(count <= MAX_PAGES)) return undefined;
  const pages = pagesListed(pageOf, pointer, count);
  if (pages === undefined) return undefined;
  // Up to the end of the last page, whatever the size says (MSG-1.4.6).
  const whole = count * PAGE_LIST.pageSize - start;
  return { span: paged(pages, start), size: whole, pages: count };
}

export const flatObject = (at: number, size: number): SharedObject => ({
  span: flat(at),
  size,
  pages: 1,
});

/**
 * What a normal world has shared: cookies learnt from REGISTER_SHM and from answers to SHM_ALLOC.
 * Duplicates are legal: the newest is found, and the older again when it is gone (MSG-2.3.1).
 */
export class SharedObjects {
  readonly #byCookie = new Map<bigint, SharedObject[]>();
  #pages = 0;

  find(cookie: bigint): SharedObject | undefined {
    return this.#byCookie.get(cookie)?.at(-1);
  }

  /** Beyond the limit nothing more is learnt: what is not found has no data in the trace. */
  add(cookie: bigint, object: SharedObject): void {
    if (this.#pages + object.pages > MAX_PAGES) return;
    this.#pages += object.pages;
    const known = this.#byCookie.get(cookie);
    if (known === undefined) this.#byCookie.set(cookie, [object]);
    else known.push(object);
  }

  remove(cookie: bigint): void {
    const known = this.#byCookie.get(cookie);
    const last = known?.pop();
    if (known === undefined || last === undefined) return;
    this.#pages -= last.pages;
    if (known.length === 0) this.#byCookie.delete(cookie);
  }
}
