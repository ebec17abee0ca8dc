/** What the secure world returns when it hands a call back for an interrupt (OPTEE_SMC_RETURN_RPC_FOREIGN_INTR). */
const FOREIGN_INTR = 0xffff_0004n;
const MAX_DOUBLINGS = 12;
const LOW_HALF = 0xffff_ffffn;

/**
 * After how many microseconds the next SMC is interrupted. Time passes on the board while a busy host
 * does not let it run, so the time doubles for as long as a call is handed back: every call gets on.
 */
export class InterruptPace {
  #handedBack = 0;

  /** The time for the next SMC, where interrupts come every `everyUs`. */
  next(everyUs: number): number {
    return everyUs * 2 ** Math.min(this.#handedBack, MAX_DOUBLINGS);
  }

  /** x0 of the last SMC. */
  returned(x0: bigint): void {
    this.#handedBack = (x0 & LOW_HALF) === FOREIGN_INTR ? this.#handedBack + 1 : 0;
  }
}
