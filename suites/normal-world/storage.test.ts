import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";
import { OBJECT_LIFE } from "./storage-golden.ts";

const test = scenariosOf("normal-world/storage");

test(
  "a persistent object's life costs every file request that a real OP-TEE made, in its order",
  "objectLife",
  async (run) => {
    expect(await run()).toEqual(OBJECT_LIFE);
  },
);
