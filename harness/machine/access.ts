import type { Pa } from "./address.ts";

/** One access to physical memory, reported just before it takes effect. */
export interface Access {
  /** Who accesses, as the memory view was named: "mediator", "vm 2", "secure". */
  readonly by: string;
  readonly kind: "read" | "write";
  readonly at: Pa;
  readonly length: number;
}

/** Sees every access of every view of a memory; may change memory by `poke` before it happens. */
export type AccessProbe = (access: Access) => void;

/**
 * Records who read or wrote which bytes when, and runs `between` before every access, so that
 * read-once and time-of-check rules can be proved. Arm it with `memory.probe = recorder.probe`.
 */
export class AccessRecorder {
  readonly #log: Access[] = [];
  #between: AccessProbe | undefined;

  /** `between` runs before each access, after it was recorded; what it does itself is not seen. */
  constructor(between?: AccessProbe) {
    this.#between = between;
  }

  readonly probe: AccessProbe = (access) => {
    this.#log.push(access);
    const hook = this.#between;
    if (hook === undefined) return;
    this.#between = undefined;
    try {
      hook(access);
    } finally {
      this.#between = hook;
    }
  };

  /** Everything seen so far, oldest first. */
  get accesses(): readonly Access[] {
    return this.#log;
  }

  /** Accesses by `by` of `kind` that touch any byte of [at, at + length). */
  touching(at: Pa, length: number, kind: Access["kind"], by?: string): readonly Access[] {
    return this.#log.filter(
      (access) =>
        access.kind === kind &&
        (by === undefined || access.by === by) &&
        access.at < at + length &&
        access.at + access.length > at,
    );
  }

  /** How often each byte of [at, at + length) was accessed: the largest count is 1 for read-once. */
  timesPerByte(at: Pa, length: number, kind: Access["kind"], by?: string): Uint32Array {
    const counts = new Uint32Array(length);
    for (const access of this.touching(at, length, kind, by)) {
      const from = Math.max(access.at, at) - at;
      const to = Math.min(access.at + access.length, at + length) - at;
      for (let index = from; index < to; index += 1) counts[index] = (counts[index] ?? 0) + 1;
    }
    return counts;
  }

  clear(): void {
    this.#log.length = 0;
  }
}
