import {
  createCipheriv,
  createDecipheriv,
  createHash,
  createHmac,
  createSecretKey,
  type KeyObject,
} from "node:crypto";
import { deriveStorageKey, intoKey, type SubkeyOptions } from "../../rpmb/index.ts";
import { uuidToMemory } from "../tas/uuid-memory.ts";

/** Bytes of a file encryption key, wrapped or not. */
export const FEK_SIZE = 16;
const SHARED = new Uint8Array(1);

/**
 * The keys of secure storage: from the storage key one for each TA, which wraps the encryption key
 * of each of its files. Files of no TA (the directory) have a key of their own.
 */
export class StorageKeys {
  readonly #storageKey: KeyObject;
  readonly #ofTa = new Map<string, KeyObject>();

  constructor(huk: KeyObject, options: SubkeyOptions) {
    this.#storageKey = deriveStorageKey(huk, options);
  }

  #taKey(uuid: string | undefined): KeyObject {
    const known = this.#ofTa.get(uuid ?? "");
    if (known !== undefined) return known;
    const name = uuid === undefined ? SHARED : uuidToMemory(uuid);
    const key = intoKey(createHmac("sha256", this.#storageKey).update(name).digest());
    this.#ofTa.set(uuid ?? "", key);
    return key;
  }

  /** Encrypts a file encryption key for a TA, AES-256-ECB without padding. */
  wrap(uuid: string | undefined, fek: Uint8Array): Uint8Array {
    const cipher = createCipheriv("aes-256-ecb", this.#taKey(uuid), null).setAutoPadding(false);
    return Uint8Array.from(Buffer.concat([cipher.update(fek), cipher.final()]));
  }

  unwrap(uuid: string | undefined, wrapped: Uint8Array): KeyObject {
    const cipher = createDecipheriv("aes-256-ecb", this.#taKey(uuid), null).setAutoPadding(false);
    return intoKey(Buffer.concat([cipher.update(wrapped), cipher.final()]));
  }

  /**
   * AES-128-CBC of a block of RPMB storage, its initialization vector made of the block's index
   * encrypted under the hash of the key (ESSIV).
   */
  cryptBlock(
    direction: "encrypt" | "decrypt",
    uuid: string,
    wrappedFek: Uint8Array,
    index: number,
    block: Uint8Array,
  ): Uint8Array {
    const fek = this.unwrap(uuid, wrappedFek);
    const salt = createHash("sha256").update(fek.export()).digest().subarray(0, FEK_SIZE);
    const number = new Uint8Array(16);
    new DataView(number.buffer).setUint16(0, index, true);
    const essiv = createCipheriv("aes-128-ecb", createSecretKey(salt), null).setAutoPadding(false);
    const make = direction === "encrypt" ? createCipheriv : createDecipheriv;
    const cipher = make("aes-128-cbc", fek, essiv.update(number)).setAutoPadding(false);
    return Uint8Array.from(Buffer.concat([cipher.update(block), cipher.final()]));
  }
}
