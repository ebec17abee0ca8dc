import { createHash } from "node:crypto";
import { BLOCK_SIZE } from "./frame.ts";

/** What a block of OP-TEE's file system in RPMB is by its looks (RPMB-5.6). */
export type FsBlock =
  | { readonly kind: "zero" }
  | { readonly kind: "partition"; readonly version: number; readonly fatStart: number }
  | {
      readonly kind: "entry";
      readonly start: number;
      readonly size: number;
      readonly flags: number;
      /** Digest of the wrapped file encryption key; empty for none. */
      readonly fek: string;
      readonly name: string;
      /** Digest of what is behind the name; empty for zeros. */
      readonly rest: string;
    }
  | { readonly kind: "data"; readonly digest: string };

const MAGIC = 0x5250_4d42;
const PARTITION_SIZE = 128;
const FEK = { start: 16, end: 32 } as const;
const NAME = 32;
const FLAGS = 3;
const DIGEST_DIGITS = 16;
const PRINTABLE = /^\/[ -~]*$/;

const digestOf = (bytes: Uint8Array): string =>
  createHash("sha256").update(bytes).digest("hex").slice(0, DIGEST_DIGITS);
const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0);
const digestUnlessZero = (bytes: Uint8Array): string => (isZero(bytes) ? "" : digestOf(bytes));

/**
 * Recognizes a block by its looks: what is encrypted is neither zero nor an entry but once in 2^30.
 * Throws RangeError unless it has 256 bytes.
 */
export function fsBlockOf(bytes: Uint8Array): FsBlock {
  if (bytes.length !== BLOCK_SIZE) throw new RangeError(`a block has ${BLOCK_SIZE} bytes`);
  if (isZero(bytes)) return { kind: "zero" };
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const word = (at: number): number => view.getUint32(at, true);
  if (word(0) === MAGIC && isZero(bytes.subarray(16, PARTITION_SIZE))) {
    return { kind: "partition", version: word(4), fatStart: word(12) };
  }
  const end = bytes.indexOf(0, NAME);
  const name = Buffer.from(bytes.subarray(NAME, end < 0 ? BLOCK_SIZE : end)).toString("latin1");
  const entry = word(8) <= FLAGS && word(12) === 0 && (name === "" || PRINTABLE.test(name));
  if (!entry) return { kind: "data", digest: digestOf(bytes) };
  return {
    kind: "entry",
    start: word(0),
    size: word(4),
    flags: word(8),
    fek: digestUnlessZero(bytes.subarray(FEK.start, FEK.end)),
    name,
    rest: end < 0 ? "" : digestUnlessZero(bytes.subarray(end)),
  };
}
