import type { Ipa } from "../machine/index.ts";
import type { PageSpan } from "./pages.ts";
import type { TeeContext } from "./tee-context.ts";

/**
 * A shared-memory object of the TEE subsystem (`struct tee_shm`). Its kernel pointer is the cookie
 * under which the secure world knows it.
 */
export interface TeeShm {
  /** From 1, global per device; 0 for objects that only the kernel has (TEE-3.3.1). */
  readonly id: number;
  readonly context: TeeContext | undefined;
  readonly span: PageSpan;
  readonly size: number;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** What it is made of: pool or private pages, the caller's pages, the reserved pool. */
  readonly kind: "pages" | "user" | "reserved";
  /** The secure world has it in its table of registered objects. */
  registered: boolean;
  references: number;
}

/** Upper half of a kernel pointer to the linear map. */
const POINTER_HIGH = 0xffff_0000;
const POINTER_STEP = 0x100;

/** Kernel pointers: addresses of freed objects are handed out again, the latest first. */
export class KernelPointers<T> {
  readonly #objects = new Map<number, T>();
  readonly #reusable: number[] = [];
  #next = 0x0180_0000;

  get size(): number {
    return this.#objects.size;
  }

  allocate(make: (high: number, low: number) => T): T {
    let low = this.#reusable.pop();
    if (low === undefined) {
      low = this.#next;
      this.#next += POINTER_STEP;
    }
    const object = make(POINTER_HIGH, low);
    this.#objects.set(low, object);
    return object;
  }

  find(high: number, low: number): T | undefined {
    return high === POINTER_HIGH ? this.#objects.get(low) : undefined;
  }

  free(low: number): void {
    if (this.#objects.delete(low)) this.#reusable.push(low);
  }
}

/** The first byte's address, where the object is one contiguous range. */
export const shmAddress = (shm: TeeShm): Ipa => ((shm.span.pages[0] ?? 0) + shm.span.offset) as Ipa;
