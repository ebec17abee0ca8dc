import { type KeyObject, randomBytes, timingSafeEqual } from "node:crypto";
import {
  BLOCK_SIZE,
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  fieldOf,
  NONCE_SIZE,
  numberOf,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
} from "../frame.ts";
import { framesAuthentic } from "../mac.ts";
import { hex16, readOnly, type RpmbChannel } from "./channel.ts";
import { judgeCounter, type KeyJudgement, type NamedKey, resultText } from "./judge.ts";

/** Where nonces come from; tests give others. */
export type NonceSource = () => Uint8Array;

export const freshNonce: NonceSource = () => randomBytes(NONCE_SIZE);

/** The one frame of an authenticated counter read. */
export const counterRequest = (nonce: Uint8Array): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.READ_COUNTER, nonce });

/** The one frame of an authenticated data read; how much is read is up to the transfer. */
export const dataRequest = (nonce: Uint8Array, address: number): Uint8Array =>
  encodeFrames({ type: RPMB_REQUEST.READ_DATA, nonce, address });

/**
 * Asks a part for its write counter under a fresh nonce, and says which of `keys` it has. Never sends
 * anything but that read. Throws what the channel throws.
 */
export async function verifyKey<Key extends NamedKey>(
  channel: RpmbChannel,
  keys: readonly Key[],
  nonces: NonceSource = freshNonce,
): Promise<KeyJudgement<Key>> {
  const nonce = nonces();
  const answer = await readOnly(channel).frames(counterRequest(nonce), 1);
  return judgeCounter(answer, nonce, keys);
}

export interface BlocksRead {
  /** What the part says that its blocks hold; empty where it gives none. */
  readonly data: Uint8Array;
  /** MAC of the given key, nonce, address and type are right; undefined where no key was given. */
  readonly authentic: boolean | undefined;
  /** Why there are no data, or why they are not authentic. */
  readonly problem?: string;
}

/**
 * Reads `count` blocks of 256 bytes from block `address` on, under one fresh nonce and, where `key` is
 * given, one MAC. Throws RangeError for an address or count beyond 16 bits, and what the channel throws.
 */
export async function readBlocks(
  channel: RpmbChannel,
  { address, count }: { readonly address: number; readonly count: number },
  key?: KeyObject,
  nonces: NonceSource = freshNonce,
): Promise<BlocksRead> {
  if (count < 1 || address + count > 0x1_0000) {
    throw new RangeError(`${count} blocks from ${address} on are not addressable`);
  }
  const nonce = nonces();
  const answer = await readOnly(channel).frames(dataRequest(nonce, address), count);
  const none = { data: new Uint8Array(0), authentic: key === undefined ? undefined : false };
  if (answer.length !== count * FRAME_SIZE) {
    return { ...none, problem: `${answer.length} bytes came for ${count} frames` };
  }
  const data = new Uint8Array(count * BLOCK_SIZE);
  for (let index = 0; index < count; index += 1) {
    const type = numberOf(answer, FRAME.type, index);
    if (type !== RPMB_RESPONSE.READ_DATA) {
      return {
        ...none,
        problem: `a frame is of type 0x${hex16(type)}, where 0x0400 was asked for`,
      };
    }
    const result = numberOf(answer, FRAME.result, index);
    if ((result & 0x3f) !== RPMB_RESULT.OK) {
      return { ...none, problem: `the part answers with result ${resultText(result)}` };
    }
    data.set(fieldOf(answer, FRAME.data, index), index * BLOCK_SIZE);
  }
  if (key === undefined) return { data, authentic: undefined };
  const problem = flawIn(answer, count, address, nonce, key);
  return problem === undefined ? { data, authentic: true } : { data, authentic: false, problem };
}

function flawIn(
  answer: Uint8Array,
  count: number,
  address: number,
  nonce: Uint8Array,
  key: KeyObject,
): string | undefined {
  if (!framesAuthentic(key, answer)) return "the MAC is not of this key";
  for (let index = 0; index < count; index += 1) {
    if (!timingSafeEqual(fieldOf(answer, FRAME.nonce, index), nonce)) {
      return "the answer does not hold the nonce of the question: it may have been recorded before";
    }
    if (numberOf(answer, FRAME.address, index) !== address) {
      return "the answer is of other blocks than those asked for";
    }
  }
  return undefined;
}
