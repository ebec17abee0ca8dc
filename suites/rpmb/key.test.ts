import { expect } from "@jest/globals";
import { keyId, rpmbKeyFrom } from "../../harness/rpmb/index.ts";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("rpmb/key");

const CARD = "fe014e4d4d4330344742c8f6552a6115";
const OTHER = "150100424a5444345203a1b2c3d4c59b";
/** As OTHER, of another product revision and with another checksum. */
const REVISED = "150100424a5444345207a1b2c3d4c541";

/** Ids of keys that stand in the sheet, computed by another program. */
const id = (key: string): string => keyId(rpmbKeyFrom(Uint8Array.from(Buffer.from(key, "hex"))));

function check(name: string, title: string, keys: Readonly<Record<string, string>>): void {
  test(title, name, async (run) => {
    const cids = Object.keys(keys);
    expect(await run(name, cids)).toEqual(
      cids.map((cid) => ({
        cid,
        ok: true,
        codes: [],
        programmed: id(keys[cid] ?? ""),
        derived: id(keys[cid] ?? ""),
        proved: true,
        usedAgain: true,
      })),
    );
  });
}

check("zeroStub", "RPMB-3.2, RPMB-3.4.V1C: a blank part gets the derived key of the zero HUK", {
  [CARD]: "7143becb138217641d9729e819c344ef8a16733fa9c2583bff48c6b117d16493",
});
check(
  "given",
  "RPMB-3.1, RPMB-3.4.V2N, RPMB-3.4.V3N, RPMB-3.4.V4: parts get the derived key of a HUK with a usage word",
  {
    [CARD]: "5b5e521a9b13edd535251bad17f7dd73f4d2124ed17434143c5fb82d312ad12c",
    [OTHER]: "d494a91f607f1d55c1118102fd2fadf681dffae1d3185089c96225b9203c4b10",
    [REVISED]: "d494a91f607f1d55c1118102fd2fadf681dffae1d3185089c96225b9203c4b10",
  },
);
check(
  "givenCompat",
  "RPMB-3.2, RPMB-3.4.V5C: parts get the derived key of a HUK without a usage word",
  {
    [OTHER]: "445f8d667ddc1d54cdc382c81ba485880bdccecee3527bc8d0aaebae565ee7e7",
  },
);
check("testKey", "RPMB-4.TESTKEY: every part gets the published test key", {
  [CARD]: "d3eb3ec36e334c9f988ce2c0b85954610d2bcf8664844df2ab56e6c61bb701e4",
  [OTHER]: "d3eb3ec36e334c9f988ce2c0b85954610d2bcf8664844df2ab56e6c61bb701e4",
});
