import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/parameters");
const SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

test("values go in and come out in every place, 32 bits each", "values", async (run) => {
  const low = [0, 1, 2, 3].map((index) => 10 ** index);
  const total = low.reduce((sum, value) => sum + value, 0);
  expect(await run()).toEqual(
    [0, 1, 2, 3].map((place) => ({
      result: 0,
      a: total - (low[place] ?? 0),
      b: (3 * 0xffff_fff0 + 6 - place) % 2 ** 32,
    })),
  );
});

test(
  "a temporary reference across pages is read and written in place",
  "temporaryMemref",
  async (run) => {
    const { result, sum, expected, restUntouched } = (await run()) as Record<string, unknown>;
    expect({ result, sum, restUntouched }).toEqual({
      result: 0,
      sum: expected,
      restUntouched: true,
    });
  },
);

test("parts of registered memory are what the TA sees", "partialMemref", async (run) => {
  expect(await run()).toEqual({
    result: 0,
    hash: SHA256_OF_ABC,
    beyond: new Uint8Array(32),
  });
});

test("whole shared memory travels in the direction of its flags", "wholeMemref", async (run) => {
  expect(await run()).toEqual({ result: 0, hash: SHA256_OF_ABC });
});

test("SHORT_BUFFER says how much is needed", "shortBuffer", async (run) => {
  expect(await run()).toEqual({
    result: 0xffff_0010,
    origin: 4,
    // One device: its UUID.
    size: 16,
    untouched: true,
  });
});

test("NULL references reach the TA as NULL, empty ones do not", "nullMemref", async (run) => {
  expect(await run()).toEqual({
    toPta: 0,
    toTa: 0,
    notEmpty: 0xffff_0006,
    local: { result: 0xffff_0006, origin: 1 },
  });
});

test(
  "a reference beyond the end of shared memory does not reach the TA",
  "outOfBounds",
  async (run) => {
    expect(await run()).toEqual({ result: 0xffff_0006, fromTa: false });
  },
);

test(
  "a TA that counts atomically in shared memory dies where that is not aligned",
  "atomicInShared",
  async (run) => {
    const counted = { result: 0, origin: 4 };
    const dead = { result: 0xffff_3024, origin: 3 };
    expect(await run()).toEqual([counted, counted, dead, dead]);
  },
);

test(
  "logins give the client UUIDs that the kernel makes, and some are not for user space",
  "logins",
  async (run) => {
    const { seen, refused } = (await run()) as Record<string, unknown>;
    expect(seen).toEqual([
      { login: 0, uuid: "00000000-0000-0000-0000-000000000000" },
      { login: 1, uuid: "ef0180a3-13f3-5d1c-b7f5-888c0e21059a" },
      { login: 2, uuid: "d93bc168-f863-58d3-a1fe-bb2039421b99" },
    ]);
    expect(refused).toEqual([2, 2, 2]);
  },
);
