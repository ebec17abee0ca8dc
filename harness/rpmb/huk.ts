import type { KeyObject } from "node:crypto";
import { intoKey, zeroHuk } from "./key.ts";

export type HukSourceName = "zero-stub" | "given" | "caam-open" | "caam-closed";

/** Where the hardware unique key of a build comes from (RPMB-3.1, sheet section 3.1). */
export interface HukSource {
  readonly name: HukSourceName;
  readonly title: string;
  /** Sizes in bytes of the value that it takes; none where the value is fixed. */
  readonly takes: readonly number[];
  /** What the value is, and where a person gets it. */
  readonly about: string;
  /** What to know before a key that rests on it is written to a part. */
  readonly warning?: string;
}

/** CFG_HW_UNIQUE_KEY_LENGTH: 16 where a platform says nothing. */
const HUK_SIZES = [16, 32] as const;
/** OP-TEE takes as many bytes of the CAAM's master-key-verification blob (RPMB-3.1.CAAM). */
const MKVB_HUK_SIZE = 16;
const MKVB = "the first 16 bytes, or all 32, of the CAAM's master-key-verification blob";

export const HUK_SOURCES: readonly HukSource[] = [
  {
    name: "zero-stub",
    title: "all-zero stub",
    takes: [],
    about: "builds whose platform overrides nothing, and i.MX builds with CFG_NXP_CAAM=n",
    warning:
      "this hardware unique key is public: whoever reads the part's CID knows the key, so it protects nothing",
  },
  {
    name: "given",
    title: "given value",
    takes: HUK_SIZES,
    about: "the whole hardware unique key, CFG_HW_UNIQUE_KEY_LENGTH bytes",
  },
  {
    name: "caam-open",
    title: "i.MX8M with CAAM, open part",
    takes: HUK_SIZES,
    about: `${MKVB} of an open part. It is made from a test key that all open parts share, so any open board gives it; Lockstep does not know the value and never guesses it`,
    warning:
      "every open i.MX8M has this hardware unique key, and closing the part changes it: a key that is written while the part is open is lost then, for good",
  },
  {
    name: "caam-closed",
    title: "i.MX8M with CAAM, closed part",
    takes: HUK_SIZES,
    about: `${MKVB} of this one closed part. It is made from the part's own OTPMK and can be read on that part only, by OP-TEE before it locks the CAAM`,
  },
];

/** A hardware unique key, ready to derive from. */
export interface Huk {
  readonly source: HukSource;
  readonly key: KeyObject;
  /** Bytes that the derivation uses. */
  readonly size: number;
  /** Whether the value is the published all-zero stub, so that it may be shown. */
  readonly published: boolean;
  /** What was made of the value that was given; holds nothing secret. */
  readonly how: string;
}

export function findHukSource(name: string): HukSource | undefined {
  return HUK_SOURCES.find((source) => source.name === name);
}

/**
 * The hardware unique key of a source. `value` is overwritten. Throws RangeError, without the value
 * in its text, where the source takes none, needs one or takes another size.
 */
export function hukOf(source: HukSource, value?: Uint8Array): Huk {
  if (source.takes.length === 0) {
    if (value !== undefined) {
      value.fill(0);
      throw new RangeError(`the source ${source.name} takes no value`);
    }
    return { source, key: zeroHuk(), size: 16, published: true, how: "16 zero bytes" };
  }
  if (value === undefined) throw new RangeError(`the source ${source.name} needs a value`);
  const given = value.length;
  if (!source.takes.includes(given)) {
    value.fill(0);
    throw new RangeError(
      `the source ${source.name} takes ${source.takes.join(" or ")} bytes, not ${given}`,
    );
  }
  const size = source.name === "given" ? given : MKVB_HUK_SIZE;
  const used = Uint8Array.from(value.subarray(0, size));
  value.fill(0);
  const published = used.every((byte) => byte === 0);
  const how =
    size === given ? `all ${size} bytes` : `the first ${size} of the blob's ${given} bytes`;
  return { source, key: intoKey(used), size, published, how };
}
