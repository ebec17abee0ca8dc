import { createHash, type KeyObject } from "node:crypto";

const LABEL = "lockstep rpmb key id v1\0";
const ID_BYTES = 8;

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
  const digest = createHash("sha256").update(LABEL).update(bytes).digest();
  bytes.fill(0);
  return digest.subarray(0, ID_BYTES).toString("hex");
}
