import { expect } from "@jest/globals";
import { framesOf, split, stepsOf } from "../support/rpmb-steps.ts";
import { scenariosOf } from "../support/target.ts";

const check = stepsOf("rpmb/routing");
const test = scenariosOf("rpmb/routing");

test(
  "of several parts the one with the key is found, and the others are left alone",
  "severalParts",
  async (run) => {
    const { steps, frames, counters, blank } = (await run()) as {
      steps: Record<string, string>;
      frames: string[];
      counters: number[];
      blank: boolean;
    };
    // A blank part and one with another key prove nothing, the third and the fourth have no size.
    expect(steps).toEqual({ load: "SUCCESS: counter" });
    expect(blank).toBe(true);
    expect(frames.slice(1, 4)).toEqual(["counter", "", ""]);
    expect(frames[4]).toMatch(/^counter r1@0 w1@0 r1@0 w1@2 r1@0 w1@0 /);
    expect(counters.slice(0, 4)).toEqual([0, 3, 0, 0]);
  },
);

test(
  "where no part has the key, each access tries them all again",
  "noneHasTheKey",
  async (run) => {
    const { steps, frames } = (await run()) as { steps: Record<string, string>; frames: string[] };
    const tried = Object.values(steps).map((step) => split(step));
    expect(tried.map(({ result }) => result)).toEqual(["ITEM_NOT_FOUND", "ITEM_NOT_FOUND"]);
    const first = tried.map(({ frames: own }) => own).join(" ");
    expect(first).toMatch(/^counter(?: counter)*$/);
    // The second part was asked as often as the first.
    expect(frames[1]).toBe(first);
  },
);

check(
  "provisionedThroughKernel",
  "a part behind the kernel needs one counter read a boot",
  { "first use": "SUCCESS", create: "SUCCESS", "next boot": "SUCCESS", read: '"routed"' },
  (outcome) => {
    expect(outcome).toMatchObject({ model: "kernel", key: "derived" });
    expect(framesOf(outcome, "next boot")).toMatch(/^counter r1@0 w1@0 r1@0 r8@2 /);
  },
);

check(
  "oneRouteAfterTheOther",
  "what was written through the kernel is read through the supplicant",
  {
    "through the kernel": "SUCCESS",
    create: "SUCCESS",
    "through the supplicant": "SUCCESS",
    read: '"routed"',
  },
);

check(
  "kernelWithoutRouting",
  "without routing in the kernel requests go through the supplicant",
  { "first use": "SUCCESS", create: "SUCCESS" },
  (outcome) => {
    expect(outcome).toMatchObject({ model: "user", key: "derived" });
  },
);

check(
  "writeKeyNeverProbes",
  "a build that writes keys goes through the supplicant although the kernel would route",
  { "first use": "SUCCESS" },
  (outcome) => {
    expect(outcome).toMatchObject({ model: "kernel", key: "derived" });
    expect(framesOf(outcome, "first use")).toMatch(/^counter key counter counter r1@0 /);
  },
);

test("a part that is announced again is found by its CID", "announcedAgain", async (run) => {
  const { probe, use, announced, steps } = (await run()) as {
    probe: string[];
    use: string[];
    announced: string[];
    steps: Record<string, string>;
  };
  expect(probe).toEqual(["counter", "counter"]);
  expect(use[1]).toMatch(/^r1@0 w1@0 /);
  expect(announced).toEqual(["", ""]);
  expect(Object.values(steps)).toEqual(["SUCCESS", "SUCCESS"]);
});
