import { expect } from "@jest/globals";
import { scenariosOf } from "../support/target.ts";

const test = scenariosOf("normal-world/objects");
const CONFLICT = "ACCESS_CONFLICT";
const NOT_FOUND = "ITEM_NOT_FOUND";

test(
  "MSG-4.ACCESS_CONFLICT: handles share an object where both say so",
  "accessFlags",
  async (run) => {
    const rows = ["read", "read, shared", "write", "write, shared", "all, shared", "meta"];
    const line = (row: string): string =>
      rows.map((other) => (row === other && row.endsWith("shared") ? "yes" : CONFLICT)).join(" ");
    expect(await run()).toEqual(
      Object.fromEntries(rows.map((row) => [row, `SUCCESS: ${line(row)}`])),
    );
  },
);

test("a TA that uses a handle without the access for it panics", "missingAccess", async (run) => {
  expect(await run()).toEqual({
    "read with read": "SUCCESS",
    "write with read": "TARGET_DEAD",
    "rename with read": "TARGET_DEAD",
    "read with write": "TARGET_DEAD",
    "write with write": "SUCCESS",
    "rename with write": "TARGET_DEAD",
  });
});

test(
  "MSG-3.1.CREATE: an object is overwritten with leave, while nobody has it",
  "overwriting",
  async (run) => {
    expect(await run()).toEqual({
      open: [CONFLICT, CONFLICT],
      closed: [CONFLICT, "SUCCESS"],
      bytes: [9, 9, 9],
    });
  },
);

test(
  "an object is renamed to what no other has, its own name included",
  "renaming",
  async (run) => {
    expect(await run()).toEqual({
      results: ["SUCCESS", CONFLICT, CONFLICT, "SUCCESS", "SUCCESS"],
      found: [`old: ${NOT_FOUND}`, `new: ${NOT_FOUND}`, "other: SUCCESS", "x: SUCCESS"],
    });
  },
);

test("MSG-3.1.TRUNCATE: an object is cut, and grows with zeros", "truncating", async (run) => {
  expect(await run()).toEqual([
    "40: SUCCESS, 40, 40 read, 40 kept",
    "40: SUCCESS, 40, 40 read, 40 kept",
    "200: SUCCESS, 200, 64 read, 40 kept",
    "5000: SUCCESS, 5000, 64 read, 40 kept",
    "0: SUCCESS, 0, 0 read, 0 kept",
    "3: SUCCESS, 3, 3 read, 0 kept",
  ]);
});

test(
  "positions begin at 0 and may lie behind the end, where zeros fill the gap",
  "seeking",
  async (run) => {
    expect(await run()).toEqual({
      seen: [
        "5 0: SUCCESS 5",
        "3 1: SUCCESS 8",
        "-100 1: SUCCESS 0",
        "-4 2: SUCCESS 16",
        "10 2: SUCCESS 30",
        "2147483647 0: SUCCESS 2147483647",
      ],
      written: "SUCCESS",
      size: 32,
      bytes: [7, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 9],
    });
  },
);

test("an enumeration has every object once", "enumerating", async (run) => {
  const none = NOT_FOUND;
  expect(await run()).toEqual({
    none,
    all: `a bb ccc: ${NOT_FOUND}`,
    less: `a ccc: ${NOT_FOUND}`,
    after: none,
  });
});

test("names have up to 64 bytes, and none is one too", "names", async (run) => {
  const taken = [0, 1, 63, 64].map((length) => `${length}: SUCCESS`);
  expect(await run()).toEqual([...taken, "65: TARGET_DEAD"]);
});

test("a name is a TA's own", "twoTas", async (run) => {
  expect(await run()).toEqual({
    before: NOT_FOUND,
    foreign: NOT_FOUND,
    own: "SUCCESS",
    still: [2, 2, 2],
  });
});

test("objects outlive sessions and panics", "outliving", async (run) => {
  expect(await run()).toEqual({
    panic: "TARGET_DEAD",
    again: "SUCCESS",
    bytes: [1, 1, 1, 1, 7, 7, 7, 7, 7, 7],
  });
});

test("keys that there are not, and storage that there is not", "transient", async (run) => {
  const refused = "NOT_SUPPORTED";
  expect(await run()).toEqual({
    seen: ["SUCCESS", refused, refused, refused],
    nowhere: [NOT_FOUND, NOT_FOUND],
  });
});

test(
  "MSG-4.CORRUPT_OBJECT: a file that is not as it was left is no object",
  "spoiltFiles",
  async (run) => {
    const corrupt = "CORRUPT_OBJECT";
    expect(await run()).toEqual({
      gone: corrupt,
      empty: corrupt,
      "half of it": corrupt,
      "a bit of its data": corrupt,
    });
  },
);
