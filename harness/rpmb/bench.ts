import { createHmac, type KeyObject } from "node:crypto";
import { closeSync, fdatasyncSync, fsyncSync, openSync, rmSync, writeSync } from "node:fs";
import path from "node:path";
import { EmmcRpmb } from "./emmc.ts";
import {
  BLOCK_SIZE,
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  MAC_START,
  numberOf,
  RPMB_REQUEST,
} from "./frame.ts";
import { intoKey } from "./key.ts";
import { signFrames } from "./mac.ts";
import { openRpmbState } from "./state-file.ts";

export interface RpmbBench {
  /** Rate of the device over that of its peer; higher is better. */
  readonly ratio: number;
  readonly framesPerSecond: number;
  readonly deviceMs: number;
  readonly hmacMs: number;
}

const WRITES = 400;
const FILE_WRITES = 100;
/** Requests that device and peer each do before it is the other's turn. */
const TURN = 40;
const READ_FRAMES = 8;

/**
 * Measures the emulated part on what OP-TEE does most, writes of one block and reads of eight,
 * against the same HMACs over the same bytes and nothing else. In short turns, of which the
 * fastest counts, so that what else the machine does hits both alike.
 */
export function benchRpmb(rounds = 40): RpmbBench {
  const key = benchKey();
  return measure(rounds, WRITES, {
    key,
    open: () => new EmmcRpmb({ cid: CID_BYTES, sizeMultiplier: 1, key }),
    close: () => {},
    write: () => {},
  });
}

/**
 * The same with the part's state in a file of `folder`, against the same HMACs and a plain write of
 * each written frame to a file, kept (fdatasync) or not, as the part's changes are.
 */
export function benchRpmbFile(folder: string, sync: boolean, rounds = 20): RpmbBench {
  const key = benchKey();
  const file = path.join(folder, "part");
  const raw = path.join(folder, "raw");
  const fd = openSync(raw, "w");
  // A file that grows takes longer to keep: this one has its size, as the part's has.
  writeSync(fd, new Uint8Array(2 * FILE_WRITES * FRAME_SIZE));
  fsyncSync(fd);
  const create = { cid: CID_BYTES, sizeMultiplier: 1, key };
  try {
    return measure(rounds, FILE_WRITES, {
      key,
      open: () => openRpmbState(file, { create, sync }),
      close: (part) => {
        part.close();
        rmSync(file);
      },
      write: (frame, at) => {
        writeSync(fd, frame, 0, frame.length, at);
        if (sync) fdatasyncSync(fd);
      },
    });
  } finally {
    closeSync(fd);
    rmSync(raw);
  }
}

interface Contest {
  readonly key: KeyObject;
  readonly open: () => EmmcRpmb;
  readonly close: (part: EmmcRpmb) => void;
  /** What the peer does with a written frame beside its HMAC. */
  readonly write: (frame: Uint8Array, at: number) => void;
}

const CID_BYTES = Uint8Array.from({ length: 16 }, (_, index) => index);
const benchKey = (): KeyObject => intoKey(new Uint8Array(32).fill(0x5a));

function measure(rounds: number, writes: number, { key, open, close, write }: Contest): RpmbBench {
  const requests = requestsOf(key, writes);
  const deviceTimes: number[] = [];
  const peerTimes: number[] = [];
  let frames = 0;
  for (let round = 0; round < rounds; round += 1) {
    const part = open();
    for (let from = 0; from < requests.length; from += TURN) {
      const turn = requests.slice(from, from + TURN);
      const started = performance.now();
      const answers = turn.map((request) => part.frames(request, expected(request)));
      const middle = performance.now();
      for (const [index, request] of turn.entries()) {
        if (index % 2 === 0) {
          hmac(key, request);
          write(request, (from + index) * FRAME_SIZE);
        }
        hmac(key, answers[index] ?? request);
      }
      const ended = performance.now();
      deviceTimes.push(middle - started);
      peerTimes.push(ended - middle);
      frames = answers.reduce((sum, answer) => sum + 1 + answer.length / FRAME_SIZE, 0);
    }
    close(part);
  }
  const deviceMs = Math.min(...deviceTimes);
  const hmacMs = Math.min(...peerTimes);
  const framesPerSecond = Math.round((frames / deviceMs) * 1000);
  return { ratio: hmacMs / deviceMs, framesPerSecond, deviceMs, hmacMs };
}

/** Writes and reads in turns. */
function requestsOf(key: KeyObject, writes: number): Uint8Array[] {
  const data = new Uint8Array(BLOCK_SIZE).fill(0xa5);
  return Array.from({ length: writes }, (_, index) => {
    const place = { address: index, blockCount: 1, writeCounter: index };
    const write = encodeFrames({ type: RPMB_REQUEST.WRITE_DATA, data, ...place });
    signFrames(key, write);
    return [write, encodeFrames({ type: RPMB_REQUEST.READ_DATA, address: index })];
  }).flat();
}

const expected = (request: Uint8Array): number =>
  numberOf(request, FRAME.type) === RPMB_REQUEST.READ_DATA ? READ_FRAMES : 1;

/** The least that authenticates these frames. */
function hmac(key: KeyObject, frames: Uint8Array): void {
  const mac = createHmac("sha256", key);
  for (let end = FRAME_SIZE; end <= frames.length; end += FRAME_SIZE) {
    mac.update(frames.subarray(end - FRAME_SIZE + MAC_START, end));
  }
  mac.digest();
}
