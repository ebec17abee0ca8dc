import { createHmac, hash, type KeyObject } from "node:crypto";
import { CID } from "./cid.ts";
import { KEY_SIZE } from "./frame.ts";
import { HUK_USAGE, subkeyMessage } from "./key.ts";
import { KEY_ID_BYTES, KEY_ID_LABEL } from "./key-id.ts";

const LABEL = Buffer.from(KEY_ID_LABEL);

/**
 * Derives many RPMB keys, one after the other, in buffers of its own: what `deriveRpmbKey` and
 * `keyId` give, without a key object for each.
 */
export class BulkDeriver {
  /** The key that was derived last, overwritten by the next. */
  readonly key = Buffer.alloc(KEY_SIZE);
  readonly #message: Buffer;
  readonly #cidAt: number;
  readonly #labelled = Buffer.alloc(LABEL.length + KEY_SIZE);

  constructor(compat: boolean) {
    const empty = new Uint8Array(CID.size);
    this.#message = Buffer.from(subkeyMessage(HUK_USAGE.RPMB, empty, { compat }));
    this.#cidAt = this.#message.length - CID.size;
    LABEL.copy(this.#labelled);
  }

  /** Puts the key of the part with these 16 bytes of CID into `key`. */
  derive(huk: KeyObject | Uint8Array, cid: Uint8Array): void {
    this.#message.set(cid, this.#cidAt);
    this.#message[this.#cidAt + CID.PRV.offset] = 0;
    this.#message[this.#cidAt + CID.CRC.offset] = 0;
    const digest = createHmac("sha256", huk).update(this.#message).digest();
    this.key.set(digest);
    digest.fill(0);
  }

  /** The key id of `key`. */
  id(): string {
    this.#labelled.set(this.key, LABEL.length);
    return hash("sha256", this.#labelled, "hex").slice(0, KEY_ID_BYTES * 2);
  }

  /** Overwrites what is left of the last key. */
  clear(): void {
    this.key.fill(0);
    this.#labelled.fill(0, LABEL.length);
  }
}
