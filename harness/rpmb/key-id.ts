import { createHash, type KeyObject } from "node:crypto";

export const KEY_ID_LABEL = "lockstep rpmb key id v1\0";
export const KEY_ID_BYTES = 8;

/**
 * The published name of a key, for ledgers, logs and reports: the first 8 bytes of SHA-256 over the
 * ASCII label `lockstep rpmb key id v1`, a zero byte and the key, as 16 hexadecimal digits. It says
 * whether two keys are one, and leads back to none. Throws RangeError unless the key has 32 bytes.
 */
export function keyId(key: KeyObject): string {
  if (key.type !== "secret" || key.symmetricKeySize !== 32) {
    throw new RangeError("a key id is of a key of 32 bytes");
  }
  const bytes = key.export();
  const digest = createHash("sha256").update(KEY_ID_LABEL).update(bytes).digest();
  bytes.fill(0);
  return digest.subarray(0, KEY_ID_BYTES).toString("hex");
}
