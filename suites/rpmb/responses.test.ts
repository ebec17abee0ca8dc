import { expect } from "@jest/globals";
import { framesOf, stepsOf } from "../support/rpmb-steps.ts";

const check = stepsOf("rpmb/responses");

check("readAnswers", "a wrong answer to a read is told by its first fault", {
  load: "SUCCESS",
  create: "SUCCESS",
  "general failure": "GENERIC",
  "read failure": "GENERIC",
  // Taken for a file that is not there.
  "no key": "SUCCESS",
  "another type": "GENERIC",
  "another address": "GENERIC",
  "another nonce": "SECURITY",
  "another MAC": "SECURITY",
  "other data": "SECURITY",
  // Not looked at, but the MAC is.
  "bit 7 of the result": "SECURITY",
  "another block count": "SECURITY",
  "as it is": "SUCCESS",
});

check(
  "counterAnswers",
  "a wrong answer to the counter read is told, and the next access asks again",
  {
    "general failure": "GENERIC",
    "another type": "GENERIC",
    "another nonce": "SECURITY",
    "another MAC": "SECURITY",
    "as it is": "SUCCESS",
  },
);

const attempts = (frames: string, write: string): number =>
  frames.split(" ").filter((one) => one === write).length;

check(
  "tenAttempts",
  "a write is tried ten times, then storage is dead until the next boot",
  {
    load: "SUCCESS",
    "nine fail": "SUCCESS",
    "ten fail": "TARGET_DEAD",
    dead: "COMMUNICATION",
    "after a restart": "SUCCESS",
    "what was kept": '"kept"',
    "what was lost": "ITEM_NOT_FOUND",
  },
  (outcome) => {
    expect(attempts(framesOf(outcome, "nine fail"), "w1@4")).toBe(10);
    expect(attempts(framesOf(outcome, "ten fail"), "w1@5")).toBe(10);
    expect(framesOf(outcome, "dead")).toBe("");
  },
);

check(
  "counterTakenOver",
  "a counter that cannot be right is used for the other attempts, which are all refused",
  {
    load: "SUCCESS",
    "a counter that is wrong": "TARGET_DEAD",
    dead: "COMMUNICATION",
    "after a restart": "SUCCESS",
  },
  (outcome) => {
    expect(attempts(framesOf(outcome, "a counter that is wrong"), "w1@4")).toBe(10);
  },
);

check("answerLost", "a write whose answer is lost is not found again, and storage is dead", {
  load: "SUCCESS",
  "an answer is lost": "TARGET_DEAD",
  read: "TARGET_DEAD",
});

check("sizes", "parts of no size, of one unit, of the most that there can be and of more", {
  "size 0": "GENERIC",
  "size 129": "BAD_PARAMETERS",
  "create at size 129": "no TA",
  "size 1": "SUCCESS",
  "create at size 1": "SUCCESS",
  "size 128": "SUCCESS",
  "create at size 128": "SUCCESS",
});
