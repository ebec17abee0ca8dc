import { createHmac, createSecretKey, type KeyObject } from "node:crypto";
import { cidForKey } from "./cid.ts";
import { KEY_SIZE } from "./frame.ts";

/** What a key derived from the hardware unique key is for (RPMB-3.3). */
export const HUK_USAGE = { RPMB: 0, SSK: 1, DIE_ID: 2, UNIQUE_TA: 3, TA_ENC: 4, SE050: 5 } as const;

export interface SubkeyOptions {
  /**
   * CFG_CORE_HUK_SUBKEY_COMPAT, which builds have unless they say otherwise: usages RPMB and SSK are
   * derived as before usage words existed.
   */
  readonly compat: boolean;
  /** CFG_CORE_HUK_SUBKEY_COMPAT_USE_OTP_DIE_ID: 32 bytes; else the compat SSK takes a constant. */
  readonly dieId?: Uint8Array;
}

const COMPAT_SSK = new TextEncoder().encode("ONLY_FOR_tee_fs_ssk\0");
const COMPAT_CHIP_ID = new TextEncoder().encode("BEEF".repeat(8));

/**
 * The message that is authenticated with the hardware unique key to derive a subkey (RPMB-3.1,
 * RPMB-3.2, RPMB-3.5). Holds nothing secret.
 */
export function subkeyMessage(
  usage: number,
  data: Uint8Array,
  { compat, dieId = COMPAT_CHIP_ID }: SubkeyOptions,
): Uint8Array {
  if (compat && usage === HUK_USAGE.RPMB) return data;
  if (compat && usage === HUK_USAGE.SSK) return Buffer.concat([dieId, COMPAT_SSK, data]);
  const word = new Uint8Array(4);
  new DataView(word.buffer).setUint32(0, usage, true);
  return Buffer.concat([word, data]);
}

/** HMAC-SHA-256 of the message under the whole hardware unique key: 32 bytes, as a key object. */
export function deriveSubkey(
  huk: KeyObject,
  usage: number,
  data: Uint8Array,
  options: SubkeyOptions,
): KeyObject {
  const key = createHmac("sha256", huk)
    .update(subkeyMessage(usage, data, options))
    .digest();
  return intoKey(key);
}

/** The RPMB key of the part with this CID. Throws RangeError unless the CID has 16 bytes. */
export function deriveRpmbKey(huk: KeyObject, cid: Uint8Array, options: SubkeyOptions): KeyObject {
  return deriveSubkey(huk, HUK_USAGE.RPMB, cidForKey(cid), options);
}

/** The secure storage key, from which the keys of every TA's storage come (RPMB-3.5). */
export function deriveStorageKey(huk: KeyObject, options: SubkeyOptions): KeyObject {
  return deriveSubkey(huk, HUK_USAGE.SSK, new Uint8Array(0), options);
}

/**
 * Wraps key bytes in a key object, which prints and serializes as nothing, and overwrites them.
 * Throws RangeError for none.
 */
export function intoKey(bytes: Uint8Array): KeyObject {
  if (bytes.length === 0) throw new RangeError("a key has at least one byte");
  const key = createSecretKey(bytes);
  bytes.fill(0);
  return key;
}

/** The all-zero hardware unique key of builds that override nothing (RPMB-3.1.ZERO_STUB). */
export const zeroHuk = (size = 16): KeyObject => createSecretKey(new Uint8Array(size));

/** The published key of CFG_RPMB_TESTKEY builds, for every part and every hardware unique key. */
export const rpmbTestKey = (): KeyObject =>
  intoKey(Buffer.from("d3eb3ec36e334c9f988ce2c0b85954610d2bcf8664844df2ab56e6c61bb701e4", "hex"));

/** Whether a key object can be a part's key: a secret of 32 bytes. */
export const isRpmbKey = (key: KeyObject): boolean =>
  key.type === "secret" && key.symmetricKeySize === KEY_SIZE;
