import { expect } from "@jest/globals";
import {
  deriveRpmbKey,
  framesAuthentic,
  keyId,
  rpmbTestKey,
  zeroHuk,
} from "../../harness/rpmb/index.ts";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("rpmb/proof");

const CARD = "fe014e4d4d4330344742c8f6552a6115";

test(
  "RPMB-1.1, RPMB-5.5.DUMMY_WRITE: OP-TEE's first write is under the key that it derived, and under no other",
  "usual",
  async (run) => {
    const seen = (await run("usual", CARD)) as {
      readonly write: string;
      readonly taken: boolean;
      readonly programmed: string;
    };
    const frames = Buffer.from(seen.write, "hex");
    const candidates = [true, false].map((compat) =>
      deriveRpmbKey(zeroHuk(), Buffer.from(CARD, "hex"), { compat }),
    );
    const made = [...candidates, rpmbTestKey()].filter((key) => framesAuthentic(key, frames));
    expect(made.map(keyId)).toEqual([seen.programmed]);
    expect(seen.taken).toBe(true);
  },
);
