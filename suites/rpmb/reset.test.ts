import { expect } from "@jest/globals";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("rpmb/reset");
const ABSENT = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;

test(
  "RPMB-4.RESET_FAT: files live for one boot, key and counter for ever",
  "threeBoots",
  async (run) => {
    const { boots, counters, sameKey } = (await run()) as {
      readonly boots: readonly (readonly number[])[];
      readonly counters: readonly number[];
      readonly sameKey: boolean;
    };
    expect(boots).toEqual([0, 1, 2].map(() => [ABSENT, 0, 0]));
    expect(counters).toEqual(counters.toSorted((a, b) => a - b));
    expect(new Set(counters).size).toBe(3);
    expect(sameKey).toBe(true);
  },
);
