/** Pseudo-TAs and services that the normal world's own drivers talk to. */
export const UUIDS = {
  /** Device enumeration, opened by the Linux driver at probe. */
  deviceEnumeration: "7011a688-ddde-4053-a5a9-7b3c4ddf13b8",
  /** System services for TAs. */
  system: "3a2f8978-5dc0-11e8-9c2d-fa7ae01bbebc",
} as const;

const PATTERN = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

/** The 16 octets of a UUID in RFC 4122 order. Throws RangeError for any other text. */
export function uuidToOctets(uuid: string): Uint8Array {
  if (!PATTERN.test(uuid)) throw new RangeError(`${uuid} is not a UUID`);
  const hex = uuid.replaceAll("-", "");
  return Uint8Array.from({ length: 16 }, (_, index) =>
    Number.parseInt(hex.slice(index * 2, index * 2 + 2), 16),
  );
}

/** The text form, lower case, of the 16 octets at `at`. */
export function octetsToUuid(bytes: Uint8Array, at = 0): string {
  if (bytes.length < at + 16) throw new RangeError("a UUID has 16 octets");
  const hex = [...bytes.subarray(at, at + 16)].map((b) => b.toString(16).padStart(2, "0")).join("");
  return [
    hex.slice(0, 8),
    hex.slice(8, 12),
    hex.slice(12, 16),
    hex.slice(16, 20),
    hex.slice(20),
  ].join("-");
}
