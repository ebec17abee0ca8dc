import type { KeyObject } from "node:crypto";
import {
  channelTo,
  EmmcRpmb,
  FRAME,
  encodeFrames,
  keyId,
  type KeyVerdict,
  numberOf,
  RPMB_REQUEST,
  resultText,
  verifyKey,
} from "../rpmb/index.ts";
import { programKey } from "./write-key.ts";

/** What became of programming a copy of the part. */
export interface DryRun {
  readonly keyId: string;
  readonly before: KeyVerdict;
  readonly after: KeyVerdict;
  readonly writeCounter: number;
  /** The part's answer to a second key. */
  readonly again: string;
  /** One sentence. */
  readonly text: string;
}

/** Where the size of a part is not known: the smallest that holds an OP-TEE file system for sure. */
const USUAL_SIZE = 2;

/**
 * Programs a new emulated part with the CID of the real one, and proves the key: everything but the
 * real part takes part in it. The copy is forgotten.
 */
export async function dryRun(
  cid: string,
  key: KeyObject,
  sizeMultiplier = USUAL_SIZE,
): Promise<DryRun> {
  const device = new EmmcRpmb({ cid: Buffer.from(cid, "hex"), sizeMultiplier });
  const channel = channelTo(device);
  const id = keyId(key);
  const named = [{ name: id, key, how: "the key of this plan" }];
  const before = (await verifyKey(channel, named)).verdict;
  await programKey(channel, key);
  const { verdict, counter } = await verifyKey(channel, named);
  const other = encodeFrames({
    type: RPMB_REQUEST.PROGRAM_KEY,
    keyMac: new Uint8Array(FRAME.keyMac.size),
  });
  const again = resultText(numberOf(device.frames(other, 1), FRAME.result));
  return {
    keyId: id,
    before,
    after: verdict,
    writeCounter: counter?.value ?? -1,
    again,
    text: `an emulated part with this CID took the key ${id} and proved it under a fresh nonce; a second key was refused with ${again}`,
  };
}
