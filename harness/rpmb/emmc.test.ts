import type { KeyObject } from "node:crypto";
import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../base/index.ts";
import {
  decodeFrame,
  EmmcRpmb,
  type EmmcRpmbOptions,
  encodeFrames,
  FRAME_SIZE,
  framesAuthentic,
  intoKey,
  PowerCut,
  type RpmbFrame,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  signFrames,
} from "./index.ts";

const KEY_BYTES = new Uint8Array(32).fill(0x5a);
const KEY = intoKey(KEY_BYTES.slice());
const OTHER_KEY = intoKey(new Uint8Array(32).fill(0x5b));
const CID_BYTES = Uint8Array.from(Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex"));
const NONCE = Uint8Array.from({ length: 16 }, (_, index) => index + 1);
const {
  OK,
  GENERAL_FAILURE,
  AUTHENTICATION_FAILURE,
  COUNTER_FAILURE,
  ADDRESS_FAILURE,
  WRITE_FAILURE,
  KEY_NOT_PROGRAMMED,
} = RPMB_RESULT;

const part = (options: Partial<EmmcRpmbOptions> = {}): EmmcRpmb =>
  new EmmcRpmb({ cid: CID_BYTES, sizeMultiplier: 1, key: KEY, ...options });
const blank = (): EmmcRpmb => new EmmcRpmb({ cid: CID_BYTES, sizeMultiplier: 1 });

const programRequest = (bytes = KEY_BYTES): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: bytes });
const counterRequest = (): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.READ_COUNTER, nonce: NONCE });
const readRequest = (address: number): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.READ_DATA, nonce: NONCE, address });

interface Write {
  readonly address?: number;
  readonly writeCounter?: number;
  readonly fills?: readonly number[];
  readonly blockCount?: number;
  readonly key?: KeyObject;
  readonly change?: (frames: Partial<RpmbFrame>[]) => void;
}

function writeRequest({
  address = 0,
  writeCounter = 0,
  fills = [0xa5],
  ...rest
}: Write): Uint8Array {
  const blockCount = rest.blockCount ?? fills.length;
  const frames: Partial<RpmbFrame>[] = fills.map((byte) => ({
    type: RPMB_REQUEST.WRITE_DATA,
    data: new Uint8Array(256).fill(byte),
    address,
    writeCounter,
    blockCount,
  }));
  rest.change?.(frames);
  const bytes = encodeFrames(...frames);
  signFrames(rest.key ?? KEY, bytes);
  return bytes;
}

const write = (device: EmmcRpmb, request: Write): RpmbFrame =>
  decodeFrame(device.frames(writeRequest(request), 1));

test("RPMB-1.3, RPMB-1.4, RPMB-1.FIELDS_KEY, RPMB-1.FIELDS_COUNTER: a blank part takes a key once and answers nothing authentic before", () => {
  const device = blank();
  const before = device.frames(counterRequest(), 1);
  expect(decodeFrame(before)).toMatchObject({
    type: RPMB_RESPONSE.READ_COUNTER,
    result: KEY_NOT_PROGRAMMED,
    keyMac: new Uint8Array(32),
  });
  expect(decodeFrame(device.frames(readRequest(0), 1)).result).toBe(KEY_NOT_PROGRAMMED);
  expect(write(device, {}).result).toBe(KEY_NOT_PROGRAMMED);
  const programmed = decodeFrame(device.frames(programRequest(), 1));
  expect(programmed).toMatchObject({ type: RPMB_RESPONSE.PROGRAM_KEY, result: OK });
  expect(programmed.keyMac).toEqual(new Uint8Array(32));
  const second = decodeFrame(device.frames(programRequest(new Uint8Array(32)), 1));
  expect(second).toMatchObject({ type: RPMB_RESPONSE.PROGRAM_KEY, result: GENERAL_FAILURE });
  const counter = device.frames(counterRequest(), 1);
  expect(decodeFrame(counter)).toMatchObject({ result: OK, writeCounter: 0, nonce: NONCE });
  expect(framesAuthentic(KEY, counter)).toBe(true);
});

test("RPMB-1.1, RPMB-1.5, RPMB-1.FIELDS_WRITE: a write of two blocks is read back authentic, with the count of the transfer", () => {
  const device = part({ writeCounter: 5 });
  const written = device.frames(writeRequest({ address: 2, writeCounter: 5, fills: [1, 2] }), 1);
  expect(framesAuthentic(KEY, written)).toBe(true);
  expect(decodeFrame(written)).toMatchObject({
    type: RPMB_RESPONSE.WRITE_DATA,
    result: OK,
    writeCounter: 6,
    address: 2,
    blockCount: 0,
  });
  const read = device.frames(readRequest(1), 4);
  expect(framesAuthentic(KEY, read)).toBe(true);
  const frames = [0, 1, 2, 3].map((index) => decodeFrame(read, index));
  expect(frames.map(({ data }) => data[255])).toEqual([0, 1, 2, 0]);
  for (const [index, frame] of frames.entries()) {
    expect(frame).toMatchObject({ address: 1, blockCount: 4, nonce: NONCE, result: OK });
    // The MAC is in the last frame only.
    expect(frame.keyMac.some((byte) => byte !== 0)).toBe(index === 3);
  }
});

test("RPMB-1.2, RPMB-9.STALE_COUNTER: checks of a write are made in their order, and none but the last changes the part", () => {
  const wrong = { key: OTHER_KEY, writeCounter: 9, address: 512 };
  const expired = part({ writeCounter: 0xffff_ffff });
  expect(write(expired, wrong).result).toBe(WRITE_FAILURE | 0x80);
  const device = part();
  device.failingWrites = 1;
  expect(write(device, wrong).result).toBe(ADDRESS_FAILURE);
  expect(write(device, { ...wrong, address: 0 }).result).toBe(AUTHENTICATION_FAILURE);
  const stale = decodeFrame(device.frames(writeRequest({ writeCounter: 9 }), 1));
  expect(stale).toMatchObject({ result: COUNTER_FAILURE, writeCounter: 0 });
  expect(write(device, {}).result).toBe(WRITE_FAILURE);
  expect([device.writeCounter, device.image().some((byte) => byte !== 0)]).toEqual([0, false]);
  expect(write(device, {})).toMatchObject({ result: OK, writeCounter: 1 });
  // Once more the same frames: a replay.
  expect(write(device, {}).result).toBe(COUNTER_FAILURE);
});

test("RPMB-1.5, RPMB-9.ADDRESS_RANGE: the last block can be written and read, what reaches beyond it not", () => {
  const device = part();
  expect(device.blocks).toBe(512);
  expect(write(device, { address: 511 }).result).toBe(OK);
  expect(write(device, { address: 511, fills: [1, 2], writeCounter: 1 }).result).toBe(
    ADDRESS_FAILURE,
  );
  expect(decodeFrame(device.frames(readRequest(511), 1)).result).toBe(OK);
  const beyond = device.frames(readRequest(511), 2);
  expect(decodeFrame(beyond, 1).result).toBe(ADDRESS_FAILURE);
  expect(decodeFrame(beyond, 0).data).toEqual(new Uint8Array(256));
  expect(decodeFrame(device.frames(readRequest(0xffff), 1)).result).toBe(ADDRESS_FAILURE);
});

test("RPMB-1.6: writes have 1 or 2 frames, and 32 where the part allows it", () => {
  const fills = Array.from({ length: 32 }, (_, index) => index + 1);
  for (const count of [3, 4, 31, 32]) {
    expect(write(part(), { fills: fills.slice(0, count) }).result).toBe(GENERAL_FAILURE);
  }
  const enhanced = part({ enhancedReliableWrite: true });
  expect(write(enhanced, { fills }).result).toBe(OK);
  expect(enhanced.writeCounter).toBe(1);
  expect(enhanced.image()[31 * 256]).toBe(32);
  expect(write(enhanced, { fills: fills.slice(0, 3), writeCounter: 1 }).result).toBe(
    GENERAL_FAILURE,
  );
});

test.each<[string, NonNullable<Write["change"]>]>([
  ["address", ([, second]) => Object.assign(second ?? {}, { address: 1 })],
  ["counter", ([, second]) => Object.assign(second ?? {}, { writeCounter: 1 })],
  ["type", ([, second]) => Object.assign(second ?? {}, { type: 4 })],
  ["count", (frames) => frames.forEach((one) => Object.assign(one, { blockCount: 1 }))],
])("the frames of a write that disagree in their %s are refused", (_field, change) => {
  const device = part();
  expect(write(device, { fills: [1, 2], change }).result).toBe(GENERAL_FAILURE);
  expect(device.writeCounter).toBe(0);
});

test("the counter expires for good: the last write works, then every result has bit 7", () => {
  const device = part({ writeCounter: 0xffff_fffe });
  const last = write(device, { writeCounter: 0xffff_fffe });
  expect(last).toMatchObject({ result: 0x80, writeCounter: 0xffff_ffff });
  expect(write(device, { writeCounter: 0xffff_ffff }).result).toBe(0x85);
  expect(decodeFrame(device.frames(counterRequest(), 1)).result).toBe(0x80);
  expect(decodeFrame(device.frames(readRequest(0), 2), 1)).toMatchObject({ result: 0x80 });
  expect(device.writeCounter).toBe(0xffff_ffff);
});

test("keys and data need the reliable-write flag, and a result is fetched by a frame of its own", () => {
  const device = blank();
  device.write(programRequest(), false);
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0x100, result: GENERAL_FAILURE });
  expect(device.keyProgrammed).toBe(false);
  device.write(programRequest(), true);
  device.write(encodeFrames({ type: RPMB_REQUEST.READ_RESULT }), false);
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0x100, result: OK });
  device.write(writeRequest({}), false);
  expect(decodeFrame(device.read(1)).result).toBe(GENERAL_FAILURE);
  expect(device.writeCounter).toBe(0);
});

test("reads without a request and reserved types are general failures", () => {
  const device = part();
  expect(decodeFrame(device.read(1))).toMatchObject({ type: 0, result: GENERAL_FAILURE });
  for (const type of [0, 8, 9, 0x0103, 0xffff]) {
    const answer = device.frames(encodeFrames({ type, nonce: NONCE }), 1);
    expect(decodeFrame(answer)).toMatchObject({
      type: (type & 0xff) << 8,
      result: GENERAL_FAILURE,
    });
  }
  const two = device.frames(counterRequest(), 2);
  expect(decodeFrame(two).result).toBe(GENERAL_FAILURE);
  const twice = encodeFrames({ type: RPMB_REQUEST.READ_DATA }, { type: RPMB_REQUEST.READ_DATA });
  expect(decodeFrame(device.frames(twice, 1)).result).toBe(GENERAL_FAILURE);
  expect(() => device.frames(new Uint8Array(511), 1)).toThrow(RangeError);
  expect(() => device.frames(new Uint8Array(0), 1)).toThrow(RangeError);
  expect(() => device.frames(counterRequest(), 0)).toThrow(RangeError);
});

test("parts that cannot exist are refused", () => {
  for (const options of [
    { cid: new Uint8Array(15) },
    { sizeMultiplier: 0 },
    { sizeMultiplier: 129 },
    { writeCounter: 2 ** 32 },
    { key: intoKey(new Uint8Array(16).fill(1)) },
  ]) {
    expect(() => part(options)).toThrow(RangeError);
  }
});

test("RPMB-9.PERSISTENCE: power cut at every frame of a write: it happened whole or not at all, and the part answers again", () => {
  const fills = [7, 8];
  const outcomes: number[] = [];
  for (let frames = 0; frames < 4; frames += 1) {
    const device = part();
    device.power.cutAfter(frames);
    expect(() => device.frames(writeRequest({ fills }), 1)).toThrow(PowerCut);
    expect(() => device.frames(counterRequest(), 1)).toThrow(PowerCut);
    device.powerOn();
    // The result register is lost with the power.
    expect(decodeFrame(device.read(1)).result).toBe(GENERAL_FAILURE);
    const image = device.image();
    expect([image[0], image[256]]).toEqual(device.writeCounter === 1 ? fills : [0, 0]);
    outcomes.push(device.writeCounter);
    const next = write(device, { fills: [9], writeCounter: device.writeCounter });
    expect(next.result).toBe(OK);
  }
  // Two frames of data, the result request, the answer: committed with the last frame of data.
  expect(outcomes).toEqual([0, 0, 1, 1]);
});

test("power cut while the key is programmed: it is there or it can be programmed again", () => {
  for (let frames = 0; frames < 3; frames += 1) {
    const device = blank();
    device.power.cutAfter(frames);
    expect(() => device.frames(programRequest(), 1)).toThrow(PowerCut);
    device.powerOn();
    expect(device.keyProgrammed).toBe(frames > 0);
    expect(decodeFrame(device.frames(programRequest(), 1)).result).toBe(
      frames > 0 ? GENERAL_FAILURE : OK,
    );
    expect(framesAuthentic(KEY, device.frames(counterRequest(), 1))).toBe(true);
  }
});

test("a copy shares nothing with its part but the key", () => {
  const device = part();
  write(device, {});
  const twin = device.copy();
  write(device, { writeCounter: 1, fills: [1] });
  expect([twin.writeCounter, twin.image()[0]]).toEqual([1, 0xa5]);
  expect(framesAuthentic(KEY, twin.frames(counterRequest(), 1))).toBe(true);
});

test("any bytes as frames: the part answers or refuses, and only an authentic write changes it", () => {
  const frame = fc.record({
    type: fc.oneof(fc.integer({ min: 0, max: 8 }), fc.nat(0xffff)),
    address: fc.oneof(fc.integer({ min: 508, max: 514 }), fc.nat(0xffff)),
    blockCount: fc.nat(3),
    writeCounter: fc.nat(2),
    keyMac: fc.uint8Array({ minLength: 32, maxLength: 32 }),
  });
  const device = part();
  fc.assert(
    fc.property(
      fc.array(frame, { minLength: 1, maxLength: 3 }),
      fc.integer({ min: 1, max: 3 }),
      (frames, count) => {
        const answer = device.frames(encodeFrames(...frames), count);
        expect(answer.length).toBe(count * FRAME_SIZE);
        expect(device.writeCounter).toBe(0);
      },
    ),
    { numRuns: budget(300, 20_000) },
  );
  expect(device.image().every((byte) => byte === 0)).toBe(true);
});

test("a random history of writes is what reads give, and the counter counts requests", () => {
  const step = fc.record({
    address: fc.nat(511),
    fills: fc.constantFrom([1], [2, 3], [4], [5, 6]),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
      const device = part();
      const model = new Map<number, number>();
      let counter = 0;
      for (const { address, fills } of steps) {
        const fits = address + fills.length <= device.blocks;
        const { result } = write(device, { address, fills, writeCounter: counter });
        expect(result).toBe(fits ? OK : ADDRESS_FAILURE);
        if (!fits) continue;
        counter += 1;
        for (const [index, byte] of fills.entries()) model.set(address + index, byte);
      }
      expect(device.writeCounter).toBe(counter);
      const all = device.frames(readRequest(0), device.blocks);
      expect(framesAuthentic(KEY, all)).toBe(true);
      for (let block = 0; block < device.blocks; block += 1) {
        expect(decodeFrame(all, block).data[128]).toBe(model.get(block) ?? 0);
      }
    }),
    { numRuns: budget(20, 1000) },
  );
});
