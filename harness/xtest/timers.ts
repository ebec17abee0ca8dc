/** One-shot timers; tests pass their own. */
export interface Timers {
  /** Calls `fire` once after `ms` milliseconds unless the returned function is called before. */
  set(ms: number, fire: () => void): () => void;
}

export const systemTimers: Timers = {
  set: (ms, fire) => {
    const timer = setTimeout(fire, Math.min(ms, 0x7fff_ffff));
    return () => clearTimeout(timer);
  },
};
