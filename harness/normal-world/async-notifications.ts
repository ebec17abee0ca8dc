import { type InterruptLine, type Scheduler, type Task, WaitQueue } from "../machine/index.ts";
import { ASYNC_NOTIF, OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import type { Ask } from "./probe.ts";

export interface NotificationInterruptOptions {
  readonly line: InterruptLine;
  readonly ask: Ask;
  /** Completes whoever waits for a value. */
  readonly send: (value: number) => void;
  /** The yielding call that lets drivers of the secure world work in a thread. */
  readonly bottomHalf: () => Task;
}

/** The handler of the secure world's notification interrupt, and its thread (SMC-7.3, SMC-7.4). */
export class NotificationInterrupt {
  readonly #options: NotificationInterruptOptions;
  readonly #work = new WaitQueue("optee bottom half");
  #bottomHalves = 0;
  #stopped = false;

  constructor(options: NotificationInterruptOptions) {
    this.#options = options;
  }

  start(scheduler: Scheduler, name: string): void {
    scheduler.spawn(`${name} optee interrupt`, this.#handler());
    scheduler.spawn(`${name} optee bottom half`, this.#thread());
  }

  /** Frees the interrupt: what is raised from now on reaches nobody here. */
  stop(): void {
    this.#stopped = true;
    this.#options.line.raised.wakeAll();
    this.#work.wakeAll();
  }

  *#handler(): Task {
    const { line } = this.#options;
    while (!this.#stopped) {
      if (line.acknowledge()) this.#drain();
      else yield line.raised;
    }
  }

  /** Takes values until none is pending. Runs without suspension, as an interrupt handler does. */
  #drain(): void {
    for (;;) {
      const answer = this.#options.ask(OPTEE_SMC.GET_ASYNC_NOTIF_VALUE);
      const flags = answer.get(2);
      if (answer.get(0) !== SMC_RETURN.OK || (flags & ASYNC_NOTIF.VALUE_VALID) === 0) return;
      const value = answer.get(1);
      if (value === ASYNC_NOTIF.DO_BOTTOM_HALF) {
        this.#bottomHalves += 1;
        this.#work.wake();
      } else {
        this.#options.send(value);
      }
      if ((flags & ASYNC_NOTIF.VALUE_PENDING) === 0) return;
    }
  }

  /** Several interrupts before it runs are one bottom half. */
  *#thread(): Task {
    while (!this.#stopped) {
      if (this.#bottomHalves === 0) {
        yield this.#work;
      } else {
        this.#bottomHalves = 0;
        yield* this.#options.bottomHalf();
      }
    }
  }
}
