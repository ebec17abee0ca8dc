import { expect, test } from "@jest/globals";
import {
  CID,
  COUNTER_EXPIRED,
  decodeFrame,
  deriveRpmbKey,
  EmmcRpmb,
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  framesAuthentic,
  framesMac,
  intoKey,
  maskedFrames,
  MAX_COUNTER,
  RPMB_DEV_INFO,
  RPMB_REQ,
  RPMB_REQ_CMD,
  RPMB_REQUEST,
  RPMB_RESULT,
  setField,
  signFrames,
  zeroHuk,
} from "./index.ts";

const KEY = intoKey(new Uint8Array(32).fill(0x5a));
const CARD = Uint8Array.from(Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex"));
const NONCE = Uint8Array.from({ length: 16 }, (_, index) => index + 1);

const part = (writeCounter = 0): EmmcRpmb =>
  new EmmcRpmb({ cid: CARD, sizeMultiplier: 1, key: KEY, writeCounter });

function writeOf(writeCounter: number, address = 0): Uint8Array {
  const frames = encodeFrames({
    type: RPMB_REQUEST.WRITE_DATA,
    data: new Uint8Array(256).fill(7),
    blockCount: 1,
    address,
    writeCounter,
  });
  signFrames(KEY, frames);
  return frames;
}

test.each([
  ["RPMB-1.FRAME_KEY_MAC", "keyMac", 196, 32],
  ["RPMB-1.FRAME_DATA", "data", 228, 256],
  ["RPMB-1.FRAME_NONCE", "nonce", 484, 16],
  ["RPMB-1.FRAME_COUNTER", "writeCounter", 500, 4],
  ["RPMB-1.FRAME_ADDRESS", "address", 504, 2],
  ["RPMB-1.FRAME_COUNT", "blockCount", 506, 2],
  ["RPMB-1.FRAME_RESULT", "result", 508, 2],
  ["RPMB-1.FRAME_TYPE", "type", 510, 2],
] as const)("%s: %s is at byte %i of a frame, %i bytes", (_clause, name, offset, size) => {
  expect(FRAME[name]).toEqual({ offset, size });
  const value =
    size > 4 ? Uint8Array.from({ length: size }, (_, index) => index) : 0x0102_0304 % 256 ** size;
  const frame = encodeFrames({ [name]: value });
  const shown =
    typeof value === "number"
      ? value.toString(16).padStart(2 * size, "0")
      : Buffer.from(value).toString("hex");
  expect(Buffer.from(frame.subarray(offset, offset + size)).toString("hex")).toBe(shown);
  frame.fill(0, offset, offset + size);
  expect(frame).toEqual(new Uint8Array(FRAME_SIZE));
});

test("RPMB-1.FRAME_STUFF: the first 196 bytes of a frame are under no MAC", () => {
  expect(FRAME.stuff).toEqual({ offset: 0, size: 196 });
  const frames = writeOf(0);
  frames.fill(0xee, 0, 196);
  expect(decodeFrame(part().frames(frames, 1)).result).toBe(RPMB_RESULT.OK);
});

test.each([
  ["RPMB-1.TYPE_PROGRAM_KEY", 0x0001, 0x0100],
  ["RPMB-1.TYPE_READ_COUNTER", 0x0002, 0x0200],
  ["RPMB-1.TYPE_WRITE_DATA", 0x0003, 0x0300],
  ["RPMB-1.TYPE_READ_DATA", 0x0004, 0x0400],
])("%s: a request of type %i is answered with one of type %i", (_clause, type, answer) => {
  expect(decodeFrame(part().frames(encodeFrames({ type }), 1)).type).toBe(answer);
});

test("RPMB-1.TYPE_READ_RESULT, RPMB-1.SEQUENCE_WRITE, RPMB-9.RESULT_REQUEST, RPMB-9.RESULT_REGISTER: a result is had with a frame of type 5, and no read goes into its place", () => {
  const device = part();
  device.write(writeOf(0), true);
  device.write(encodeFrames({ type: RPMB_REQUEST.READ_RESULT }), false);
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0x300, result: 0, writeCounter: 1 });
  device.write(encodeFrames({ type: RPMB_REQUEST.READ_COUNTER, nonce: NONCE }), false);
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0x200, nonce: NONCE, writeCounter: 1 });
});

test.each([
  ["RPMB-1.RESULT_OK", "OK", 0],
  ["RPMB-1.RESULT_GENERAL_FAILURE", "GENERAL_FAILURE", 1],
  ["RPMB-1.RESULT_AUTHENTICATION_FAILURE", "AUTHENTICATION_FAILURE", 2],
  ["RPMB-1.RESULT_COUNTER_FAILURE", "COUNTER_FAILURE", 3],
  ["RPMB-1.RESULT_ADDRESS_FAILURE", "ADDRESS_FAILURE", 4],
  ["RPMB-1.RESULT_WRITE_FAILURE", "WRITE_FAILURE", 5],
  ["RPMB-1.RESULT_READ_FAILURE", "READ_FAILURE", 6],
  ["RPMB-1.RESULT_NO_KEY", "KEY_NOT_PROGRAMMED", 7],
] as const)("%s: the result %s is %i", (_clause, name, code) => {
  expect(RPMB_RESULT[name]).toBe(code);
});

test("RPMB-1.RESULT_EXPIRED, RPMB-9.SATURATION: at its end the counter flags every result and no write is taken", () => {
  const device = part(MAX_COUNTER);
  const write = decodeFrame(device.frames(writeOf(MAX_COUNTER), 1));
  expect(write.result).toBe(COUNTER_EXPIRED | RPMB_RESULT.WRITE_FAILURE);
  for (const type of [RPMB_REQUEST.READ_COUNTER, RPMB_REQUEST.READ_DATA]) {
    expect(decodeFrame(device.frames(encodeFrames({ type }), 1)).result).toBe(0x80);
  }
  expect([device.writeCounter, device.image()[0]]).toEqual([MAX_COUNTER, 0]);
});

test("RPMB-1.FIELDS_READ, RPMB-1.SEQUENCE_READ, RPMB-9.MAC_LAST_FRAME: a read names no count, as many frames as are read come back, the last one with the MAC", () => {
  const device = part();
  device.write(encodeFrames({ type: RPMB_REQUEST.READ_DATA, nonce: NONCE, address: 3 }), false);
  const frames = device.read(3);
  for (const index of [0, 1, 2]) {
    const frame = decodeFrame(frames, index);
    expect(frame).toMatchObject({ type: 0x400, nonce: NONCE, address: 3, blockCount: 3 });
    expect(frame.keyMac.some((byte) => byte !== 0)).toBe(index === 2);
  }
  expect(framesAuthentic(KEY, frames)).toBe(true);
  // A MAC in an earlier frame is nothing.
  setField(frames, FRAME.keyMac, framesMac(KEY, frames), 0);
  setField(frames, FRAME.keyMac, new Uint8Array(32), 2);
  expect(framesAuthentic(KEY, frames)).toBe(false);
});

test("RPMB-9.KEY_UNREADABLE: no request that there is gives the key, and a frame that carries it is masked", () => {
  const device = part();
  const key = KEY.export();
  for (let type = 0; type < 16; type += 1) {
    const answer = device.frames(encodeFrames({ type, keyMac: key }), 2);
    expect(Buffer.from(answer).includes(key)).toBe(false);
  }
  expect(Buffer.from(device.image()).includes(key)).toBe(false);
  const request = encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: key });
  expect(Buffer.from(maskedFrames(request)).includes(key)).toBe(false);
});

const hexKey = (cid: Uint8Array): string =>
  deriveRpmbKey(zeroHuk(), cid, { compat: true }).export().toString("hex");

test.each([
  ["RPMB-2.3.MID", "MID", 0, 1, true],
  ["RPMB-2.3.CBX", "CBX", 1, 1, true],
  ["RPMB-2.3.OID", "OID", 2, 1, true],
  ["RPMB-2.3.PNM", "PNM", 3, 6, true],
  ["RPMB-2.3.PRV", "PRV", 9, 1, false],
  ["RPMB-2.3.PSN", "PSN", 10, 4, true],
  ["RPMB-2.3.MDT", "MDT", 14, 1, true],
  ["RPMB-2.3.CRC", "CRC", 15, 1, false],
] as const)(
  "%s: %s of a CID is at byte %i, length %i, and a change of it is another key: %s",
  (_clause, name, offset, size, matters) => {
    expect(CID[name]).toEqual({ offset, size });
    for (let at = offset; at < offset + size; at += 1) {
      const other = CARD.slice();
      other[at] = (other[at] ?? 0) ^ 0x01;
      expect(hexKey(other) !== hexKey(CARD)).toBe(matters);
    }
  },
);

test.each([
  ["RPMB-2.1.CMD", "cmd", 0],
  ["RPMB-2.1.DEV_ID", "devId", 2],
  ["RPMB-2.1.BLOCK_COUNT", "blockCount", 4],
  ["RPMB-2.1.FRAMES", "size", 6],
] as const)("%s: %s of the supplicant's request is %i", (_clause, name, offset) => {
  expect(RPMB_REQ[name]).toBe(offset);
  expect(RPMB_REQ_CMD).toEqual({ DATA_REQ: 0, GET_DEV_INFO: 1 });
});

test.each([
  ["RPMB-2.1.INFO_CID", "cid", 0],
  ["RPMB-2.1.INFO_SIZE_MULT", "sizeMult", 16],
  ["RPMB-2.1.INFO_REL_WR_SEC_C", "relWrSecC", 17],
  ["RPMB-2.1.INFO_RET_CODE", "retCode", 18],
] as const)("%s: %s of the device information is at byte %i", (_clause, name, offset) => {
  expect(RPMB_DEV_INFO[name]).toBe(offset);
  expect(RPMB_DEV_INFO.size).toBe(19);
});
