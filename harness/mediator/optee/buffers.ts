import type { Chained } from "../../base/index.ts";
import { type Frames, type OwnerId, type PinRecord, frameOfEntry } from "../../machine/index.ts";
import { CookieTable } from "../cookies.ts";
import type { PageHeap } from "../heap.ts";
import type { RuleSet } from "../rules.ts";

/** Outcome of a translation step, in the Xen mediator's words. */
export const STATUS = { ok: 0, enomem: 1, einval: 2 } as const;
export type Status = (typeof STATUS)[keyof typeof STATUS];

export type BufferKind = "temporary" | "registering" | "registered" | "rpc";

/** Up to so many pages (64 KiB and an offset) the memory of entries is used again. */
const KEPT_PAGES = 17;

/** Memory for the entries of one buffer. */
class EntryStore {
  readonly words: Int32Array;
  readonly bytes: Uint8Array;

  constructor(pages: number) {
    this.words = new Int32Array(pages * 2);
    this.bytes = new Uint8Array(this.words.buffer);
  }
}

/** A guest buffer that the secure world may use: its pages are pinned until it is closed. */
export class ShmBuffer implements Chained<ShmBuffer>, PinRecord {
  readonly cookieHigh: number;
  readonly cookieLow: number;
  readonly owner: OwnerId;
  /** Pages that the quota was charged for. */
  readonly reserved: number;
  /** The addresses of the pinned pages as the secure world reads them: two words each. */
  readonly entries: Int32Array;
  /** The same as bytes. */
  readonly bytes: Uint8Array;
  readonly store: EntryStore;
  /** How many entries are filled; less than `reserved` only during a walk that fails. */
  count = 0;
  kind: BufferKind;
  closed = false;
  /** The cookie table's own link. */
  older: ShmBuffer | undefined;
  before: PinRecord | undefined;
  after: PinRecord | undefined;
  /** Frames of the mediator's own page list, while the secure world may read it. */
  lists: number[] = [];

  constructor(
    cookie: { readonly high: number; readonly low: number },
    owner: OwnerId,
    pages: number,
    kind: BufferKind,
    store: EntryStore,
  ) {
    this.cookieHigh = cookie.high;
    this.cookieLow = cookie.low;
    this.owner = owner;
    this.reserved = pages;
    this.store = store;
    this.entries = store.words;
    this.bytes = store.bytes;
    this.kind = kind;
  }

  get reason(): string {
    return `${this.kind} shared memory`;
  }

  frames(): Iterable<number> {
    return Int32Array.from({ length: this.count }, (_, index) => frameOfEntry(this.entries, index));
  }
}

/** All shared buffers of one VM with its quotas. Registered, temporary and RPC buffers share them. */
export class BufferTable {
  readonly #table = new CookieTable<ShmBuffer>();
  readonly #rules: RuleSet;
  readonly #frames: Frames;
  readonly #heap: PageHeap;
  readonly #owner: OwnerId;
  readonly #idle: EntryStore[] = [];
  #pages = 0;

  constructor(rules: RuleSet, frames: Frames, heap: PageHeap, owner: OwnerId) {
    this.#rules = rules;
    this.#frames = frames;
    this.#heap = heap;
    this.#owner = owner;
  }

  get count(): number {
    return this.#table.size;
  }

  /** Pages charged to the quota. */
  get pages(): number {
    return this.#pages;
  }

  find(high: number, low: number): ShmBuffer | undefined {
    return this.#table.get(high, low);
  }

  /** MED-062: charges the quotas and enters the cookie, or says why not and changes nothing. */
  open(high: number, low: number, pages: number, kind: BufferKind): ShmBuffer | Status {
    if (this.#table.size >= this.#rules.maxBuffers) return STATUS.enomem;
    if (this.#pages + pages > this.#rules.maxPages) return STATUS.enomem;
    if (!this.#heap.admits("buffer")) return STATUS.enomem;
    if (this.#table.get(high, low) !== undefined) return STATUS.einval;
    const store = this.#takeStore(pages);
    const buffer = new ShmBuffer({ high, low }, this.#owner, pages, kind, store);
    this.#table.add(buffer);
    this.#pages += pages;
    this.#frames.addRecord(buffer);
    return buffer;
  }

  /** Unpins every page, gives the page list and the quota back. Idempotent. */
  close(buffer: ShmBuffer): void {
    if (buffer.closed) return;
    buffer.closed = true;
    this.#table.delete(buffer);
    this.#frames.dropRecord(buffer);
    this.freeLists(buffer);
    // MED-068: Xen gives back what was pinned, which after a failed walk is less than was charged.
    this.#pages -= this.#rules.leakPageQuota ? buffer.count : buffer.reserved;
    const { entries, count } = buffer;
    buffer.count = 0;
    this.#frames.unpinEntries(entries, count);
    if (buffer.store.words.length <= KEPT_PAGES * 2) this.#idle.push(buffer.store);
  }

  /** Room for `pages` entries: what a small buffer left behind, as typed arrays are dear to make. */
  #takeStore(pages: number): EntryStore {
    const idle = this.#idle.pop();
    if (idle !== undefined && idle.words.length >= pages * 2) return idle;
    return new EntryStore(pages <= KEPT_PAGES ? KEPT_PAGES : pages);
  }

  /** Frees the mediator's page list of a buffer; its pages stay pinned. */
  freeLists(buffer: ShmBuffer): void {
    for (const frame of buffer.lists) this.#heap.release(frame);
    buffer.lists = [];
  }

  all(): ShmBuffer[] {
    return this.#table.values();
  }
}
