import { WaitQueue } from "./scheduler.ts";

/**
 * An interrupt line of the normal world, edge triggered as the interrupt controller keeps it: raising
 * it makes it pending, and it stays pending until somebody acknowledges it. Whoever raises it calls
 * nobody: a task that handles the interrupt waits on `raised` and runs when the scheduler lets it.
 */
export class InterruptLine {
  readonly name: string;
  /** Where handlers sleep; all are woken whenever the line is raised. */
  readonly raised: WaitQueue;
  #pending = false;

  constructor(name: string) {
    this.name = name;
    this.raised = new WaitQueue(name);
  }

  get pending(): boolean {
    return this.#pending;
  }

  raise(): void {
    this.#pending = true;
    this.raised.wakeAll();
  }

  /** Takes the interrupt. False when it is not pending: a spurious wake. */
  acknowledge(): boolean {
    const was = this.#pending;
    this.#pending = false;
    return was;
  }
}
