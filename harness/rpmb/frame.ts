/** Offset and length in bytes, counted from the first byte of the 512-byte frame. */
interface Place {
  readonly offset: number;
  readonly size: number;
}

/**
 * The RPMB data frame (JESD84-B51; sheet RPMB section 1). Multi-byte numbers are big-endian. JEDEC
 * numbers the same bytes downwards: its byte 511 is offset 0.
 */
export const FRAME = {
  stuff: { offset: 0, size: 196 },
  /** The key in clear when programming it, else the MAC, in the last frame of a transfer only. */
  keyMac: { offset: 196, size: 32 },
  data: { offset: 228, size: 256 },
  nonce: { offset: 484, size: 16 },
  writeCounter: { offset: 500, size: 4 },
  /** 256-byte block index of the first block of the access, the same in every frame. */
  address: { offset: 504, size: 2 },
  blockCount: { offset: 506, size: 2 },
  result: { offset: 508, size: 2 },
  type: { offset: 510, size: 2 },
} as const satisfies Readonly<Record<string, Place>>;

export const FRAME_SIZE = 512;
export const BLOCK_SIZE = FRAME.data.size;
export const KEY_SIZE = FRAME.keyMac.size;
export const NONCE_SIZE = FRAME.nonce.size;
/** What the MAC covers of every frame: from `data` to the end, 284 bytes (RPMB-1.1). */
export const MAC_START = FRAME.data.offset;
/** EXT_CSD RPMB_SIZE_MULT counts units of 128 KiB. */
export const SIZE_UNIT = 128 * 1024;
/** Largest RPMB_SIZE_MULT that 16-bit addresses reach (RPMB-1.5). */
export const MAX_SIZE_MULT = 128;

/** Request types, at `FRAME.type`. */
export const RPMB_REQUEST = {
  PROGRAM_KEY: 0x0001,
  READ_COUNTER: 0x0002,
  WRITE_DATA: 0x0003,
  READ_DATA: 0x0004,
  READ_RESULT: 0x0005,
  CONFIG_WRITE: 0x0006,
  CONFIG_READ: 0x0007,
} as const;

/** Response types: the request's number in the high byte. */
export const RPMB_RESPONSE = {
  PROGRAM_KEY: 0x0100,
  READ_COUNTER: 0x0200,
  WRITE_DATA: 0x0300,
  READ_DATA: 0x0400,
  CONFIG_WRITE: 0x0600,
  CONFIG_READ: 0x0700,
} as const;

/** Operation results, low bits of `FRAME.result`. */
export const RPMB_RESULT = {
  OK: 0x00,
  GENERAL_FAILURE: 0x01,
  AUTHENTICATION_FAILURE: 0x02,
  COUNTER_FAILURE: 0x03,
  ADDRESS_FAILURE: 0x04,
  WRITE_FAILURE: 0x05,
  READ_FAILURE: 0x06,
  KEY_NOT_PROGRAMMED: 0x07,
} as const;
/** OR-ed to every result once the write counter is 0xFFFFFFFF. */
export const COUNTER_EXPIRED = 0x80;
export const MAX_COUNTER = 0xffff_ffff;

/** A frame as values; the stuff bytes carry nothing and are left out. */
export interface RpmbFrame {
  keyMac: Uint8Array;
  data: Uint8Array;
  nonce: Uint8Array;
  writeCounter: number;
  address: number;
  blockCount: number;
  result: number;
  type: number;
}

/** The bytes of a field of frame `index`, not copied. Throws RangeError past the end. */
export function fieldOf(frames: Uint8Array, place: Place, index = 0): Uint8Array {
  const at = startOf(frames, place, index);
  // Never a Buffer, whose slice() would share the bytes.
  return new Uint8Array(frames.buffer, frames.byteOffset + at, place.size);
}

function startOf(frames: Uint8Array, { offset, size }: Place, index: number): number {
  const at = index * FRAME_SIZE + offset;
  if (index < 0 || at + size > frames.length) {
    throw new RangeError(`frame ${index} is not whole in ${frames.length} bytes`);
  }
  return at;
}

/** A number of frame `index`. Throws RangeError past the end. */
export function numberOf(frames: Uint8Array, place: Place, index = 0): number {
  const start = startOf(frames, place, index);
  let value = 0;
  for (let at = start; at < start + place.size; at += 1) value = value * 256 + (frames[at] ?? 0);
  return value;
}

/** Stores a number into frame `index`. Throws RangeError past the end or when it does not fit. */
export function setNumber(frames: Uint8Array, place: Place, value: number, index = 0): void {
  if (!Number.isInteger(value) || value < 0 || value >= 256 ** place.size) {
    throw new RangeError(`${value} does not fit into ${place.size} bytes`);
  }
  const start = startOf(frames, place, index);
  for (let at = start + place.size - 1, rest = value; at >= start; at -= 1) {
    frames[at] = rest & 0xff;
    rest = Math.floor(rest / 256);
  }
}

/** Stores bytes into a field of frame `index`. Throws RangeError unless they have its size. */
export function setField(frames: Uint8Array, place: Place, bytes: Uint8Array, index = 0): void {
  if (bytes.length !== place.size) {
    throw new RangeError(`${bytes.length} bytes where ${place.size} belong`);
  }
  fieldOf(frames, place, index).set(bytes);
}

/** Decodes frame `index`, copying. Throws RangeError when it is not whole. */
export function decodeFrame(frames: Uint8Array, index = 0): RpmbFrame {
  return {
    keyMac: new Uint8Array(fieldOf(frames, FRAME.keyMac, index)),
    data: new Uint8Array(fieldOf(frames, FRAME.data, index)),
    nonce: new Uint8Array(fieldOf(frames, FRAME.nonce, index)),
    writeCounter: numberOf(frames, FRAME.writeCounter, index),
    address: numberOf(frames, FRAME.address, index),
    blockCount: numberOf(frames, FRAME.blockCount, index),
    result: numberOf(frames, FRAME.result, index),
    type: numberOf(frames, FRAME.type, index),
  };
}

/** Encodes frames one after the other; what is left out is 0. Throws RangeError for wrong sizes. */
export function encodeFrames(...frames: readonly Partial<RpmbFrame>[]): Uint8Array {
  const bytes = new Uint8Array(frames.length * FRAME_SIZE);
  for (const [index, frame] of frames.entries()) {
    for (const field of ["keyMac", "data", "nonce"] as const) {
      const value = frame[field];
      if (value !== undefined) setField(bytes, FRAME[field], value, index);
    }
    for (const field of ["writeCounter", "address", "blockCount", "result", "type"] as const) {
      setNumber(bytes, FRAME[field], frame[field] ?? 0, index);
    }
  }
  return bytes;
}

/**
 * A copy for traces: the key in a frame that programs one is overwritten with asterisks, as
 * everything that leaves for a log must be.
 */
export function maskedFrames(frames: Uint8Array): Uint8Array {
  const copy = new Uint8Array(frames);
  for (let index = 0; (index + 1) * FRAME_SIZE <= copy.length; index += 1) {
    if (numberOf(copy, FRAME.type, index) === RPMB_REQUEST.PROGRAM_KEY) {
      fieldOf(copy, FRAME.keyMac, index).fill(0x2a);
    }
  }
  return copy;
}
