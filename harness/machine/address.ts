declare const kind: unique symbol;

/** A guest's intermediate physical address in bytes. Never interchangeable with `Pa`. */
export type Ipa = number & { readonly [kind]: "ipa" };
/** A physical address in bytes. */
export type Pa = number & { readonly [kind]: "pa" };

export const PAGE_SIZE = 4096;
export const PAGE_SHIFT = 12;
/** The offset within its page of any address: a remainder of numbers above 2^31 is a slow call. */
export const PAGE_MASK = PAGE_SIZE - 1;
/** One past the largest address: 2^52, the largest that the architecture has. */
export const ADDRESS_LIMIT = 2 ** 52;

function checked(address: number): number {
  if (!Number.isInteger(address) || address < 0 || address >= ADDRESS_LIMIT) {
    throw new RangeError(`address ${address} is not an integer below 2^52`);
  }
  return address;
}

/** Throws RangeError unless `address` is an integer in [0, 2^52). For trusted values only. */
export const ipa = (address: number): Ipa => checked(address) as Ipa;
/** Throws RangeError unless `address` is an integer in [0, 2^52). For trusted values only. */
export const pa = (address: number): Pa => checked(address) as Pa;

/**
 * A 64-bit value from a guest as an address: `high` and `low` are unsigned 32-bit halves.
 * Undefined when it is not below 2^52, which no page can back.
 */
export function ipaFromWords(high: number, low: number): Ipa | undefined {
  const address = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
  return address < ADDRESS_LIMIT ? (address as Ipa) : undefined;
}
