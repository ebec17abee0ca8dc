import { CID } from "./cid.ts";

/**
 * Request header of the RPMB RPC that goes through tee-supplicant: 6 bytes, little-endian, frames
 * behind it at offset 6 (RPMB-2.1).
 */
export const RPMB_REQ = { size: 6, cmd: 0, devId: 2, blockCount: 4 } as const;

/** `cmd` of that header. */
export const RPMB_REQ_CMD = { DATA_REQ: 0, GET_DEV_INFO: 1 } as const;

/** Response to GET_DEV_INFO: 19 bytes exactly. */
export const RPMB_DEV_INFO = {
  size: 19,
  cid: 0,
  sizeMult: 16,
  relWrSecC: 17,
  retCode: 18,
} as const;
export const RPMB_DEV_INFO_RET = { OK: 0, ERROR: 1 } as const;

export interface RpmbRequestHeader {
  readonly cmd: number;
  readonly devId: number;
  readonly blockCount: number;
}

/** Throws RangeError when the bytes end before the header does. */
export function decodeRequestHeader(bytes: Uint8Array): RpmbRequestHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return {
    cmd: view.getUint16(RPMB_REQ.cmd, true),
    devId: view.getUint16(RPMB_REQ.devId, true),
    blockCount: view.getUint16(RPMB_REQ.blockCount, true),
  };
}

export function encodeRequestHeader(header: RpmbRequestHeader): Uint8Array {
  const bytes = new Uint8Array(RPMB_REQ.size);
  const view = new DataView(bytes.buffer);
  view.setUint16(RPMB_REQ.cmd, header.cmd, true);
  view.setUint16(RPMB_REQ.devId, header.devId, true);
  view.setUint16(RPMB_REQ.blockCount, header.blockCount, true);
  return bytes;
}

export interface RpmbDeviceInfo {
  /** 16 bytes in register order. */
  readonly cid: Uint8Array;
  /** EXT_CSD[168], units of 128 KiB. */
  readonly sizeMultiplier: number;
  /** EXT_CSD[222]. */
  readonly relWrSecC: number;
}

/** Undefined when the answer says that there is no information. Throws RangeError when too short. */
export function decodeDeviceInfo(bytes: Uint8Array): RpmbDeviceInfo | undefined {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint8(RPMB_DEV_INFO.retCode) !== RPMB_DEV_INFO_RET.OK) return undefined;
  return {
    cid: bytes.slice(RPMB_DEV_INFO.cid, RPMB_DEV_INFO.cid + CID.size),
    sizeMultiplier: view.getUint8(RPMB_DEV_INFO.sizeMult),
    relWrSecC: view.getUint8(RPMB_DEV_INFO.relWrSecC),
  };
}

/** Throws RangeError unless the CID has 16 bytes. */
export function encodeDeviceInfo(info: RpmbDeviceInfo): Uint8Array {
  if (info.cid.length !== CID.size) throw new RangeError("a CID has 16 bytes");
  const bytes = new Uint8Array(RPMB_DEV_INFO.size);
  bytes.set(info.cid, RPMB_DEV_INFO.cid);
  bytes[RPMB_DEV_INFO.sizeMult] = info.sizeMultiplier;
  bytes[RPMB_DEV_INFO.relWrSecC] = info.relWrSecC;
  bytes[RPMB_DEV_INFO.retCode] = RPMB_DEV_INFO_RET.OK;
  return bytes;
}
