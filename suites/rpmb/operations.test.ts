import { expect } from "@jest/globals";
import { framesOf, stepsOf } from "../support/rpmb-steps.ts";

const check = stepsOf("rpmb/operations");

/** The first 64 bytes of the contents that objects have. */
const CONTENTS = JSON.stringify(
  Buffer.from(Array.from({ length: 64 }, (_, index) => (index * 7 + 3) & 0xff)).toString("latin1"),
);

check(
  "objectLife",
  "an object in RPMB from its creation to its end",
  {
    load: "SUCCESS",
    create: "SUCCESS",
    "write within a block": "SUCCESS",
    seek: "SUCCESS",
    "write across blocks": "SUCCESS",
    truncate: "SUCCESS",
    rename: "SUCCESS",
    close: "SUCCESS",
    "open and read": CONTENTS,
    "the old name": "ITEM_NOT_FOUND",
    overwrite: "SUCCESS",
    read: '"new contents"',
    delete: "SUCCESS",
    gone: "ITEM_NOT_FOUND",
  },
  (outcome) => {
    // One block is written in place, more of them elsewhere, and the entry last.
    expect(framesOf(outcome, "write within a block")).toMatch(/^r8@2 r1@(\d+) w1@\1$/);
    expect(framesOf(outcome, "write across blocks")).toMatch(
      / w1@1016 w1@1017 w1@1018 w1@1019 w1@3$/,
    );
  },
);

check(
  "truncatedWhileOpen",
  "an object that is made shorter keeps its name, unless it was renamed with the same handle",
  {
    load: "SUCCESS",
    create: "SUCCESS",
    truncate: "SUCCESS",
    close: "SUCCESS",
    read: CONTENTS,
    "create another": "SUCCESS",
    open: "SUCCESS",
    rename: "SUCCESS",
    "truncate it": "SUCCESS",
    "close it": "SUCCESS",
    "by its new name": "ITEM_NOT_FOUND",
    "by its old name": CONTENTS,
  },
);

check(
  "listing",
  "objects are listed in the order of the FAT, and a free entry is used again",
  {
    load: "SUCCESS",
    ...Object.fromEntries(Array.from({ length: 9 }, (_, index) => [`create ${index}`, "SUCCESS"])),
    "delete 3": "SUCCESS",
    "create 9": "SUCCESS",
    list: "ITEM_NOT_FOUND",
  },
  (outcome) => {
    expect(outcome).toMatchObject({ names: "o0 o1 o2 o9 o4 o5 o6 o7 o8".split(" ") });
  },
);

check("bigObject", "an object of many blocks, changed in the middle", {
  load: "SUCCESS",
  create: "SUCCESS",
  change: "SUCCESS",
  read: CONTENTS,
});

check(
  "fullPartition",
  "what does not fit is refused, what was there stays, and room is used again",
  {
    load: "SUCCESS",
    "most of it": "SUCCESS",
    "what is left": "SUCCESS",
    "no room": "STORAGE_NO_SPACE",
    read: CONTENTS,
    delete: "SUCCESS",
    "in its place": "SUCCESS",
    "read that": CONTENTS,
  },
);
