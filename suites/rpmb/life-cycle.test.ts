import { expect } from "@jest/globals";
import { framesOf, stepsOf } from "../support/rpmb-steps.ts";

const check = stepsOf("rpmb/life-cycle");

const BEFORE = { load: "SUCCESS", "before: in files": "SUCCESS", "before: in RPMB": "SUCCESS" };
const LATER = { ...BEFORE, "later: in files": "SUCCESS", "later: in RPMB": "SUCCESS" };
const NOTHING = { "after: in files": "no TA", "after: in RPMB": "no TA" };

check(
  "partReplaced",
  "a blank part in place of another: what it held is lost, files are taken as they are",
  {
    ...BEFORE,
    "with the new part": "SUCCESS",
    "after: in files": '"old"',
    "after: in RPMB": "ITEM_NOT_FOUND",
    "anew: in files": "SUCCESS",
    "anew: in RPMB": "SUCCESS",
    "then: in files": '"new"',
    "then: in RPMB": '"new"',
  },
  (outcome) => {
    expect(framesOf(outcome, "with the new part")).toMatch(/^counter key counter counter r1@0 /);
    expect(outcome.key).toBe("derived");
  },
);

check("partErased", "an erased part is formatted again, files are taken as they are", {
  ...BEFORE,
  erased: "SUCCESS",
  "after: in files": '"old"',
  "after: in RPMB": "ITEM_NOT_FOUND",
});

for (const [name, what] of [
  ["partRolledBack", "the part as it was before, counter and all"],
  ["dataRolledBack", "the part's data as they were before"],
] as const) {
  check(name, `${what}: objects in RPMB are old ones, newer files are corrupt`, {
    ...LATER,
    "rolled back": "SUCCESS",
    "after: in files": "CORRUPT_OBJECT",
    "after: in RPMB": '"old"',
  });
}

check("filesRolledBack", "files as they were before: no TA can be loaded", {
  ...LATER,
  "files rolled back": "CORRUPT_OBJECT",
  ...NOTHING,
});

check("bothRolledBack", "files and part as they were before: nobody can tell", {
  ...LATER,
  "both rolled back": "SUCCESS",
  "after: in files": '"old"',
  "after: in RPMB": '"old"',
});

check("filesLost", "files that are gone: no TA can be loaded", {
  ...BEFORE,
  "files lost": "SECURITY",
  ...NOTHING,
});

check(
  "forgedNoKey",
  "answers without a MAC that say that there is no key undo the protection of files",
  {
    load: "SUCCESS",
    before: "SUCCESS",
    later: "SUCCESS",
    "with forged answers": "SUCCESS",
    after: '"old"',
  },
);

check(
  "fatReset",
  "a reset build forgets what is in RPMB at each boot, files are taken as they are",
  {
    ...BEFORE,
    "reset build": "SUCCESS",
    "after: in files": '"old"',
    "after: in RPMB": "ITEM_NOT_FOUND",
    "in its first boot": "SUCCESS",
    "reset build again": "SUCCESS",
    "then: in files": '"old"',
    "then: in RPMB": "ITEM_NOT_FOUND",
  },
);

check(
  "counterNearItsEnd",
  "the last values of the counter are used, then storage is dead",
  {
    load: "SUCCESS",
    create: "SUCCESS",
    "few values left": "SUCCESS",
    "until there is none": "TARGET_DEAD",
    "at its end": "COMMUNICATION",
    read: "no TA",
  },
  (outcome) => {
    expect(outcome.counter).toBe(0xffff_ffff);
  },
);

check(
  "counterAtItsEnd",
  "a part whose counter has ended can be read, and every boot ends at its first write",
  { "first try": "COMMUNICATION", "second try": "COMMUNICATION" },
  (outcome) => {
    expect(framesOf(outcome, "first try")).toMatch(/^counter r1@0(?: w1@0){10}$/);
    expect(framesOf(outcome, "second try")).toBe("");
  },
);

check(
  "emulationToRealPart",
  "from the supplicant's card to the real part: a blank one, files are taken as they are",
  {
    "with the emulated card": "SUCCESS",
    "before: in files": "SUCCESS",
    "before: in RPMB": "SUCCESS",
    "with the real part": "SUCCESS",
    "after: in files": '"old"',
    "after: in RPMB": "ITEM_NOT_FOUND",
  },
  (outcome) => {
    expect(outcome.key).toBe("derived");
  },
);

check(
  "supplicantRestarted",
  "the supplicant's card ends with it: nothing can be loaded before a restart",
  {
    "with the first card": "SUCCESS",
    "before: in files": "SUCCESS",
    "before: in RPMB": "SUCCESS",
    "with the second card": "SECURITY",
    "once more": "SECURITY",
    "after a restart": "SUCCESS",
    "then: in files": '"old"',
    "then: in RPMB": "ITEM_NOT_FOUND",
  },
);

check(
  "partClosed",
  "a part that is closed has lost its key, and with another one its files",
  {
    open: "SUCCESS",
    "before: in files": "SUCCESS",
    "before: in RPMB": "SUCCESS",
    closed: "SECURITY",
    ...NOTHING,
    "with a new part": "CORRUPT_OBJECT",
    "then: in files": "no TA",
    "then: in RPMB": "no TA",
  },
  (outcome) => {
    expect(framesOf(outcome, "closed")).toBe("counter");
  },
);
