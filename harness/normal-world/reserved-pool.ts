import { type Ipa, PAGE_SIZE } from "../machine/index.ts";
import type { Kernel } from "./kernel.ts";
import type { TeeShm } from "./shm.ts";
import type { TeeContext } from "./tee-context.ts";

/** The static pool: contiguous memory that the secure world reserved for sharing. */
export class ReservedPool {
  readonly #kernel: Kernel;
  readonly #base: number;
  readonly #used: boolean[];

  constructor(kernel: Kernel, range: { readonly base: number; readonly size: number } | undefined) {
    this.#kernel = kernel;
    this.#base = range?.base ?? 0;
    this.#used = Array.from({ length: (range?.size ?? 0) / PAGE_SIZE }, () => false);
  }

  /** First fit of whole pages, zeroed; undefined when there is no such hole. */
  allocate(size: number, context?: TeeContext, id = 0): TeeShm | undefined {
    const count = Math.max(1, Math.ceil(size / PAGE_SIZE));
    let start = 0;
    for (let page = 0; page < this.#used.length; page += 1) {
      if (this.#used[page] === true) start = page + 1;
      else if (page - start + 1 === count) return this.#take(start, count, size, context, id);
    }
    return undefined;
  }

  free(shm: TeeShm): void {
    for (const page of shm.span.pages) this.#used[(page - this.#base) / PAGE_SIZE] = false;
    this.#kernel.freeShm(shm);
  }

  #take(
    start: number,
    count: number,
    size: number,
    context: TeeContext | undefined,
    id: number,
  ): TeeShm {
    this.#used.fill(true, start, start + count);
    const pages = Array.from(
      { length: count },
      (_, index) => (this.#base + (start + index) * PAGE_SIZE) as Ipa,
    );
    const span = this.#kernel.span(pages, 0, size);
    span.write(new Uint8Array(size));
    return this.#kernel.makeShm({ id, context, span, size, kind: "reserved" });
  }
}
