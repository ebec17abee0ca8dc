/** Fields of an eMMC CID in register order, MID first: offset and size in bytes (RPMB-2.3). */
export const CID = {
  size: 16,
  MID: { offset: 0, size: 1 },
  CBX: { offset: 1, size: 1 },
  OID: { offset: 2, size: 1 },
  PNM: { offset: 3, size: 6 },
  PRV: { offset: 9, size: 1 },
  PSN: { offset: 10, size: 4 },
  MDT: { offset: 14, size: 1 },
  CRC: { offset: 15, size: 1 },
} as const;

/**
 * The part of a CID that keys depend on: PRV and CRC are zeroed, since a firmware update of the part
 * changes them. Throws RangeError unless it has 16 bytes.
 */
export function cidForKey(cid: Uint8Array): Uint8Array {
  if (cid.length !== CID.size) throw new RangeError(`a CID has 16 bytes, not ${cid.length}`);
  // A Buffer's own slice() would share its bytes.
  const masked = new Uint8Array(cid);
  masked[CID.PRV.offset] = 0;
  masked[CID.CRC.offset] = 0;
  return masked;
}
