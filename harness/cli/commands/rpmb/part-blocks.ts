import type { KeyObject } from "node:crypto";
import { BLOCK_SIZE, readBlocks, type RpmbChannel } from "../../../rpmb/index.ts";

/** Reads a part's blocks in pieces that one transfer holds, and keeps what its reads came to. */
export class PartBlocks {
  readonly #channel: RpmbChannel;
  readonly #key: KeyObject | undefined;
  readonly #atOnce: number;
  #authentic: boolean | undefined;
  #problem: string | undefined;

  constructor(channel: RpmbChannel, key: KeyObject | undefined, atOnce: number) {
    this.#channel = channel;
    this.#key = key;
    this.#atOnce = atOnce;
  }

  /** Whether MAC and nonce of all that was read are right; undefined without a key or a read. */
  get authentic(): boolean | undefined {
    return this.#authentic;
  }

  /** The first thing that was wrong. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Whole blocks; undefined where the part does not give them. */
  async range({
    address,
    count,
  }: {
    address: number;
    count: number;
  }): Promise<Uint8Array | undefined> {
    const data = new Uint8Array(count * BLOCK_SIZE);
    for (let done = 0; done < count; done += this.#atOnce) {
      const place = { address: address + done, count: Math.min(this.#atOnce, count - done) };
      const read = await readBlocks(this.#channel, place, this.#key);
      if (read.problem !== undefined) {
        this.#problem ??= `block ${place.address} and those behind it: ${read.problem}`;
      }
      if (read.authentic !== undefined)
        this.#authentic = read.authentic && this.#authentic !== false;
      if (read.data.length !== place.count * BLOCK_SIZE) return undefined;
      data.set(read.data, done * BLOCK_SIZE);
    }
    return data;
  }

  /** Bytes from byte `at` on, which begin and end where blocks do. */
  async bytes(at: number, length: number): Promise<Uint8Array | undefined> {
    return await this.range({ address: at / BLOCK_SIZE, count: length / BLOCK_SIZE });
  }
}
