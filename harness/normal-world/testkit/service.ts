import type { ServiceParam } from "../supplicant-service.ts";

/** Parameters as a supplicant's services get them. */
export const value = (
  attr: 1 | 2 | 3,
  a: number | bigint = 0,
  b: number | bigint = 0,
  c: number | bigint = 0,
): ServiceParam => ({ attr, a: BigInt(a), b: BigInt(b), c: BigInt(c), bytes: undefined });

export const memory = (attr: 5 | 6 | 7, bytes: Uint8Array): ServiceParam => ({
  attr,
  a: 0n,
  b: BigInt(bytes.length),
  c: 1n,
  bytes,
});

/** A NULL reference, with a size that means nothing. */
export const nullMemory = (attr: 5 | 6 | 7, size = 0): ServiceParam => ({
  attr,
  a: 0n,
  b: BigInt(size),
  c: 0xffff_ffff_ffff_ffffn,
  bytes: undefined,
});

export const text = (of: string): Uint8Array => new TextEncoder().encode(of);
/** A string as C has it. */
export const name = (of: string): ServiceParam => memory(5, text(`${of}\0`));
export const decoded = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
