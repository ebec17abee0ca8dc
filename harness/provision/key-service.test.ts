import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, describeError } from "../base/index.ts";
import { keyId, rpmbKeyFrom } from "../rpmb/index.ts";
import { parseKeyClient } from "./key-service.ts";

const CID = "fe014e4d4d4330344742c8f6552a6115";
const KEY = "a1b2c3d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8f90";
const output = (key = KEY, cid = CID, head = "lockstep-rpmb-key 1"): Uint8Array =>
  Uint8Array.from(Buffer.from(`${head}\ncid ${cid}\nkey ${key}\n`));

test("the key is taken from the three lines, which are overwritten", () => {
  const bytes = output();
  const key = parseKeyClient(bytes, CID);
  expect(keyId(key)).toBe(keyId(rpmbKeyFrom(Buffer.from(KEY, "hex"))));
  expect(bytes.every((byte) => byte === 0)).toBe(true);
});

test.each([
  ["another CID", output(KEY, `15${CID.slice(2)}`)],
  ["another version", output(KEY, CID, "lockstep-rpmb-key 2")],
  ["a short key", output(KEY.slice(2))],
  ["upper-case digits", output(KEY.toUpperCase())],
  ["a key that is none", output(`${KEY.slice(1)}g`)],
  ["more behind it", Buffer.concat([output(), Buffer.from("\n")])],
  ["no line end", output().slice(0, -1)],
  ["nothing", new Uint8Array()],
])("%s is refused without a word of the key", (_what, bytes) => {
  let text = "";
  try {
    parseKeyClient(bytes, CID);
  } catch (error) {
    text = describeError(error);
  }
  expect(text).toMatch(/not of the form agreed on/);
  expect(text.toLowerCase()).not.toContain(KEY.slice(0, 8));
  expect(bytes.every((byte) => byte === 0)).toBe(true);
});

test("no output is taken for a key by chance", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(() => parseKeyClient(bytes, CID)).toThrow("not of the form");
    }),
    { numRuns: budget(100, 2000) },
  );
});
