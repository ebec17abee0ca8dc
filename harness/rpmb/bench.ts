import { createHmac } from "node:crypto";
import { EmmcRpmb } from "./emmc.ts";
import { encodeFrames, FRAME, FRAME_SIZE, MAC_START, numberOf, RPMB_REQUEST } from "./frame.ts";
import { intoKey } from "./key.ts";
import { signFrames } from "./mac.ts";

export interface RpmbBench {
  /** Rate of the device over that of bare HMAC-SHA-256 of the same bytes; higher is better. */
  readonly ratio: number;
  readonly framesPerSecond: number;
  readonly deviceMs: number;
  readonly hmacMs: number;
}

const WRITES = 400;
const READ_FRAMES = 8;

/**
 * Measures the emulated part on what OP-TEE does most, writes of one block and reads of eight,
 * against the same HMACs over the same bytes and nothing else. Short rounds in turns, the fastest of
 * each counts, so that what else the machine does hits both alike.
 */
export function benchRpmb(rounds = 40): RpmbBench {
  const key = intoKey(new Uint8Array(32).fill(0x5a));
  const cid = Uint8Array.from({ length: 16 }, (_, index) => index);
  const data = new Uint8Array(256).fill(0xa5);
  let deviceMs = Number.POSITIVE_INFINITY;
  let hmacMs = Number.POSITIVE_INFINITY;
  let frames = 0;
  for (let round = 0; round < rounds; round += 1) {
    const part = new EmmcRpmb({ cid, sizeMultiplier: 1, key });
    const requests: Uint8Array[] = [];
    for (let index = 0; index < WRITES; index += 1) {
      const type = RPMB_REQUEST.WRITE_DATA;
      const place = { address: index, blockCount: 1, writeCounter: index };
      const write = encodeFrames({ type, data, ...place });
      signFrames(key, write);
      const read = encodeFrames({ type: RPMB_REQUEST.READ_DATA, address: index });
      requests.push(write, read);
    }
    const answers: Uint8Array[] = [];
    const started = performance.now();
    for (const request of requests) answers.push(part.frames(request, expected(request)));
    const middle = performance.now();
    for (const [index, answer] of answers.entries()) {
      const request = requests[index];
      if (request !== undefined && index % 2 === 0) hmac(key, request);
      hmac(key, answer);
    }
    const ended = performance.now();
    deviceMs = Math.min(deviceMs, middle - started);
    hmacMs = Math.min(hmacMs, ended - middle);
    frames = answers.reduce((sum, answer) => sum + 1 + answer.length / FRAME_SIZE, 0);
  }
  const framesPerSecond = Math.round((frames / deviceMs) * 1000);
  return { ratio: hmacMs / deviceMs, framesPerSecond, deviceMs, hmacMs };
}

const expected = (request: Uint8Array): number =>
  numberOf(request, FRAME.type) === RPMB_REQUEST.READ_DATA ? READ_FRAMES : 1;

/** The least that authenticates these frames. */
function hmac(key: Parameters<typeof signFrames>[0], frames: Uint8Array): void {
  const mac = createHmac("sha256", key);
  for (let end = FRAME_SIZE; end <= frames.length; end += FRAME_SIZE) {
    mac.update(frames.subarray(end - FRAME_SIZE + MAC_START, end));
  }
  mac.digest();
}
