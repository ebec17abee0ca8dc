import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { duplexPair } from "node:stream";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import {
  decodeWireAnswer,
  encodeWireRequest,
  FRAME,
  FRAME_SIZE,
  RPMB_REQUEST,
  RPMB_WIRE_OP,
  setField,
  setNumber,
} from "../rpmb/index.ts";
import { ServedPart } from "./served-part.ts";

const CID = "fe014e4d4d4330344742c8f6552a6115";
let dir = "";

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-part-"));
});

afterEach(async () => {
  await rm(dir, { recursive: true });
});

const frame = (type: number): Uint8Array => {
  const bytes = new Uint8Array(FRAME_SIZE);
  setNumber(bytes, FRAME.type, type);
  return bytes;
};

/** A guest that is on: sends requests one after the other. */
function powerOn(served: ServedPart) {
  const [guest, host] = duplexPair();
  const off = served.powerOn(host, () => {});
  const ask = async (op: number, responseFrames: number, frames: Uint8Array): Promise<number> => {
    const answered = once(guest, "data");
    guest.write(encodeWireRequest({ op, responseFrames, frames }));
    const [bytes] = (await answered) as [Uint8Array];
    return decodeWireAnswer(bytes)?.status ?? Number.NaN;
  };
  const programKey = async (): Promise<void> => {
    const request = frame(RPMB_REQUEST.PROGRAM_KEY);
    setField(request, FRAME.keyMac, new Uint8Array(32).fill(7));
    expect(await ask(RPMB_WIRE_OP.WRITE, 1, request)).toBe(0);
    expect(await ask(RPMB_WIRE_OP.WRITE, 0, frame(RPMB_REQUEST.READ_RESULT))).toBe(0);
    expect(await ask(RPMB_WIRE_OP.READ, 1, new Uint8Array(0))).toBe(0);
  };
  return { off, ask, programKey };
}

test("what a guest does with its part is counted, registers apart", async () => {
  const served = new ServedPart({ cid: CID, sizeMultiplier: 2 });
  const { off, ask, programKey } = powerOn(served);
  await ask(RPMB_WIRE_OP.INFO, 0, new Uint8Array(0));
  await programKey();
  await ask(RPMB_WIRE_OP.WRITE, 0, frame(RPMB_REQUEST.READ_COUNTER));
  await ask(RPMB_WIRE_OP.READ, 1, new Uint8Array(0));
  const use = { cid: CID, keyProgrammed: true, counterBefore: 0, counterAfter: 0 };
  expect(served.uses()).toEqual([{ ...use, frames: 5, writes: 1, reads: 1 }]);
  expect(served.part?.keyProgrammed).toBe(true);
  off();
  expect(served.part).toBeUndefined();
  expect(served.uses()).toEqual([{ ...use, frames: 5, writes: 1, reads: 1 }]);
});

test("a part without a file is blank at each power-on, one with a file is as it was", async () => {
  const state = path.join(dir, "part");
  for (const [config, stays] of [
    [{ cid: CID, sizeMultiplier: 1 }, false],
    [{ cid: CID, sizeMultiplier: 1, state }, true],
  ] as const) {
    const served = new ServedPart(config);
    const first = powerOn(served);
    await first.programKey();
    first.off();
    const second = powerOn(served);
    expect(served.part?.keyProgrammed).toBe(stays);
    second.off();
    expect(served.uses().map(({ keyProgrammed }) => keyProgrammed)).toEqual([true, stays]);
  }
});

test("a state file of another part is refused before anything is served", () => {
  const state = path.join(dir, "part");
  powerOn(new ServedPart({ cid: CID, sizeMultiplier: 1, state })).off();
  const [, host] = duplexPair();
  const other = new ServedPart({ cid: "15".repeat(16), sizeMultiplier: 1, state });
  expect(() => other.powerOn(host, () => {})).toThrow(/another part|CID/);
});
