import { type Task, WaitQueue } from "../machine/index.ts";

/**
 * Calls of one kernel that wait for a secure thread (SMC-9.2): with a known thread count the kernel
 * limits itself; in any case ETHREAD_LIMIT makes a call wait until another of this kernel completes.
 */
export class CallQueue {
  readonly #limit: number;
  readonly #waiting = new WaitQueue("optee call queue");
  #running = 0;

  /** `limit` 0: rely on ETHREAD_LIMIT. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get running(): number {
    return this.#running;
  }

  *begin(): Task {
    while (this.#limit > 0 && this.#running >= this.#limit) yield this.#waiting;
    this.#running += 1;
  }

  /** After ETHREAD_LIMIT: until another call completes. */
  *waitForCompletion(): Task {
    yield this.#waiting;
  }

  end(): void {
    this.#running -= 1;
    this.#waiting.wake();
  }
}
