import { PAGE_SIZE } from "../machine/index.ts";
import type { MemoryRange } from "./probe.ts";

/** A dma-buf of the protected heap: memory that the normal world can name but not touch. */
export interface ProtectedBuffer {
  readonly heap: ProtectedHeap;
  /** Physical address. */
  readonly address: number;
  readonly size: number;
  /** Descriptors, and shared-memory objects made of it. */
  references: number;
}

/** The secure world's static protected memory as a dma-buf heap (SMC-9.P9, TEE-3.3.SHM_REGISTER_FD). */
export class ProtectedHeap {
  readonly #range: MemoryRange;
  readonly #buffers = new Set<ProtectedBuffer>();

  constructor(range: MemoryRange) {
    this.#range = range;
  }

  get buffers(): number {
    return this.#buffers.size;
  }

  /** First fit of whole pages; undefined when there is no such hole. */
  allocate(size: number): ProtectedBuffer | undefined {
    const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    let address = this.#range.base;
    for (const one of [...this.#buffers].toSorted((a, b) => a.address - b.address)) {
      if (one.address - address >= rounded) break;
      address = one.address + one.size;
    }
    if (rounded === 0 || address + rounded > this.#range.base + this.#range.size) return undefined;
    const buffer = { heap: this, address, size: rounded, references: 1 };
    this.#buffers.add(buffer);
    return buffer;
  }

  drop(buffer: ProtectedBuffer): void {
    buffer.references -= 1;
    if (buffer.references === 0) this.#buffers.delete(buffer);
  }
}
