import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, InternalError } from "../../base/index.ts";
import { EmmcRpmb } from "../emmc.ts";
import {
  encodeFrames,
  FRAME,
  FRAME_SIZE,
  MAX_COUNTER,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  type RpmbFrame,
  setNumber,
} from "../frame.ts";
import { deriveRpmbKey, rpmbTestKey, zeroHuk } from "../key.ts";
import { signFrames } from "../mac.ts";
import {
  channelTo,
  judgeCounter,
  type NamedKey,
  readBlocks,
  readOnly,
  type RpmbChannel,
  verifyKey,
} from "./index.ts";

const NONCE = Uint8Array.from({ length: 16 }, (_, index) => index);
const CARD = Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex");
const ZERO = deriveRpmbKey(zeroHuk(), CARD, { compat: true });
const KEYS: readonly NamedKey[] = [
  { name: "zero-stub/compat", key: ZERO, how: "stub" },
  {
    name: "zero-stub/non-compat",
    key: deriveRpmbKey(zeroHuk(), CARD, { compat: false }),
    how: "stub",
  },
  { name: "test-key", key: rpmbTestKey(), how: "published" },
];
const part = (options: Partial<ConstructorParameters<typeof EmmcRpmb>[0]> = {}): EmmcRpmb =>
  new EmmcRpmb({ cid: CARD, sizeMultiplier: 1, ...options });

const sameNonce = (): Uint8Array => NONCE;

/** A channel that answers the same whatever it is asked. */
const saying = (answer: Uint8Array): RpmbChannel => ({ frames: async () => answer });

function counterAnswer(fields: Partial<RpmbFrame> = {}, key = ZERO): Uint8Array {
  const answer = encodeFrames({ type: RPMB_RESPONSE.READ_COUNTER, nonce: NONCE, ...fields });
  signFrames(key, answer);
  return answer;
}

test("the published vectors of counter answers prove the key that made them", () => {
  for (const [mac, name] of [
    ["3da9f35bd9d0b3c37dba876ee8aceb5b219de69f4b10b8c9018f41a092f41add", "zero-stub/compat"],
    ["ee3391c42fd230fa06918a22e37387e05bff83bc1788331b245e43b2e9f11315", "test-key"],
  ] as const) {
    const answer = encodeFrames({
      type: RPMB_RESPONSE.READ_COUNTER,
      nonce: NONCE,
      keyMac: Buffer.from(mac, "hex"),
    });
    const { verdict, matches, counter } = judgeCounter(answer, NONCE, KEYS);
    expect({ verdict, names: matches.map((one) => one.name) }).toEqual({
      verdict: "proven",
      names: [name],
    });
    expect(counter).toEqual({ value: 0, expired: false, authentic: true });
  }
});

test("a part's key is proven from the part itself, which stays as it was", async () => {
  const device = part({ key: rpmbTestKey(), writeCounter: 7 });
  const judgement = await verifyKey(channelTo(device), KEYS);
  expect(judgement).toMatchObject({
    verdict: "proven",
    matches: [{ name: "test-key" }],
    counter: { value: 7, expired: false, authentic: true },
  });
  expect(device.writeCounter).toBe(7);
});

test("a blank part is believed as what the part says, and no counter is claimed", async () => {
  const judgement = await verifyKey(channelTo(part()), KEYS);
  expect(judgement).toMatchObject({ verdict: "none programmed", matches: [] });
  expect(judgement.reason).toMatch(/^the part says so, .*key not programmed.*authenticates/);
  expect(judgement.counter).toBeUndefined();
});

test("a key of no known route is none of these, its counter not vouched for", async () => {
  const key = deriveRpmbKey(rpmbTestKey(), CARD, { compat: true });
  const judgement = await verifyKey(channelTo(part({ key, writeCounter: 3 })), KEYS);
  expect(judgement).toMatchObject({
    verdict: "none of these",
    matches: [],
    counter: { value: 3, authentic: false },
  });
});

test("a counter at its end is told as expired", async () => {
  const device = part({ key: ZERO, writeCounter: MAX_COUNTER });
  const { verdict, counter } = await verifyKey(channelTo(device), KEYS);
  expect(verdict).toBe("proven");
  expect(counter).toEqual({ value: MAX_COUNTER, expired: true, authentic: true });
});

test("an answer that was recorded before is replayable, never a proof", async () => {
  const recorded = counterAnswer({ writeCounter: 9 });
  const { verdict, counter } = await verifyKey(saying(recorded), KEYS);
  expect(verdict).toBe("replayable");
  expect(counter).toEqual({ value: 9, expired: false, authentic: false });
});

test("an answer with neither nonce nor MAC, of another type or size, or with a result proves nothing", () => {
  const other = deriveRpmbKey(rpmbTestKey(), CARD, { compat: false });
  for (const [answer, reason] of [
    [counterAnswer({ nonce: new Uint8Array(16) }, other), /neither the nonce/],
    [counterAnswer({ type: RPMB_RESPONSE.READ_DATA }), /type 0x0400/],
    [counterAnswer({ result: RPMB_RESULT.GENERAL_FAILURE }), /0x0001 \(general failure\)/],
    [counterAnswer({ result: RPMB_RESULT.KEY_NOT_PROGRAMMED }), /no key, under the MAC/],
    [new Uint8Array(FRAME_SIZE), /type 0x0000/],
    [new Uint8Array(FRAME_SIZE - 1), /511 bytes/],
    [new Uint8Array(0), /0 bytes/],
  ] as const) {
    const judgement = judgeCounter(answer, NONCE, KEYS);
    expect(judgement.verdict).toBe("unproven");
    expect(judgement.reason).toMatch(reason);
  }
});

test("one changed bit of what the MAC covers, or of the MAC, is never a proof", () => {
  const good = counterAnswer({ writeCounter: 5 });
  fc.assert(
    fc.property(fc.integer({ min: FRAME.keyMac.offset * 8, max: FRAME_SIZE * 8 - 1 }), (bit) => {
      const answer = good.slice();
      answer[bit >> 3] = (answer[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      expect(judgeCounter(answer, NONCE, KEYS).verdict).not.toBe("proven");
    }),
    { numRuns: budget(200, 2000) },
  );
});

test("whatever comes as an answer is judged and never throws", () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 1100 }),
      fc.integer({ min: 0, max: 0xffff }),
      (bytes, type) => {
        const answer = bytes.slice();
        if (answer.length >= FRAME_SIZE) setNumber(answer, FRAME.type, type & 0x700);
        const { verdict, matches } = judgeCounter(answer, NONCE, KEYS);
        expect(["none of these", "none programmed", "unproven"]).toContain(verdict);
        expect(matches).toEqual([]);
      },
    ),
    { numRuns: budget(200, 5000) },
  );
});

test("no request but a single read reaches a part, whatever type it has", async () => {
  const sent: number[] = [];
  const guarded = readOnly({
    frames: async (request) => {
      sent.push(request.length);
      return request;
    },
  });
  const reads: number[] = [
    RPMB_REQUEST.READ_COUNTER,
    RPMB_REQUEST.READ_DATA,
    RPMB_REQUEST.CONFIG_READ,
  ];
  for (let type = 0; type < 0x10000; type += type < 0x400 ? 1 : 251) {
    const request = encodeFrames({ type });
    if (reads.includes(type)) await guarded.frames(request, 1);
    else await expect(guarded.frames(request, 1)).rejects.toThrow(InternalError);
  }
  const two = encodeFrames({ type: RPMB_REQUEST.READ_DATA }, { type: RPMB_REQUEST.WRITE_DATA });
  for (const request of [two, two.subarray(0, 700), new Uint8Array(0)]) {
    await expect(guarded.frames(request, 1)).rejects.toThrow(InternalError);
  }
  expect(sent).toEqual([FRAME_SIZE, FRAME_SIZE, FRAME_SIZE]);
});

test("blocks are authentic under the part's key, marked when under another, and unmarked without one", async () => {
  const device = part({ key: ZERO });
  const write = encodeFrames({
    type: RPMB_REQUEST.WRITE_DATA,
    data: new Uint8Array(256).fill(0xa5),
    address: 2,
    blockCount: 1,
  });
  signFrames(ZERO, write);
  device.frames(write, 1);
  const place = { address: 1, count: 3 };
  const read = await readBlocks(channelTo(device), place, ZERO);
  expect(read).toMatchObject({ authentic: true });
  expect([...read.data.subarray(255, 257)]).toEqual([0, 0xa5]);
  expect((await readBlocks(channelTo(device), place)).authentic).toBeUndefined();
  const wrong = await readBlocks(channelTo(device), place, rpmbTestKey());
  expect(wrong).toMatchObject({ authentic: false, problem: "the MAC is not of this key" });
  expect(wrong.data).toEqual(read.data);
});

test("recorded, displaced, short and refused blocks are not authentic", async () => {
  const frames = (fields: Partial<RpmbFrame>): Uint8Array => {
    const answer = encodeFrames({ type: RPMB_RESPONSE.READ_DATA, nonce: NONCE, ...fields });
    signFrames(ZERO, answer);
    return answer;
  };
  const place = { address: 4, count: 1 };
  for (const [answer, problem] of [
    [frames({ address: 4, nonce: new Uint8Array(16) }), /recorded before/],
    [frames({ address: 5 }), /other blocks/],
    [frames({ address: 4, type: RPMB_RESPONSE.READ_COUNTER }), /type 0x0200/],
    [frames({ address: 4, result: RPMB_RESULT.ADDRESS_FAILURE }), /address failure/],
    [new Uint8Array(1024), /1024 bytes came for 1 frames/],
  ] as const) {
    const read = await readBlocks(saying(answer), place, ZERO, sameNonce);
    expect(read.authentic).toBe(false);
    expect(read.problem).toMatch(problem);
  }
  const good = await readBlocks(saying(frames({ address: 4 })), place, ZERO, sameNonce);
  expect(good.authentic).toBe(true);
  await expect(
    readBlocks(saying(new Uint8Array(0)), { address: 0xffff, count: 2 }),
  ).rejects.toThrow(RangeError);
});
