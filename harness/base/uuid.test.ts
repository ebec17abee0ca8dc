import { expect, test } from "@jest/globals";
import * as fc from "fast-check";

import { isUuid, NIL_UUID, uuidOctets, uuidText, uuidV5 } from "./uuid.ts";

test("octets are in RFC 4122 order", () => {
  expect(Buffer.from(uuidOctets("7011a688-ddde-4053-a5a9-7b3c4ddf13b8")).toString("hex")).toBe(
    "7011a688ddde4053a5a97b3c4ddf13b8",
  );
});

test("text and octets are inverse to each other", () => {
  fc.assert(
    fc.property(fc.uint8Array({ minLength: 16, maxLength: 16 }), (octets) => {
      const text = uuidText(octets);
      expect(isUuid(text)).toBe(true);
      expect(uuidOctets(text)).toEqual(octets);
    }),
  );
});

test("what is not a UUID is refused", () => {
  for (const bad of [
    "",
    "7011a688",
    `${NIL_UUID}0`,
    "7011a688-ddde-4053-a5a97-b3c4ddf13b8",
    "g".repeat(36),
  ]) {
    expect(isUuid(bad)).toBe(false);
    expect(() => uuidOctets(bad)).toThrow(RangeError);
  }
  expect(() => uuidText(new Uint8Array(15))).toThrow(RangeError);
});

test("a version 5 UUID equals the published example of the DNS namespace", () => {
  expect(uuidV5("6ba7b810-9dad-11d1-80b4-00c04fd430c8", "www.example.com")).toBe(
    "2ed6657d-e927-568b-95e1-2665a8aea6a2",
  );
});
