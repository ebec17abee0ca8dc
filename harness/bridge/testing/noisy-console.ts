import { Random } from "../../base/index.ts";
import type { LoaderConsole } from "../loader-console.ts";

/** A console whose wire changes, loses and doubles bytes, in both directions. */
export class NoisyConsole implements LoaderConsole {
  /** Of a thousand bytes in each direction, how many are not right. */
  noise = 0;
  /** Bytes that were not right so far. */
  faults = 0;
  readonly #inner: LoaderConsole;
  readonly #random: Random;

  constructor(inner: LoaderConsole, seed: number) {
    this.#inner = inner;
    this.#random = new Random(seed);
  }

  async type(bytes: Uint8Array, options?: { readonly unpaced?: boolean }): Promise<void> {
    await this.#inner.type(this.#wire(bytes), options);
  }

  onBytes(listener: (bytes: Uint8Array) => void): () => void {
    return this.#inner.onBytes((bytes) => {
      listener(this.#wire(bytes));
    });
  }

  onLost(listener: (what: string) => void): () => void {
    return this.#inner.onLost(listener);
  }

  #wire(bytes: Uint8Array): Uint8Array {
    if (this.noise === 0) return bytes;
    return Uint8Array.from(
      Array.from(bytes).flatMap((byte) => {
        if (this.#random.below(1000) >= this.noise) return [byte];
        this.faults += 1;
        const kind = this.#random.below(4);
        if (kind === 0) return [];
        return kind === 1 ? [byte, byte] : [byte ^ (1 + this.#random.below(255))];
      }),
    );
  }
}
