import { type Task, WaitQueue } from "../machine/index.ts";

/** Synchronous notifications that the secure world waits for and sends through the kernel (SMC-9.9). */
export class Notifications {
  readonly #max: number;
  readonly #waiting = new Map<number, WaitQueue>();
  readonly #sent = new Set<number>();

  /** `max` is the largest value that the secure world announced. */
  constructor(max: number) {
    this.#max = max;
  }

  /** Waits for `value`, at most `timeoutMs` unless that is 0. */
  *wait(value: number, timeoutMs: number): Task<"sent" | "timeout" | "bad value"> {
    if (value > this.#max) return "bad value";
    if (this.#sent.delete(value)) return "sent";
    if (this.#waiting.has(value)) return "bad value";
    const queue = new WaitQueue(`notification ${value}`);
    this.#waiting.set(value, queue);
    try {
      const wake = yield timeoutMs > 0 ? { queue, timeoutMs } : queue;
      return wake === "timeout" ? "timeout" : "sent";
    } finally {
      this.#waiting.delete(value);
    }
  }

  /** False for a value out of range. Who waits later finds it sent already. */
  send(value: number): boolean {
    if (value > this.#max) return false;
    const queue = this.#waiting.get(value);
    if (queue === undefined) this.#sent.add(value);
    else queue.wake();
    return true;
  }
}
