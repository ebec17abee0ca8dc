/**
 * RPMB keys that are public: of emulations and of published test vectors. They are named exceptions
 * to masking, because evidence that shows them gives nothing away and explains a great deal.
 */
export const PUBLISHED_KEYS: readonly { readonly name: string; readonly hex: string }[] = [
  {
    name: "tee-supplicant's emulated card, all-zero HUK, compat derivation",
    hex: "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493",
  },
  {
    name: "tee-supplicant's emulated card, all-zero HUK, usage-word derivation",
    hex: "7df22a3d5b8f1d617e03da5711f8cb1fdba1553d2b0e3006125d672e22512ec7",
  },
  {
    name: "the test key of CFG_RPMB_TESTKEY",
    hex: "d3eb3ec36e334c9f988ce2c0b85954610d2bcf8664844df2ab56e6c61bb701e4",
  },
];

/**
 * Hardware unique keys of published test vectors and of our boards that are built with them. Their
 * bytes count up or down as those of many a test pattern do, which would be masked with them.
 */
const PUBLISHED_HUKS: ReadonlySet<string> = new Set([
  "000102030405060708090a0b0c0d0e0f",
  "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
  "ffeeddccbbaa99887766554433221100",
]);

/** Whether `hex` is the whole of a key that is no secret. */
export function isPublishedWhole(hex: string): boolean {
  const digits = hex.toLowerCase();
  return PUBLISHED_HUKS.has(digits) || isPublished(digits);
}

/** Fewest bytes of a key that identify it: 64 bits do not meet by chance. */
const ENOUGH_DIGITS = 16;

/** Whether `hex` (lower case, the start of a key or all of it) belongs to a published key. */
export function isPublished(hex: string): boolean {
  return hex.length >= ENOUGH_DIGITS && PUBLISHED_KEYS.some((key) => key.hex.startsWith(hex));
}
