import { expect, test } from "@jest/globals";
import { ADDRESS_LIMIT, ipa, type Ipa, ipaFromWords, pa, type Pa } from "./address.ts";

/** Takes addresses of one kind each; never called. */
function takes(_guest: (at: Ipa) => void, _physical: (at: Pa) => void): void {}

test("the compiler keeps guest addresses, physical addresses and plain numbers apart", () => {
  const guest: Ipa = ipa(0x1000);
  const physical: Pa = pa(0x1000);
  // @ts-expect-error a guest address is no physical one
  const wrong: Pa = guest;
  // @ts-expect-error a physical address is no guest's
  const reverse: Ipa = physical;
  // @ts-expect-error a number is no address before it was checked
  const unchecked: Ipa = 0x1000;
  // @ts-expect-error nor is a sum: it may be anywhere
  const sum: Pa = physical + 8;
  takes(
    () => undefined,
    // @ts-expect-error what takes guest addresses is no place for physical ones
    (at: Ipa) => at,
  );
  expect([wrong, reverse, unchecked, sum]).toEqual([0x1000, 0x1000, 0x1000, 0x1008]);
});

test.each([-1, 0.5, NaN, Infinity, ADDRESS_LIMIT])("%s is no address", (value) => {
  expect(() => ipa(value)).toThrow(RangeError);
  expect(() => pa(value)).toThrow(RangeError);
});

test("a guest's 64 bits are an address up to 2^52, exactly", () => {
  expect(ipaFromWords(0x000f_ffff, 0xffff_ffff)).toBe(ADDRESS_LIMIT - 1);
  expect(ipaFromWords(0x0010_0000, 0)).toBeUndefined();
  expect(ipaFromWords(0xffff_ffff, 0xffff_f000)).toBeUndefined();
  expect(ipaFromWords(-1, -1)).toBeUndefined();
});
