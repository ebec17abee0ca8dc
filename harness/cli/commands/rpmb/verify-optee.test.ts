import { expect, test } from "@jest/globals";
import {
  deriveRpmbKey,
  encodeFrames,
  keyId,
  type NamedKey,
  RPMB_REQUEST,
  rpmbTestKey,
  signFrames,
  zeroHuk,
} from "../../../rpmb/index.ts";
import { judgeTraffic, type OpteeTraffic } from "./verify-optee.ts";

const CID = Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex");
const ZERO = deriveRpmbKey(zeroHuk(), CID, { compat: true });
const KEYS: readonly NamedKey[] = [
  { name: "zero-stub/compat", key: ZERO, how: "stub" },
  { name: "test-key", key: rpmbTestKey(), how: "published" },
];

function traffic(more: Partial<OpteeTraffic> = {}, key = ZERO): OpteeTraffic {
  const frame = encodeFrames({ type: RPMB_REQUEST.WRITE_DATA, blockCount: 1 });
  signFrames(key, frame);
  const write = Buffer.from(frame).toString("hex");
  return { write, taken: true, reads: 2, programmed: keyId(key), code: 0, counter: 17, ...more };
}

test("OP-TEE's own write proves the key that it bears the MAC of", () => {
  expect(judgeTraffic(traffic(), KEYS)).toMatchObject({
    verdict: "proven",
    matches: [{ name: "zero-stub/compat" }],
    counter: { value: 17, authentic: true },
  });
  const other = deriveRpmbKey(rpmbTestKey(), CID, { compat: false });
  expect(judgeTraffic(traffic({}, other), KEYS)).toMatchObject({
    verdict: "none of these",
    matches: [],
  });
});

test("an OP-TEE that programs nothing, asks for nothing or is refused proves nothing", () => {
  for (const [more, reason] of [
    [{ write: "", reads: 0, code: 0xffff_0008 }, /asked the part for nothing.*0xffff0008/],
    [{ write: "", programmed: "" }, /programmed no key, as builds without CFG_RPMB_WRITE_KEY do/],
    [{ write: "00".repeat(512) }, /programmed no key/],
    [{ taken: false }, /refused it/],
    [{ programmed: "0123456789abcdef" }, /refused it/],
  ] as const) {
    const judgement = judgeTraffic(traffic(more), KEYS);
    expect(judgement).toMatchObject({ verdict: "unproven", matches: [] });
    expect(judgement.reason).toMatch(reason);
  }
});
