import { type Clock, systemClock } from "./clock.ts";
import { DeadlineError, InterruptedError } from "./errors.ts";

/** A point in monotonic time by which something must have happened, passed down through every wait. */
export class Deadline {
  readonly what: string;
  readonly #at: number;
  readonly #clock: Clock;
  readonly #abort: AbortSignal | undefined;

  private constructor(what: string, at: number, clock: Clock, abort: AbortSignal | undefined) {
    this.what = what;
    this.#at = at;
    this.#clock = clock;
    this.#abort = abort;
  }

  /** A deadline `ms` milliseconds from now; `abort` ends every wait on it early. */
  static after(
    ms: number,
    what: string,
    options: { clock?: Clock; abort?: AbortSignal } = {},
  ): Deadline {
    const clock = options.clock ?? systemClock;
    return new Deadline(what, clock.monotonicMs() + ms, clock, options.abort);
  }

  get remainingMs(): number {
    return Math.max(0, this.#at - this.#clock.monotonicMs());
  }

  get expired(): boolean {
    return this.remainingMs === 0;
  }

  get abortSignal(): AbortSignal | undefined {
    return this.#abort;
  }

  /** The earlier of this deadline and `ms` from now. */
  within(ms: number, what: string): Deadline {
    const at = Math.min(this.#at, this.#clock.monotonicMs() + ms);
    return new Deadline(what, at, this.#clock, this.#abort);
  }

  /**
   * Waits for `work` until the deadline. Throws `DeadlineError` when time is up and
   * `InterruptedError` when the abort signal fires; the work itself is not cancelled.
   */
  async race<T>(work: Promise<T>, onTimeout?: () => DeadlineError): Promise<T> {
    const abort = this.#abort;
    if (abort?.aborted === true)
      throw new InterruptedError(`stopped while waiting for ${this.what}`);
    return await new Promise<T>((resolve, reject) => {
      const stop = (): void => {
        clearTimeout(timer);
        abort?.removeEventListener("abort", onAbort);
      };
      const onAbort = (): void => {
        stop();
        reject(new InterruptedError(`stopped while waiting for ${this.what}`));
      };
      const timer = setTimeout(() => {
        stop();
        reject(onTimeout?.() ?? new DeadlineError(`${this.what} did not finish in time`));
      }, this.remainingMs);
      abort?.addEventListener("abort", onAbort, { once: true });
      work.then(
        (value) => {
          stop();
          resolve(value);
        },
        (error: unknown) => {
          stop();
          reject(error);
        },
      );
    });
  }
}
