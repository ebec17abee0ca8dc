import type { Core } from "./core.ts";
import { SecureMutex } from "./sync.ts";
import type { SecureTask, Thread } from "./thread.ts";

/** Asynchronous values are 0 to this one; synchronous ones follow when both are built (SMC-7.1). */
export const ASYNC_VALUE_MAX = 63;

/**
 * A driver of the secure world that notifies a normal world. Events "started" and "shutdown" come in
 * a fast call and name the guest (0 without virtualization); the others in a thread of the guest.
 */
export interface NotificationDriver {
  atomic?(event: "started" | "shutdown", clientId: number): void;
  yielding?(event: "bottom-half" | "stopped", thread: Thread): SecureTask;
}

/** What one guest has pending, and whether it listens (SMC-7.5). */
export class Notifications {
  readonly #core: Core;
  readonly #clientId: number;
  readonly #pending = new Uint8Array(ASYNC_VALUE_MAX + 1);
  readonly #serial = new SecureMutex();
  #started = false;

  constructor(core: Core, clientId: number) {
    this.#core = core;
    this.#clientId = clientId;
  }

  get started(): boolean {
    return this.#started;
  }

  /** ENABLE_ASYNC_NOTIF: tells the drivers, once (SMC-7.2). */
  start(): void {
    if (this.#started) return;
    this.#started = true;
    for (const driver of this.#core.drivers) driver.atomic?.("started", this.#clientId);
  }

  /** The guest goes. */
  shutDown(): void {
    for (const driver of this.#core.drivers) driver.atomic?.("shutdown", this.#clientId);
  }

  /** Makes `value` pending and raises the interrupt, as a driver may that found it started. */
  send(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > ASYNC_VALUE_MAX) {
      throw new RangeError(`asynchronous notification ${value}, not 0 to ${ASYNC_VALUE_MAX}`);
    }
    this.#pending[value] = 1;
    this.#core.notifications.raise();
  }

  /** The lowest pending value, which it clears; undefined for a spurious interrupt (SMC-7.3). */
  take(): { readonly value: number; readonly more: boolean } | undefined {
    const value = this.#pending.indexOf(1);
    if (value < 0) return undefined;
    this.#pending[value] = 0;
    return { value, more: this.#pending.includes(1) };
  }

  /** DO_BOTTOM_HALF: the drivers' work that needs a thread; nothing unless started (SMC-7.4). */
  *bottomHalf(thread: Thread): SecureTask {
    yield* this.#serial.lock(thread);
    if (this.#started) {
      for (const driver of this.#core.drivers) {
        if (driver.yielding !== undefined) yield* driver.yielding("bottom-half", thread);
      }
    }
    yield* this.#serial.unlock(thread);
  }

  /** STOP_ASYNC_NOTIF. Drivers left to tell are not told when the guest starts again meanwhile. */
  *stop(thread: Thread): SecureTask {
    yield* this.#serial.lock(thread);
    if (this.#started) {
      this.#started = false;
      for (const driver of this.#core.drivers) {
        if (driver.yielding !== undefined) yield* driver.yielding("stopped", thread);
        if (this.started) break;
      }
    }
    yield* this.#serial.unlock(thread);
  }
}
