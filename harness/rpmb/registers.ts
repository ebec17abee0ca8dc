import { CID } from "./cid.ts";
import { crc7 } from "./cid-fields.ts";
import { MAX_SIZE_MULT } from "./frame.ts";

/** Bytes of EXT_CSD: offset and size; numbers of several bytes are little-endian (JESD84-B51). */
export const EXT_CSD = {
  size: 512,
  PARTITIONING_SUPPORT: { offset: 160, size: 1 },
  WR_REL_PARAM: { offset: 166, size: 1 },
  WR_REL_SET: { offset: 167, size: 1 },
  /** Size of the RPMB partition, units of 128 KiB. */
  RPMB_SIZE_MULT: { offset: 168, size: 1 },
  PARTITION_CONFIG: { offset: 179, size: 1 },
  REV: { offset: 192, size: 1 },
  CSD_STRUCTURE: { offset: 194, size: 1 },
  DEVICE_TYPE: { offset: 196, size: 1 },
  PARTITION_SWITCH_TIME: { offset: 199, size: 1 },
  SECURE_WP_INFO: { offset: 211, size: 1 },
  /** Sectors of 512 bytes of the user area. */
  SEC_COUNT: { offset: 212, size: 4 },
  S_A_TIMEOUT: { offset: 217, size: 1 },
  HC_WP_GRP_SIZE: { offset: 221, size: 1 },
  /** Largest reliable write of the user area, sectors of 512 bytes. */
  REL_WR_SEC_C: { offset: 222, size: 1 },
  ERASE_TIMEOUT_MULT: { offset: 223, size: 1 },
  HC_ERASE_GRP_SIZE: { offset: 224, size: 1 },
  BOOT_SIZE_MULT: { offset: 226, size: 1 },
  GENERIC_CMD6_TIME: { offset: 248, size: 1 },
  FIRMWARE_VERSION: { offset: 254, size: 8 },
  /** 1 normal, 2 warning, 3 urgent: reserved blocks that are used up. */
  PRE_EOL_INFO: { offset: 267, size: 1 },
  /** 1 to 10: tenths of the life time that are used; 11 for more. */
  DEVICE_LIFE_TIME_EST_TYP_A: { offset: 268, size: 1 },
  DEVICE_LIFE_TIME_EST_TYP_B: { offset: 269, size: 1 },
  S_CMD_SET: { offset: 504, size: 1 },
} as const;

/** Bits of WR_REL_PARAM. */
export const WR_REL_PARAM = { HS_CTRL_REL: 0x01, EN_REL_WR: 0x04, EN_RPMB_REL_WR: 0x10 } as const;
/** Bits of SECURE_WP_INFO. */
export const SECURE_WP_INFO = { SUPPORT: 0x01, EN_STATUS: 0x02 } as const;

type ExtCsdField = Exclude<keyof typeof EXT_CSD, "size">;

/** A field of EXT_CSD. Throws RangeError past the end of `extCsd`. */
export function extCsdField(extCsd: Uint8Array, field: ExtCsdField): number {
  const { offset, size } = EXT_CSD[field];
  let value = 0;
  for (let at = offset + size - 1; at >= offset; at -= 1) {
    const byte = extCsd[at];
    if (byte === undefined) throw new RangeError(`EXT_CSD has ${EXT_CSD.size} bytes`);
    value = value * 256 + byte;
  }
  return value;
}

/** Throws RangeError when the value does not fit. */
export function setExtCsdField(extCsd: Uint8Array, field: ExtCsdField, value: number): void {
  const { offset, size } = EXT_CSD[field];
  if (!Number.isInteger(value) || value < 0 || value >= 256 ** size) {
    throw new RangeError(`${value} does not fit into ${field}`);
  }
  for (let at = offset, rest = value; at < offset + size; at += 1) {
    extCsd[at] = rest & 0xff;
    rest = Math.floor(rest / 256);
  }
}

/** Bit ranges of the CSD of a part over 2 GB, [most significant, least significant] (JESD84-B51). */
const CSD = {
  size: 16,
  CSD_STRUCTURE: [127, 126],
  SPEC_VERS: [125, 122],
  TAAC: [119, 112],
  NSAC: [111, 104],
  TRAN_SPEED: [103, 96],
  CCC: [95, 84],
  READ_BL_LEN: [83, 80],
  C_SIZE: [73, 62],
  C_SIZE_MULT: [49, 47],
  ERASE_GRP_SIZE: [46, 42],
  ERASE_GRP_MULT: [41, 37],
  WP_GRP_SIZE: [36, 32],
  WP_GRP_ENABLE: [31, 31],
  R2W_FACTOR: [28, 26],
  WRITE_BL_LEN: [25, 22],
} as const;

/** The capacity is in EXT_CSD: C_SIZE and the erase groups hold their largest values. */
const CSD_VALUES: readonly (readonly [readonly [number, number], number])[] = [
  [CSD.CSD_STRUCTURE, 3],
  [CSD.SPEC_VERS, 4],
  [CSD.TAAC, 0x27],
  [CSD.NSAC, 1],
  [CSD.TRAN_SPEED, 0x32],
  [CSD.CCC, 0x0f5],
  [CSD.READ_BL_LEN, 9],
  [CSD.C_SIZE, 0xfff],
  [CSD.C_SIZE_MULT, 7],
  [CSD.ERASE_GRP_SIZE, 0x1f],
  [CSD.ERASE_GRP_MULT, 0x1f],
  [CSD.WP_GRP_SIZE, 0x0f],
  [CSD.WP_GRP_ENABLE, 1],
  [CSD.R2W_FACTOR, 2],
  [CSD.WRITE_BL_LEN, 9],
];

/** The registers that identify and describe a part, in register order, most significant byte first. */
export interface EmmcRegisters {
  /** 16 bytes, MID first. */
  readonly cid: Uint8Array;
  /** 16 bytes. */
  readonly csd: Uint8Array;
  /** 512 bytes, byte 0 first. */
  readonly extCsd: Uint8Array;
}

/** What may be chosen of a part's registers. */
export interface EmmcRegisterOptions {
  /** 16 bytes in register order. Its checksum is not looked at: parts with a wrong one are about. */
  readonly cid: Uint8Array;
  /** EXT_CSD[168], 1 to 128 units of 128 KiB. */
  readonly sizeMultiplier: number;
  /** EXT_CSD[222], default 1. */
  readonly relWrSecC?: number;
  /** WR_REL_PARAM.EN_RPMB_REL_WR: writes of 32 frames as well as of 1 and 2 (RPMB-1.6). */
  readonly enhancedReliableWrite?: boolean;
  /** SEC_COUNT, sectors of 512 bytes; default that of a part of 4 GB. */
  readonly sectors?: number;
  /** DEVICE_LIFE_TIME_EST_TYP_A and _B, default 1 each: up to a tenth is used. */
  readonly lifeTime?: readonly [number, number];
}

const FOUR_GB = 0x72_0000;

/**
 * Registers of a part of version 5.1. Throws RangeError for a CID that is not 16 bytes, an RPMB
 * partition of none or over 16 MiB (RPMB-1.5), or a number that its field cannot hold.
 */
export function emmcRegisters(options: EmmcRegisterOptions): EmmcRegisters {
  const { cid, sizeMultiplier, lifeTime = [1, 1] } = options;
  if (cid.length !== CID.size)
    throw new RangeError(`a CID has ${CID.size} bytes, not ${cid.length}`);
  if (!Number.isInteger(sizeMultiplier) || sizeMultiplier < 1 || sizeMultiplier > MAX_SIZE_MULT) {
    throw new RangeError(`RPMB_SIZE_MULT is 1 to ${MAX_SIZE_MULT}, not ${sizeMultiplier}`);
  }
  const enhanced = options.enhancedReliableWrite === true ? WR_REL_PARAM.EN_RPMB_REL_WR : 0;
  const fields: Partial<Record<ExtCsdField, number>> = {
    PARTITIONING_SUPPORT: 0x07,
    WR_REL_PARAM: WR_REL_PARAM.HS_CTRL_REL | WR_REL_PARAM.EN_REL_WR | enhanced,
    WR_REL_SET: 0x1f,
    RPMB_SIZE_MULT: sizeMultiplier,
    REV: 8,
    CSD_STRUCTURE: 2,
    DEVICE_TYPE: 0x57,
    PARTITION_SWITCH_TIME: 5,
    SECURE_WP_INFO: SECURE_WP_INFO.SUPPORT,
    SEC_COUNT: options.sectors ?? FOUR_GB,
    S_A_TIMEOUT: 0x11,
    HC_WP_GRP_SIZE: 0x10,
    REL_WR_SEC_C: options.relWrSecC ?? 1,
    ERASE_TIMEOUT_MULT: 1,
    HC_ERASE_GRP_SIZE: 1,
    BOOT_SIZE_MULT: 0x20,
    GENERIC_CMD6_TIME: 0x0a,
    FIRMWARE_VERSION: 1,
    PRE_EOL_INFO: 1,
    DEVICE_LIFE_TIME_EST_TYP_A: lifeTime[0],
    DEVICE_LIFE_TIME_EST_TYP_B: lifeTime[1],
    S_CMD_SET: 1,
  };
  const extCsd = new Uint8Array(EXT_CSD.size);
  for (const [field, value] of Object.entries(fields)) {
    setExtCsdField(extCsd, field as ExtCsdField, value);
  }
  return { cid: new Uint8Array(cid), csd: encodeCsd(), extCsd };
}

function encodeCsd(): Uint8Array {
  const csd = new Uint8Array(CSD.size);
  for (const [[high, low], value] of CSD_VALUES) {
    for (let bit = low; bit <= high; bit += 1) {
      if (((value >> (bit - low)) & 1) === 0) continue;
      const at = CSD.size - 1 - (bit >> 3);
      csd[at] = (csd[at] ?? 0) | (1 << (bit & 7));
    }
  }
  csd[CSD.size - 1] = (crc7(csd.subarray(0, CSD.size - 1)) << 1) | 1;
  return csd;
}

/** A copy that shares no bytes. */
export const copyRegisters = ({ cid, csd, extCsd }: EmmcRegisters): EmmcRegisters => ({
  cid: new Uint8Array(cid),
  csd: new Uint8Array(csd),
  extCsd: new Uint8Array(extCsd),
});
