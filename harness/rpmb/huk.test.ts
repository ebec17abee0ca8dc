import { expect, test } from "@jest/globals";
import { deriveRpmbKey, findHukSource, hukOf, intoKey, keyId, zeroHuk } from "./index.ts";

const CARD = Uint8Array.from(Buffer.from("fe014e4d4d4330344742c8f6552a6115", "hex"));
/** A master key verification blob of 32 bytes. */
const BLOB = (): Uint8Array => Uint8Array.from({ length: 32 }, (_, index) => index);

const idOf = (hex: string): string => keyId(intoKey(Uint8Array.from(Buffer.from(hex, "hex"))));

function source(name: string): NonNullable<ReturnType<typeof findHukSource>> {
  const found = findHukSource(name);
  if (found === undefined) throw new Error(`there is no source ${name}`);
  return found;
}

test("RPMB-3.1.IMX_NO_CAAM, RPMB-3.1.ZERO_STUB: an i.MX without CAAM has the public all-zero key", () => {
  const { key, size, published } = hukOf(source("zero-stub"));
  expect([key.equals(zeroHuk()), size, published]).toEqual([true, 16, true]);
  expect(source("zero-stub").about).toContain("CFG_NXP_CAAM=n");
});

test.each([
  ["RPMB-3.1.IMX_CAAM", "caam-closed"],
  ["RPMB-3.1.IMX_OPEN", "caam-open"],
])("%s: of the CAAM's blob the first 16 bytes are the key, whatever was given (%s)", (_, name) => {
  const whole = hukOf(source(name), BLOB());
  const half = hukOf(source(name), BLOB().subarray(0, 16));
  expect([whole.size, whole.key.equals(half.key)]).toEqual([16, true]);
  expect(whole.key.equals(intoKey(BLOB().subarray(0, 16)))).toBe(true);
  expect(() => hukOf(source(name))).toThrow(RangeError);
});

test("RPMB-3.3.SCRIPT: what OP-TEE's script derives unless it is asked, builds derive only unless they are compat", () => {
  const script = "7df22a3d5b8f1d617e03da5711f8cb1fdba1553d2b0e3006125d672e22512ec7";
  const compat = "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493";
  const derived = [false, true].map((one) =>
    keyId(deriveRpmbKey(zeroHuk(), CARD, { compat: one })),
  );
  expect(derived).toEqual([idOf(script), idOf(compat)]);
});

test("RPMB-3.4: the whole of the hardware unique key counts, 16 bytes or 32", () => {
  const [short, long] = [16, 32].map((size) => {
    const { key } = hukOf(source("given"), BLOB().subarray(0, size));
    return keyId(deriveRpmbKey(key, CARD, { compat: true }));
  });
  expect(short).not.toBe(long);
  expect(() => hukOf(source("given"), BLOB().subarray(0, 24))).toThrow(RangeError);
});
