/**
 * Messages that a guest can trigger: at most ten at once and one more each second for each VM, so
 * that no guest can fill the hypervisor's log (seed review of the first Xen series).
 */
export class GuestLog {
  readonly #write: ((line: string) => void) | undefined;
  readonly #now: () => number;
  readonly #name: string;
  #tokens = BURST;
  #since = 0;
  #suppressed = 0;

  constructor(name: string, write: ((line: string) => void) | undefined, now: () => number) {
    this.#name = name;
    this.#write = write;
    this.#now = now;
    this.#since = now();
  }

  /** Whether anybody listens; saves building the text when not. */
  get enabled(): boolean {
    return this.#write !== undefined;
  }

  warn(text: string): void {
    const write = this.#write;
    if (write === undefined) return;
    const now = this.#now();
    const earned = Math.floor((now - this.#since) / REFILL_MS);
    if (earned > 0) {
      this.#tokens = Math.min(BURST, this.#tokens + earned);
      this.#since += earned * REFILL_MS;
    }
    if (this.#tokens === 0) {
      this.#suppressed += 1;
      return;
    }
    this.#tokens -= 1;
    const lost = this.#suppressed === 0 ? "" : ` (${this.#suppressed} messages suppressed)`;
    this.#suppressed = 0;
    write(`${this.#name}: ${text}${lost}`);
  }
}

const BURST = 10;
const REFILL_MS = 1000;
