import { expect, test } from "@jest/globals";
import {
  decodeFrame,
  deriveRpmbKey,
  encodeFrames,
  framesAuthentic,
  type RpmbFrame,
  RPMB_REQUEST,
  RPMB_RESULT,
  signFrames,
  SupplicantRpmb,
  zeroHuk,
} from "./index.ts";

const device = (): SupplicantRpmb => new SupplicantRpmb();
const KEY = deriveRpmbKey(zeroHuk(), device().cid, { compat: true });
const NONCE = new Uint8Array(16).fill(9);

const program = (card: SupplicantRpmb): RpmbFrame =>
  decodeFrame(card.frames(encodeFrames({ type: 1, keyMac: Uint8Array.from(KEY.export()) }), 1));
function write(
  card: SupplicantRpmb,
  fills: readonly number[],
  writeCounter = 0,
  address = 0,
): RpmbFrame {
  const request = encodeFrames(
    ...fills.map((byte) => ({
      type: RPMB_REQUEST.WRITE_DATA,
      data: new Uint8Array(256).fill(byte),
      blockCount: fills.length,
      writeCounter,
      address,
    })),
  );
  signFrames(KEY, request);
  return decodeFrame(card.frames(request, 1));
}

test("RPMB-6.2.WRITE_BEFORE_KEY, RPMB-6.2.READ_BEFORE_KEY, RPMB-6.2.COUNTER_BEFORE_KEY, RPMB-6.2.ADDRESS_FIRST: before its key, writes fail authentication and reads succeed unsigned", () => {
  const card = device();
  expect(write(card, [1]).result).toBe(RPMB_RESULT.AUTHENTICATION_FAILURE);
  expect(write(card, [1], 0, 1024).result).toBe(RPMB_RESULT.ADDRESS_FAILURE);
  const read = decodeFrame(card.frames(encodeFrames({ type: 4, nonce: NONCE }), 1));
  expect(read).toMatchObject({ type: 0x400, result: 0, keyMac: new Uint8Array(32) });
  const counter = decodeFrame(card.frames(encodeFrames({ type: 2, nonce: NONCE }), 1));
  expect(counter).toMatchObject({ type: 0x200, result: 7, nonce: NONCE });
});

test("RPMB-6.2.COUNTER, RPMB-6.2.COUNTER_CHECK, RPMB-6.2.SECOND_KEY: no write counter is checked, and it counts frames", () => {
  const card = device();
  expect(program(card)).toMatchObject({ type: 0x100, result: 0 });
  expect(program(card)).toMatchObject({ type: 0x100, result: RPMB_RESULT.GENERAL_FAILURE });
  expect(write(card, [1, 2, 3], 77, 5)).toMatchObject({ result: 0, writeCounter: 3, address: 5 });
  const counter = card.frames(encodeFrames({ type: 2, nonce: NONCE }), 1);
  expect(decodeFrame(counter)).toMatchObject({ result: 0, writeCounter: 3 });
  expect(framesAuthentic(KEY, counter)).toBe(true);
});

test("RPMB-6.2.BLOCK_COUNT, RPMB-6.2.BOUNDS: the count in read answers has the host's byte order, beyond the end nothing is answered", () => {
  const card = device();
  program(card);
  write(card, [1, 2]);
  const read = card.frames(encodeFrames({ type: 4, nonce: NONCE }), 2);
  expect(framesAuthentic(KEY, read)).toBe(true);
  expect(decodeFrame(read, 1)).toMatchObject({ blockCount: 0x200, nonce: NONCE, address: 0 });
  expect(decodeFrame(read, 1).data[0]).toBe(2);
  const beyond = card.frames(encodeFrames({ type: 4, address: 1023 }), 2);
  expect(beyond.every((byte) => byte === 0)).toBe(true);
});

test("RPMB-6.2.COUNTER_MAC: a counter read after a write that failed has no result of that write, and its MAC holds", () => {
  const card = device();
  program(card);
  expect(write(card, [1], 0, 1024).result).toBe(RPMB_RESULT.ADDRESS_FAILURE);
  const counter = card.frames(encodeFrames({ type: 2, nonce: NONCE }), 1);
  expect(decodeFrame(counter)).toMatchObject({ type: 0x200, result: 0, writeCounter: 0 });
  expect(framesAuthentic(KEY, counter)).toBe(true);
});

test("RPMB-6.2.RESULT_READ, RPMB-6.2.UNKNOWN_TYPE: frames that ask for the result or have no type change no answer", () => {
  const card = device();
  program(card);
  const first = write(card, [1]);
  for (const type of [5, 0, 99]) {
    expect(decodeFrame(card.frames(encodeFrames({ type }), 1))).toEqual(first);
  }
});
