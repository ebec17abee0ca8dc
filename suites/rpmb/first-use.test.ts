import { expect } from "@jest/globals";
import { framesOf, stepsOf } from "../support/rpmb-steps.ts";

const check = stepsOf("rpmb/first-use");

/** Rows 4 to 10 of what happens on the first access (RPMB-5.5). */
const FORMATTED = "r1@0 w1@0 r1@0 w1@2 r1@0 w1@0";
const VERIFIED = "counter r1@0 w1@0 r1@0 ";

check(
  "blankPart",
  "a blank part is programmed with the derived key, verified and formatted",
  {
    "first use": "SUCCESS",
    create: "SUCCESS",
    read: '"first"',
    "next boot": "SUCCESS",
    "read again": '"first"',
  },
  (outcome) => {
    const first = framesOf(outcome, "first use");
    expect(first.slice(0, 60)).toMatch(new RegExp(`^counter key counter counter ${FORMATTED}`));
    expect(framesOf(outcome, "next boot").slice(0, VERIFIED.length)).toBe(VERIFIED);
    expect(outcome).toMatchObject({ key: "derived", programmed: "the derived key" });
  },
);

check(
  "provisionedPart",
  "a part that came with its key is formatted, and not programmed",
  { "first use": "SUCCESS", create: "SUCCESS", "next boot": "SUCCESS", read: '"made"' },
  (outcome) => {
    const frames = framesOf(outcome, "first use");
    expect(frames).toMatch(new RegExp(`^counter ${FORMATTED}`));
    expect(frames).not.toContain("key");
    expect(outcome.key).toBe("derived");
    expect(outcome.counter).toBeGreaterThan(41);
  },
);

const ASKED = { "first try": "counter", "second try": "counter" };
const asked = (outcome: Parameters<typeof framesOf>[0]): Record<string, string> =>
  Object.fromEntries(Object.keys(ASKED).map((step) => [step, framesOf(outcome, step)]));

check(
  "wrongKey",
  "a part with another key is asked each time, and never written to",
  { "first try": "SECURITY", "second try": "SECURITY" },
  (outcome) => {
    expect(asked(outcome)).toEqual(ASKED);
    expect(outcome).toMatchObject({ key: "another", counter: 7 });
  },
);

check(
  "keyOfAnotherBuild",
  "the keys of builds that derive otherwise are wrong ones",
  { "key of a build without compat": "SECURITY", "the test key": "SECURITY" },
  (outcome) => {
    expect(outcome).toMatchObject({ key: "another", counter: 0 });
  },
);

check(
  "blankPartNoWriteKey",
  "a build that writes no keys leaves a blank part as it is",
  { "first try": "STORAGE_NOT_AVAILABLE", "second try": "STORAGE_NOT_AVAILABLE" },
  (outcome) => {
    expect(outcome).toMatchObject({ key: "none", counter: 0 });
  },
);

check(
  "platformNotReady",
  "a platform that is not ready keeps the key to itself",
  { "first try": "BAD_STATE", "second try": "BAD_STATE" },
  (outcome) => {
    expect(asked(outcome)).toEqual(ASKED);
    expect(outcome).toMatchObject({ key: "none", counter: 0 });
  },
);
