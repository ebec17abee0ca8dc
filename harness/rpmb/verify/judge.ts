import type { KeyObject } from "node:crypto";
import { timingSafeEqual } from "node:crypto";
import {
  COUNTER_EXPIRED,
  FRAME,
  FRAME_SIZE,
  fieldOf,
  MAX_COUNTER,
  numberOf,
  RPMB_RESPONSE,
  RPMB_RESULT,
} from "../frame.ts";
import { framesAuthentic } from "../mac.ts";
import { hex16 } from "./channel.ts";

/** A key that a part may have, with the name of the route on which it came about. */
export interface NamedKey {
  /** E.g. `zero-stub/compat`. */
  readonly name: string;
  readonly key: KeyObject;
  /** One sentence for people; holds nothing secret. */
  readonly how: string;
}

/**
 * What a part's answer to an authenticated read says of its key.
 * - `proven`: the MAC over an answer to this very question is of a known key.
 * - `none of these`: the part has a key and authenticates, with none that is known.
 * - `none programmed`: the part says that it has no key. Nothing authenticates such an answer.
 * - `replayable`: the answer may have been recorded before: it does not hold the nonce of the question.
 * - `unproven`: no answer from which anything follows.
 */
export const KEY_VERDICTS = [
  "proven",
  "none of these",
  "none programmed",
  "replayable",
  "unproven",
] as const;
export type KeyVerdict = (typeof KEY_VERDICTS)[number];

export interface CounterReading {
  readonly value: number;
  /** The part refuses every further write. */
  readonly expired: boolean;
  /** Whether MAC and nonce vouch for the value; else it is what somebody says. */
  readonly authentic: boolean;
}

export interface KeyJudgement<Key extends NamedKey = NamedKey> {
  readonly verdict: KeyVerdict;
  /** The keys whose MAC the answer bears: one, or several names of one key. Empty unless it bears one. */
  readonly matches: readonly Key[];
  /** One sentence: what in the answer decided. */
  readonly reason: string;
  readonly counter?: CounterReading;
}

/** Low bits of a result that hold its code; the others are flags. */
const RESULT_CODE = 0x3f;

const RESULT_TEXT: Readonly<Record<number, string>> = {
  [RPMB_RESULT.GENERAL_FAILURE]: "general failure",
  [RPMB_RESULT.AUTHENTICATION_FAILURE]: "authentication failure",
  [RPMB_RESULT.COUNTER_FAILURE]: "counter failure",
  [RPMB_RESULT.ADDRESS_FAILURE]: "address failure",
  [RPMB_RESULT.WRITE_FAILURE]: "write failure",
  [RPMB_RESULT.READ_FAILURE]: "read failure",
  [RPMB_RESULT.KEY_NOT_PROGRAMMED]: "key not programmed",
};

/** A result as people read it: `0x0006 (read failure)`. */
export function resultText(result: number): string {
  const text = RESULT_TEXT[result & RESULT_CODE] ?? "a result that JEDEC does not define";
  const expired = (result & COUNTER_EXPIRED) === 0 ? "" : ", write counter expired";
  return `0x${hex16(result)} (${text}${expired})`;
}

/**
 * Judges the answer to a counter read that was sent with `nonce`. Everything in `answer` is hostile:
 * no order of damage throws.
 */
export function judgeCounter<Key extends NamedKey>(
  answer: Uint8Array,
  nonce: Uint8Array,
  keys: readonly Key[],
): KeyJudgement<Key> {
  if (answer.length !== FRAME_SIZE) {
    return unproven(`the answer has ${answer.length} bytes, where one frame has ${FRAME_SIZE}`);
  }
  const matches = keys.filter(({ key }) => framesAuthentic(key, answer));
  const fresh = timingSafeEqual(fieldOf(answer, FRAME.nonce), nonce);
  const type = numberOf(answer, FRAME.type);
  if (type !== RPMB_RESPONSE.READ_COUNTER) {
    return unproven(`the answer is of type 0x${hex16(type)}, where 0x0200 was asked for`);
  }
  const result = numberOf(answer, FRAME.result);
  const code = result & RESULT_CODE;
  if (code === RPMB_RESULT.KEY_NOT_PROGRAMMED) {
    if (matches.length > 0) {
      return unproven("the part says that it has no key, under the MAC of a key");
    }
    return {
      verdict: "none programmed",
      matches: [],
      reason: `the part says so, with result ${resultText(result)}; nothing authenticates that`,
    };
  }
  if (code !== RPMB_RESULT.OK)
    return unproven(`the part answers with result ${resultText(result)}`);
  const counter = counterIn(answer, fresh && matches.length > 0);
  if (!fresh) {
    return matches.length === 0
      ? {
          ...unproven("the answer holds neither the nonce of the question nor a known MAC"),
          counter,
        }
      : {
          verdict: "replayable",
          matches,
          reason: "the MAC is right, but the answer does not hold the nonce of this question",
          counter,
        };
  }
  if (matches.length > 0) {
    const reason = "the answer holds the random nonce of the question under the MAC of this key";
    return { verdict: "proven", matches, reason, counter };
  }
  return {
    verdict: "none of these",
    matches,
    reason: `the MAC of the answer is of none of ${keys.length} keys`,
    counter,
  };
}

function counterIn(answer: Uint8Array, authentic: boolean): CounterReading {
  const value = numberOf(answer, FRAME.writeCounter);
  const flag = (numberOf(answer, FRAME.result) & COUNTER_EXPIRED) !== 0;
  return { value, expired: flag || value === MAX_COUNTER, authentic };
}

const unproven = (reason: string): KeyJudgement<never> => ({
  verdict: "unproven",
  matches: [],
  reason,
});
