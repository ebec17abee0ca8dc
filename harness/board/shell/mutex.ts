/** Lets one caller at a time do something that must not be interleaved. */
export class Mutex {
  #last: Promise<unknown> = Promise.resolve();
  #callers = 0;

  /** Whether somebody is in, or waits to be. */
  get busy(): boolean {
    return this.#callers > 0;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    this.#callers += 1;
    const turn = this.#last.then(work, work);
    this.#last = turn.catch(() => {});
    try {
      return await turn;
    } finally {
      this.#callers -= 1;
    }
  }
}
