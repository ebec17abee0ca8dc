import type { KeyObject } from "node:crypto";
import { cidForKey } from "./cid.ts";
import { findHukSource, type Huk, hukOf, type HukSourceName } from "./huk.ts";
import { deriveRpmbKey, rpmbTestKey } from "./key.ts";
import { SUPPLICANT_CID } from "./supplicant-emulation.ts";

/** One way in which the key of a part may have come about. */
export interface KeyCandidate {
  /** e.g. `zero-stub/compat`, `caam-open/non-compat`, `test-key`, `emulation/compat`. */
  readonly name: string;
  readonly key: KeyObject;
  /** One sentence for people; holds nothing secret. */
  readonly how: string;
  readonly source: HukSourceName | "test-key" | "emulation";
  /** CFG_CORE_HUK_SUBKEY_COMPAT; absent where the route derives nothing. */
  readonly compat?: boolean;
}

export interface CandidateOptions {
  /** 16 bytes of the part, in register order. */
  readonly cid: Uint8Array;
  /** Hardware unique keys to try besides the all-zero stub. */
  readonly huks?: readonly Huk[];
}

/**
 * Every key that a part with this CID may have, the likeliest first: all-zero stub, hardware unique
 * keys that are given, test key, and the keys of tee-supplicant's emulated card, which a part has
 * only by mistake. Two routes may give one key. Throws RangeError unless the CID has 16 bytes.
 */
export function keyCandidates({ cid, huks = [] }: CandidateOptions): KeyCandidate[] {
  const stub = findHukSource("zero-stub");
  const zero = stub === undefined ? [] : [hukOf(stub)];
  const out = [...zero, ...huks].flatMap((huk) => derived(huk, cid));
  out.push({
    name: "test-key",
    source: "test-key",
    key: rpmbTestKey(),
    how: "the published key of CFG_RPMB_TESTKEY=y builds, for every part",
  });
  if (Buffer.compare(cidForKey(cid), cidForKey(SUPPLICANT_CID)) !== 0) {
    for (const huk of zero) {
      for (const one of derived(huk, SUPPLICANT_CID)) {
        const { key, compat } = one;
        const source = "emulation";
        const how = `${one.how}, with the CID of tee-supplicant's emulated card instead of this part's`;
        out.push({
          name: `${source}/${compat === true ? "compat" : "non-compat"}`,
          key,
          source,
          how,
          ...(compat !== undefined && { compat }),
        });
      }
    }
  }
  return out;
}

function derived(huk: Huk, cid: Uint8Array): KeyCandidate[] {
  return [true, false].map((compat) => ({
    name: `${huk.source.name}/${compat ? "compat" : "non-compat"}`,
    source: huk.source.name,
    compat,
    key: deriveRpmbKey(huk.key, cid, { compat }),
    how: `${huk.source.title}, CFG_CORE_HUK_SUBKEY_COMPAT=${compat ? "y" : "n"}`,
  }));
}
