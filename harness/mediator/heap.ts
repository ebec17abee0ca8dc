import {
  type Frames,
  HYPERVISOR,
  PAGE_SIZE,
  type Pa,
  type PhysicalMemory,
  frameToPa,
} from "../machine/index.ts";

/** What is allocated, for tests that inject failures. */
export type Allocation = "call" | "argument" | "page-list" | "buffer" | "rpc-argument";

/** The mediator's own pages, from a window of physical memory; freed pages are used again first. */
export class PageHeap {
  readonly memory: PhysicalMemory;
  readonly #frames: Frames;
  readonly #free: number[] = [];
  readonly #fails: ((what: Allocation) => boolean) | undefined;
  #used = 0;

  constructor(
    frames: Frames,
    memory: PhysicalMemory,
    fails: ((what: Allocation) => boolean) | undefined,
  ) {
    this.#frames = frames;
    this.memory = memory;
    this.#fails = fails;
  }

  /** Pages in use now. */
  get used(): number {
    return this.#used;
  }

  /** A page's frame, or -1 when the window is used up. Its contents are whatever was there. */
  allocate(what: Allocation): number {
    if (!this.admits(what)) return -1;
    const frame = this.#free.pop() ?? this.#frames.allocate(HYPERVISOR) ?? -1;
    if (frame >= 0) this.#used += 1;
    return frame;
  }

  /** Whether book-keeping for `what` may be made; false only under injected failures. */
  admits(what: Allocation): boolean {
    return this.#fails === undefined || !this.#fails(what);
  }

  release(frame: number): void {
    this.#used -= 1;
    this.#free.push(frame);
  }

  /** The bytes of one of the heap's pages, valid until the next SMC. */
  bytes(frame: number): Uint8Array {
    const page = this.memory.page(frameToPa(frame));
    if (page === undefined) {
      throw new RangeError(`the mediator's heap page at frame ${frame} is not RAM`);
    }
    return page;
  }

  dirty(frame: number, length: number = PAGE_SIZE, offset = 0): void {
    this.memory.dirty((frameToPa(frame) + offset) as Pa, length);
  }
}
