import { CID } from "./cid.ts";
import { FRAME_SIZE } from "./frame.ts";
import { type EmmcRegisters, EXT_CSD } from "./registers.ts";

/**
 * How a part is served over a stream of bytes, to a driver in a guest: requests with whole frames
 * behind a header, each answered by a header with bytes behind it, one after the other. Numbers are
 * little-endian, offsets in bytes.
 */
export const RPMB_WIRE = {
  /** The bytes "RPMB". */
  magic: 0x424d_5052,
  request: {
    size: 12,
    magic: 0,
    /** u16: `RPMB_WIRE_OP`. */
    op: 4,
    /** u16: how many frames to answer with; of WRITE: 1 for a reliable write, else 0. */
    responseFrames: 6,
    /** u32: how many frames follow the header. */
    requestFrames: 8,
  },
  answer: {
    size: 12,
    magic: 0,
    /** i32: 0, or a negative Linux errno with no bytes behind it. */
    status: 4,
    /** u32: how many bytes follow the header. */
    length: 8,
  },
  /** The answer to INFO: CID and CSD in register order, EXT_CSD from byte 0. */
  info: { size: 544, cid: 0, csd: 16, extCsd: 32 },
  /** Most frames each way: what Linux takes in one ioctl (MMC_IOC_MAX_BYTES, 512 KiB). */
  maxFrames: 1024,
} as const;

export const RPMB_WIRE_OP = {
  /** The part's registers. */
  INFO: 0,
  /** A whole operation: frames there, the result register read where that is the way, frames back. */
  TRANSFER: 1,
  /** CMD23 and CMD25 alone. */
  WRITE: 2,
  /** CMD23 and CMD18 alone. */
  READ: 3,
} as const;

/** Linux errno values of answers. */
export const RPMB_WIRE_STATUS = {
  OK: 0,
  EIO: -5,
  EINVAL: -22,
  EPROTO: -71,
  EMSGSIZE: -90,
  EOPNOTSUPP: -95,
  ETIMEDOUT: -110,
} as const;

export interface RpmbWireRequest {
  readonly op: number;
  readonly responseFrames: number;
  readonly frames: Uint8Array;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Throws RangeError unless `frames` is whole frames and the numbers fit. */
export function encodeWireRequest({ op, responseFrames, frames }: RpmbWireRequest): Uint8Array {
  const { request, magic } = RPMB_WIRE;
  const count = frames.length / FRAME_SIZE;
  for (const [value, limit] of [
    [op, 0xffff],
    [responseFrames, 0xffff],
    [count, 0xffff_ffff],
  ] as const) {
    if (!Number.isInteger(value) || value < 0 || value > limit)
      throw new RangeError(`${value} does not fit`);
  }
  const bytes = new Uint8Array(request.size + frames.length);
  const view = viewOf(bytes);
  view.setUint32(request.magic, magic, true);
  view.setUint16(request.op, op, true);
  view.setUint16(request.responseFrames, responseFrames, true);
  view.setUint32(request.requestFrames, count, true);
  bytes.set(frames, request.size);
  return bytes;
}

/** What a request's header says, unchecked but for its size; undefined when bytes are missing. */
export function decodeWireHeader(
  bytes: Uint8Array,
): { magic: number; op: number; responseFrames: number; requestFrames: number } | undefined {
  const { request } = RPMB_WIRE;
  if (bytes.length < request.size) return undefined;
  const view = viewOf(bytes);
  return {
    magic: view.getUint32(request.magic, true),
    op: view.getUint16(request.op, true),
    responseFrames: view.getUint16(request.responseFrames, true),
    requestFrames: view.getUint32(request.requestFrames, true),
  };
}

export function encodeWireAnswer(
  status: number,
  bytes: Uint8Array = new Uint8Array(0),
): Uint8Array {
  const { answer, magic } = RPMB_WIRE;
  const message = new Uint8Array(answer.size + bytes.length);
  const view = viewOf(message);
  view.setUint32(answer.magic, magic, true);
  view.setInt32(answer.status, status, true);
  view.setUint32(answer.length, bytes.length, true);
  message.set(bytes, answer.size);
  return message;
}

/** The first answer in `bytes` and how long it is; undefined when it is not whole. Throws RangeError for another magic or a length over the largest. */
export function decodeWireAnswer(
  bytes: Uint8Array,
): { status: number; bytes: Uint8Array; size: number } | undefined {
  const { answer, magic, maxFrames } = RPMB_WIRE;
  if (bytes.length < answer.size) return undefined;
  const view = viewOf(bytes);
  if (view.getUint32(answer.magic, true) !== magic) throw new RangeError("this is no answer");
  const length = view.getUint32(answer.length, true);
  if (length > maxFrames * FRAME_SIZE) throw new RangeError(`an answer of ${length} bytes`);
  const size = answer.size + length;
  if (bytes.length < size) return undefined;
  return {
    status: view.getInt32(answer.status, true),
    bytes: new Uint8Array(bytes.subarray(answer.size, size)),
    size,
  };
}

export function encodeWireInfo({ cid, csd, extCsd }: EmmcRegisters): Uint8Array {
  const bytes = new Uint8Array(RPMB_WIRE.info.size);
  bytes.set(cid, RPMB_WIRE.info.cid);
  bytes.set(csd, RPMB_WIRE.info.csd);
  bytes.set(extCsd, RPMB_WIRE.info.extCsd);
  return bytes;
}

/** Throws RangeError unless the bytes have the size of registers. */
export function decodeWireInfo(bytes: Uint8Array): EmmcRegisters {
  const { size, cid, csd, extCsd } = RPMB_WIRE.info;
  if (bytes.length !== size) throw new RangeError(`registers of ${bytes.length} bytes`);
  return {
    cid: new Uint8Array(bytes.subarray(cid, cid + CID.size)),
    csd: new Uint8Array(bytes.subarray(csd, extCsd)),
    extCsd: new Uint8Array(bytes.subarray(extCsd, extCsd + EXT_CSD.size)),
  };
}
