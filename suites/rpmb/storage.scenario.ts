import type { RpmbSetup, Scenario } from "../../harness/platform/index.ts";
// oxlint-disable-next-line no-restricted-imports -- the suite of that name, not the room
import * as cases from "../xtest/restatements.scenario.ts";

const KERNEL: RpmbSetup = {
  route: "kernel",
  build: { writeKey: false },
  parts: [{ key: "optee" }],
};
const SUPPLICANT: RpmbSetup = { route: "supplicant" };

/**
 * A storage case of xtest where there is RPMB storage beside that in files. No mediator lets a guest's
 * kernel route RPMB requests; those of a guest go through its supplicant.
 */
const through = (rpmb: RpmbSetup, scenario: Scenario): Scenario => ({
  ...scenario,
  rpmb,
  ...(rpmb.route === "kernel"
    ? { conduits: ["direct"] }
    : { conduits: ["direct", "vm"], rules: "strict" }),
});

export const kernel6001 = through(KERNEL, cases.regression_6001);
export const kernel6007 = through(KERNEL, cases.regression_6007);
export const kernel6008 = through(KERNEL, cases.regression_6008);
export const kernel6009 = through(KERNEL, cases.regression_6009);
export const kernel6010 = through(KERNEL, cases.regression_6010);
export const kernel6015 = through(KERNEL, cases.regression_6015);
export const kernel6019 = through(KERNEL, cases.regression_6019);

export const supplicant6001 = through(SUPPLICANT, cases.regression_6001);
export const supplicant6010 = through(SUPPLICANT, cases.regression_6010);
