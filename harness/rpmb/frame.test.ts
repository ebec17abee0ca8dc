import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import {
  cidForKey,
  decodeDeviceInfo,
  decodeFrame,
  decodeRequestHeader,
  encodeDeviceInfo,
  encodeFrames,
  encodeRequestHeader,
  FRAME,
  FRAME_SIZE,
  maskedFrames,
  numberOf,
  RPMB_REQUEST,
  type RpmbFrame,
  setNumber,
} from "./index.ts";

test("the fields lie end to end in 512 bytes, numbers big-endian", () => {
  let at = 0;
  for (const place of Object.values(FRAME)) {
    expect(place.offset).toBe(at);
    at += place.size;
  }
  expect(at).toBe(FRAME_SIZE);
  const bytes = encodeFrames({
    keyMac: new Uint8Array(32).fill(0x11),
    data: new Uint8Array(256).fill(0x22),
    nonce: new Uint8Array(16).fill(0x33),
    writeCounter: 0x0102_0304,
    address: 0x0506,
    blockCount: 0x0708,
    result: 0x090a,
    type: 0x0b0c,
  });
  const golden = [
    "00".repeat(196),
    "11".repeat(32),
    "22".repeat(256),
    "33".repeat(16),
    "0102030405060708090a0b0c",
  ].join("");
  expect(Buffer.from(bytes).toString("hex")).toBe(golden);
});

const octets = (size: number): fc.Arbitrary<Uint8Array> =>
  fc.uint8Array({ minLength: size, maxLength: size });
const u16 = fc.nat(0xffff);
const frame: fc.Arbitrary<RpmbFrame> = fc.record({
  keyMac: octets(32),
  data: octets(256),
  nonce: octets(16),
  writeCounter: fc.nat(0xffff_ffff),
  address: u16,
  blockCount: u16,
  result: u16,
  type: u16,
});

test("what was encoded decodes to the same, frame by frame", () => {
  fc.assert(
    fc.property(fc.array(frame, { minLength: 1, maxLength: 4 }), (frames) => {
      const bytes = encodeFrames(...frames);
      expect(bytes.length).toBe(frames.length * FRAME_SIZE);
      expect(frames.map((_, index) => decodeFrame(bytes, index))).toEqual(frames);
    }),
    { numRuns: budget(100, 5000) },
  );
});

test("any bytes decode to the same bytes but for the stuff, or are refused as not whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 2 * FRAME_SIZE, size: "max" }), (bytes) => {
      if (bytes.length < FRAME_SIZE) {
        expect(() => decodeFrame(bytes)).toThrow(RangeError);
        return;
      }
      const again = encodeFrames(decodeFrame(bytes));
      expect(again.subarray(196)).toEqual(bytes.subarray(196, FRAME_SIZE));
    }),
    { numRuns: budget(100, 5000) },
  );
});

test("numbers that do not fit and fields of another size are refused", () => {
  for (const wrong of [-1, 0x1_0000, 1.5, Number.NaN]) {
    expect(() => setNumber(new Uint8Array(FRAME_SIZE), FRAME.type, wrong)).toThrow(RangeError);
  }
  expect(() => encodeFrames({ data: new Uint8Array(255) })).toThrow(RangeError);
  expect(() => numberOf(new Uint8Array(FRAME_SIZE), FRAME.type, 1)).toThrow(RangeError);
});

test("a trace of frames shows no key that is programmed, and shows MACs", () => {
  const keyMac = new Uint8Array(32).fill(0x77);
  const bytes = encodeFrames({ keyMac, type: 1 }, { keyMac, type: 3 });
  const masked = maskedFrames(bytes);
  expect(decodeFrame(masked, 0).keyMac).toEqual(new Uint8Array(32).fill(0x2a));
  expect(masked.subarray(FRAME_SIZE)).toEqual(bytes.subarray(FRAME_SIZE));
  expect(decodeFrame(bytes).keyMac).toEqual(keyMac);
});

test("the legacy request header and the device information, byte by byte", () => {
  const header = { cmd: 1, devId: 2, blockCount: 0x304 };
  expect([...encodeRequestHeader(header)]).toEqual([1, 0, 2, 0, 4, 3]);
  expect(decodeRequestHeader(encodeRequestHeader(header))).toEqual(header);
  const info = {
    cid: Uint8Array.from({ length: 16 }, (_, index) => 0xa0 + index),
    sizeMultiplier: 2,
    relWrSecC: 1,
  };
  const bytes = encodeDeviceInfo(info);
  expect(Buffer.from(bytes).toString("hex")).toBe("a0a1a2a3a4a5a6a7a8a9aaabacadaeaf020100");
  expect(decodeDeviceInfo(bytes)).toEqual(info);
  bytes[18] = 1;
  expect(decodeDeviceInfo(bytes)).toBeUndefined();
  expect(() => decodeDeviceInfo(bytes.subarray(0, 18))).toThrow(RangeError);
  expect(() => encodeDeviceInfo({ ...info, cid: new Uint8Array(15) })).toThrow(RangeError);
});

test("what comes in a Buffer is copied: masking it and zeroing parts of its CID leave it as it is", () => {
  const frames = Buffer.from(
    encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: new Uint8Array(32).fill(7) }),
  );
  expect(maskedFrames(frames)[FRAME.keyMac.offset]).toBe(0x2a);
  const decoded = decodeFrame(frames);
  expect(frames[FRAME.keyMac.offset]).toBe(7);
  frames.fill(0);
  expect(decoded.keyMac[0]).toBe(7);
  const cid = Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex");
  expect(Buffer.from(cidForKey(cid)).toString("hex")).toBe("fe014e4d4d4330344700c8f6552a6100");
  expect(cid.toString("hex")).toBe("fe014e4d4d4330344742c8f6552a6115");
});
