import { createHash } from "node:crypto";

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The nil UUID, 00000000-0000-0000-0000-000000000000. */
export const NIL_UUID = "00000000-0000-0000-0000-000000000000";

/** Whether `text` is a UUID in the 8-4-4-4-12 form, either case. */
export function isUuid(text: string): boolean {
  return PATTERN.test(text);
}

/**
 * The 16 octets of a UUID in RFC 4122 order (time fields big-endian), as the TEE ioctls and the
 * OP-TEE messages carry them. Throws RangeError when `uuid` is not in the 8-4-4-4-12 form.
 */
export function uuidOctets(uuid: string): Uint8Array {
  if (!PATTERN.test(uuid)) throw new RangeError(`${JSON.stringify(uuid)} is not a UUID`);
  return Uint8Array.from(Buffer.from(uuid.replaceAll("-", ""), "hex"));
}

/** The canonical lower-case text of 16 octets. Throws RangeError for another length. */
export function uuidText(octets: Uint8Array): string {
  if (octets.length !== 16) throw new RangeError(`a UUID has 16 octets, not ${octets.length}`);
  const hex = Buffer.from(octets).toString("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

/** The name-based (SHA-1) UUID of RFC 4122 section 4.3 for `name` in `namespace`. */
export function uuidV5(namespace: string, name: string | Uint8Array): string {
  const digest = createHash("sha1").update(uuidOctets(namespace)).update(name).digest();
  const octets = Uint8Array.from(digest.subarray(0, 16));
  octets[6] = ((octets[6] ?? 0) & 0x0f) | 0x50;
  octets[8] = ((octets[8] ?? 0) & 0x3f) | 0x80;
  return uuidText(octets);
}
