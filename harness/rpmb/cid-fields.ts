import { CID } from "./cid.ts";

/** What the bytes of an eMMC CID say (RPMB-2.3, JESD84-B51 section 7.2). */
export interface CidFields {
  /** Manufacturer. */
  readonly mid: number;
  /** Low two bits of CBX: 0 removable card, 1 BGA, 2 package on package. */
  readonly deviceType: number;
  readonly oid: number;
  /** Product name; bytes that are not printable ASCII as `\xNN`. */
  readonly pnm: string;
  /** Product revision, `major.minor`. */
  readonly prv: string;
  readonly psn: number;
  /** 1 to 12 on a real part. */
  readonly month: number;
  /** The low four bits of MDT wrap every 16 years; which one is meant, EXT_CSD_REV decides. */
  readonly years: readonly number[];
  /**
   * `absent`: byte 15 is 0, since most host controllers strip it before Linux sees the register.
   * `wrong`: it is not the CRC7 of the other bytes with bit 0 set.
   */
  readonly crc: "right" | "wrong" | "absent";
  /** Byte 15 as the other bytes ask for. */
  readonly expectedCrc: number;
}

const FIRST_YEAR = 1997;
const YEARS = 16;

/** Decodes 16 bytes in register order. Throws RangeError for another count. */
export function decodeCid(cid: Uint8Array): CidFields {
  if (cid.length !== CID.size) throw new RangeError(`a CID has 16 bytes, not ${cid.length}`);
  const byte = (field: { readonly offset: number }): number => cid[field.offset] ?? 0;
  const [prv, mdt] = [byte(CID.PRV), byte(CID.MDT)];
  const view = new DataView(cid.buffer, cid.byteOffset, cid.byteLength);
  return {
    mid: byte(CID.MID),
    deviceType: byte(CID.CBX) & 3,
    oid: byte(CID.OID),
    pnm: ascii(cid.subarray(CID.PNM.offset, CID.PNM.offset + CID.PNM.size)),
    prv: `${prv >> 4}.${prv & 0xf}`,
    psn: view.getUint32(CID.PSN.offset),
    month: mdt >> 4,
    years: [0, 1, 2].map((turn) => FIRST_YEAR + (mdt & 0xf) + turn * YEARS),
    crc: cidCrc(cid),
    expectedCrc: lastByte(cid),
  };
}

/** Whether byte 15 of 16 is what it should be; see `CidFields.crc`. */
export function cidCrc(cid: Uint8Array): CidFields["crc"] {
  const last = cid[CID.CRC.offset] ?? 0;
  return last === 0 ? "absent" : last === lastByte(cid) ? "right" : "wrong";
}

/** What byte 15 should be: CRC7 of the others, with bit 0 set. */
const lastByte = (cid: Uint8Array): number => (crc7(cid.subarray(0, CID.CRC.offset)) << 1) | 1;

/** CRC-7 of the MMC bus: x^7 + x^3 + 1, from 0. */
export function crc7(bytes: Uint8Array): number {
  let crc = 0;
  for (const byte of bytes) crc = CRC_OF[crc ^ byte] ?? 0;
  return crc >> 1;
}

/** By byte, the CRC in bits 7 to 1. */
const CRC_OF = Uint8Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit += 1) crc = crc & 0x80 ? (crc << 1) ^ 0x12 : crc << 1;
  return crc;
});

function ascii(bytes: Uint8Array): string {
  return [...bytes]
    .map((byte) =>
      byte > 0x20 && byte < 0x7f && byte !== 0x5c
        ? String.fromCodePoint(byte)
        : `\\x${byte.toString(16).padStart(2, "0")}`,
    )
    .join("");
}
