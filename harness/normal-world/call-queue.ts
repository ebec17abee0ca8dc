import { type Task, WaitQueue } from "../machine/index.ts";

/**
 * Calls of one kernel that wait for a secure thread (SMC-9.2): with a known thread count the kernel
 * limits itself; in any case ETHREAD_LIMIT makes a call wait until another of this kernel completes.
 */
export class CallQueue {
  readonly #limit: number;
  readonly #waiting = new WaitQueue("optee call queue");
  readonly #systemWaiting = new WaitQueue("optee call queue of system sessions");
  #systemSessions = 0;
  #running = 0;

  /** `limit` 0: rely on ETHREAD_LIMIT. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  get running(): number {
    return this.#running;
  }

  /** Keeps one thread for system sessions; false where there is no second one (SMC-9.2). */
  addSystemSession(): boolean {
    if (this.#limit <= 1) return false;
    this.#systemSessions += 1;
    return true;
  }

  removeSystemSession(): void {
    this.#systemSessions -= 1;
  }

  /** Begins a call where that needs no waiting; false, and nothing done, otherwise. */
  tryBegin(system = false): boolean {
    const kept = system || this.#systemSessions === 0 ? 0 : 1;
    if (this.#limit > 0 && this.#limit - this.#running <= kept) return false;
    this.#running += 1;
    return true;
  }

  *begin(system = false): Task {
    while (!this.tryBegin(system)) yield system ? this.#systemWaiting : this.#waiting;
  }

  /** After ETHREAD_LIMIT: until another call completes. */
  *waitForCompletion(system = false): Task {
    yield system ? this.#systemWaiting : this.#waiting;
  }

  end(): void {
    this.#running -= 1;
    if (this.#systemWaiting.wake() === 0) this.#waiting.wake();
  }
}
