import type { KeyObject } from "node:crypto";
import {
  decodeFrame,
  encodeFrames,
  intoKey,
  RPMB_REQUEST,
  type RpmbDevice,
  type RpmbFrame,
  signFrames,
} from "../index.ts";

const KEY_BYTES = new Uint8Array(32).fill(0x5a);
export const TEST_KEY: KeyObject = intoKey(KEY_BYTES.slice());
export const TEST_CID: Uint8Array = Uint8Array.from(
  Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex"),
);
export const TEST_NONCE: Uint8Array = Uint8Array.from({ length: 16 }, (_, index) => index + 1);

export const keyRequest = (): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: KEY_BYTES });

export const readRequest = (type: number, address = 0): Uint8Array =>
  encodeFrames({ type, address, nonce: TEST_NONCE });

/** A write of blocks that each hold one byte throughout, authentic unless another key is given. */
export function writeRequest(
  writeCounter: number,
  address: number,
  fills: readonly number[],
  key = TEST_KEY,
): Uint8Array {
  const frames = fills.map((byte) => ({
    type: RPMB_REQUEST.WRITE_DATA,
    data: new Uint8Array(256).fill(byte),
    blockCount: fills.length,
    address,
    writeCounter,
  }));
  const bytes = encodeFrames(...frames);
  signFrames(key, bytes);
  return bytes;
}

export interface ConfigWrite {
  readonly address: number;
  readonly value: number;
  readonly writeCounter?: number;
  readonly blockCount?: number;
  readonly key?: KeyObject;
}

export function configRequest(write: ConfigWrite): Uint8Array {
  const { address, value, writeCounter = 0, blockCount = 1, key = TEST_KEY } = write;
  const data = new Uint8Array(256);
  data[255] = value;
  const type = RPMB_REQUEST.CONFIG_WRITE;
  const bytes = encodeFrames({ type, data, address, writeCounter, blockCount });
  signFrames(key, bytes);
  return bytes;
}

/** The one frame that answers a request. */
export const ask = (part: RpmbDevice, request: Uint8Array): RpmbFrame =>
  decodeFrame(part.frames(request, 1));
