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
const through = (rpmb: RpmbSetup, scenario: Scenario, guest = false): Scenario => ({
  ...scenario,
  rpmb,
  ...(guest ? { conduits: ["direct", "vm"], rules: "strict" } : { conduits: ["direct"] }),
});

export const kernel6001 = through(KERNEL, cases.regression_6001);
export const kernel6010 = through(KERNEL, cases.regression_6010);

export const supplicant6001 = through(SUPPLICANT, cases.regression_6001, true);
export const supplicant6007 = through(SUPPLICANT, cases.regression_6007);
export const supplicant6008 = through(SUPPLICANT, cases.regression_6008);
export const supplicant6009 = through(SUPPLICANT, cases.regression_6009);
export const supplicant6010 = through(SUPPLICANT, cases.regression_6010, true);
export const supplicant6015 = through(SUPPLICANT, cases.regression_6015);
export const supplicant6019 = through(SUPPLICANT, cases.regression_6019);
