import { expect, test } from "@jest/globals";
import { encodeFrames, keyDigits, RPMB_REQUEST, rpmbKeyFrom, keyId } from "../rpmb/index.ts";
import { RpmbBench } from "./rpmb-bench.ts";

test("the key that a part is given is told before it is programmed, once, and is unharmed by it", () => {
  const key = Uint8Array.from({ length: 32 }, (_, index) => index + 1);
  const digits = Buffer.from(key).toString("hex");
  const told: string[] = [];
  const { part } = new RpmbBench({ route: "supplicant" }, (one) => told.push(one));
  // A Buffer, as requests come from memory: what is made of it must not change it.
  const request = Buffer.from(encodeFrames({ type: RPMB_REQUEST.PROGRAM_KEY, keyMac: key }));
  part.frames(request, 1);
  part.frames(request, 1);
  expect(told).toEqual([digits]);
  expect(request.includes(Buffer.from(digits, "hex"))).toBe(true);
  const object = rpmbKeyFrom(key);
  expect([part.hasKey(object), part.programmedKeyId]).toEqual([true, keyId(object)]);
  expect(keyDigits(object)).toBe(digits);
});
