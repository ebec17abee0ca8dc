import type { Ipa } from "../machine/index.ts";
import type { PageSpan } from "./pages.ts";
import type { ProtectedBuffer } from "./protected-heap.ts";
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
  /** What it is made of: pool or private pages, the caller's pages, the reserved pool, a dma-buf. */
  readonly kind: "pages" | "user" | "reserved" | "protected";
  /** The dma-buf that a protected object is made of. */
  readonly protectedBuffer: ProtectedBuffer | undefined;
  /** The secure world has it in its table of registered objects. */
  registered: boolean;
  references: number;
}

/** Drops a reference that is not the last; false, with none left, when its memory has to go. */
export function dropReference(shm: TeeShm): boolean {
  shm.references -= 1;
  return shm.references > 0;
}

/** Upper half of a kernel pointer to the linear map. */
export const POINTER_HIGH = 0xffff_0000;
const POINTER_BASE = 0x0180_0000;
const POINTER_STEP = 0x100;

/** Kernel pointers: addresses of freed objects are handed out again, the latest first. */
export class KernelPointers<T> {
  /** By (pointer - base) / step: a plain array, as objects come and go with every temporary buffer. */
  readonly #objects: (T | undefined)[] = [];
  readonly #reusable: number[] = [];
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Takes an address, of which the lower half is given; `set` follows. */
  take(): number {
    return (
      this.#reusable.pop() ?? POINTER_BASE + (this.#objects.push(undefined) - 1) * POINTER_STEP
    );
  }

  set(low: number, object: T): void {
    this.#objects[slotOf(low)] = object;
    this.#size += 1;
  }

  find(high: number, low: number): T | undefined {
    return high === POINTER_HIGH ? this.#objects[slotOf(low)] : undefined;
  }

  free(low: number): void {
    if (this.#objects[slotOf(low)] === undefined) return;
    this.#objects[slotOf(low)] = undefined;
    this.#size -= 1;
    this.#reusable.push(low);
  }
}

/** Negative or a fraction, which no array has, for what is not an object's address. */
const slotOf = (low: number): number => (low - POINTER_BASE) / POINTER_STEP;

/** The first byte's address, where the object is one contiguous range. */
export const shmAddress = (shm: TeeShm): Ipa => ((shm.span.pages[0] ?? 0) + shm.span.offset) as Ipa;
