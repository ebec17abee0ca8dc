/** A source of time; tests pass their own. */
export interface Clock {
  /** Monotonic milliseconds since an arbitrary start, with fractions. */
  monotonicMs(): number;
  /** Wall time in milliseconds since the Unix epoch. */
  wallMs(): number;
}

export const systemClock: Clock = {
  monotonicMs: () => performance.now(),
  wallMs: () => Date.now(),
};
