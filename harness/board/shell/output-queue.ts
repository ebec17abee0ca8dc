/** Hands a command's output to its listeners; what comes before there is one is kept for the first. */
export class OutputQueue {
  readonly #listeners: ((bytes: Uint8Array) => void)[] = [];
  #early: Uint8Array[] = [];

  readonly push = (bytes: Uint8Array): void => {
    if (this.#listeners.length === 0) this.#early.push(bytes);
    for (const listener of this.#listeners) listener(bytes);
  };

  readonly listen = (listener: (bytes: Uint8Array) => void): void => {
    this.#listeners.push(listener);
    const early = this.#early;
    this.#early = [];
    for (const bytes of early) listener(bytes);
  };
}
