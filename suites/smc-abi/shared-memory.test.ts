import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("smc-abi/shared-memory");
const BAD = 0xffff_0006;
const SECURITY = 0xffff_000f;
/** Results with the origin that the message came with. */
const [DONE, REFUSED] = [
  [0, 8],
  [BAD, 8],
];
const FROM_TA = [0, 4];

test(
  "memory is registered by exactly one list, and the origin is left alone",
  "registerShapes",
  async (run) => {
    expect(await run()).toEqual({
      results: [DONE, REFUSED, REFUSED, REFUSED, REFUSED, REFUSED],
      none: REFUSED,
      unregistered: [DONE, REFUSED],
    });
  },
);

test(
  "of two objects of one cookie the newest is used until it is gone",
  "duplicateCookies",
  async (run) => {
    expect(await run()).toEqual({
      seen: [
        [1, 3],
        [1, 7],
        [3, 7],
      ],
      gone: [BAD, 3],
    });
  },
);

test(
  "an object has its pages from the offset to the end, whatever its size said",
  "objectSizes",
  async (run) => {
    expect(await run()).toEqual({
      whole: [FROM_TA, [SECURITY, 3]],
      offset: [FROM_TA, [SECURITY, 3]],
      two: [FROM_TA, [SECURITY, 3]],
      nothing: REFUSED,
      behindOffset: [DONE, DONE],
      unknown: [BAD, 3],
    });
  },
);

test("the link of a list page is read only when pages are left", "links", async (run) => {
  expect(await run()).toEqual({ one: [DONE, DONE], two: [DONE, REFUSED], entry: REFUSED });
});

test(
  "values come back in 32 bits, NULL is NULL, and shapes are judged first",
  "exported",
  async (run) => {
    expect(await run()).toEqual({
      value: [0, [[7, 4, 9]]],
      null: [0, [[0, 0, 5]]],
      meta: [BAD, [[0x5_0000_0003, 4, 9]]],
      five: [BAD, [[0x5_0000_0003, 4, 9]]],
    });
  },
);

test(
  "a message runs inside of a registered object where it fits with its RPC argument",
  "registeredArgument",
  async (run) => {
    expect(await run()).toEqual({ codes: [0, 0, 0, 4, 4, 4], after: 4 });
  },
);

test(
  "an answer to ALLOC that is no memory is given back by its cookie",
  "refusedAllocation",
  async (run) => {
    const outOfMemory = { asked: [0xffff_0000, 160, 0], ret: 0xffff_000c };
    expect(await run()).toEqual({
      nothing: { ...outOfMemory, freed: [] },
      cookieOnly: { ...outOfMemory, freed: [5] },
      unaligned: { ...outOfMemory, freed: [6] },
    });
  },
);

test("threads are taken in order, and a call too many is turned away", "threads", async (run) => {
  expect(await run()).toEqual({ inOrder: true, turnedAway: 1, after: 5 });
});
