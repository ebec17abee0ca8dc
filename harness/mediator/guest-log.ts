/**
 * Messages that a guest can trigger: at most ten at once and one more each second for each VM, so
 * that no guest can fill the hypervisor's log (seed review of the first Xen series).
 */
export class GuestLog {
  readonly #write: (line: string) => void;
  readonly #now: () => number;
  readonly #name: string;
  #tokens = BURST;
  #since = 0;
  #suppressed = 0;

  constructor(name: string, write: (line: string) => void, now: () => number) {
    this.#name = name;
    this.#write = write;
    this.#now = now;
    this.#since = now();
  }

  warn(text: string): void {
    const now = this.#now();
    const earned = Math.floor((now - this.#since) / REFILL_MS);
    this.#tokens = Math.min(BURST, this.#tokens + earned);
    this.#since += earned * REFILL_MS;
    if (this.#tokens === 0) {
      this.#suppressed += 1;
      return;
    }
    this.#tokens -= 1;
    const lost = this.#suppressed === 0 ? "" : ` (${this.#suppressed} messages suppressed)`;
    this.#suppressed = 0;
    this.#write(`${this.#name}: ${text}${lost}`);
  }
}

const BURST = 10;
const REFILL_MS = 1000;
