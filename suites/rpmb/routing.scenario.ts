import type { RpmbPartSpec, Scenario } from "../../harness/platform/index.ts";
import { DEVICE_PTA_CMD, enumerateDevices } from "../../harness/normal-world/index.ts";
import { idOf, RpmbRun } from "../support/rpmb.ts";

const DIRECT = { conduits: ["direct"] } as const;
const OTHER_CID = "150100424a5444345203a1b2c3d4c59b";
const THIRD_CID = "13014e47314a3935451012b3f3a15a01";
const NO_WRITE_KEY = { writeKey: false } as const;

/** Whose part each frame went to: parts by their place. */
function framesOf(context: Parameters<Scenario["run"]>[0]): string[] {
  return context.rpmb.parts.map((part) => part.takeFrames().join(" "));
}

/** The kernel's parts are tried in turn; blank ones and those with another key are passed over. */
export const severalParts: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.3", "RPMB-5.1.2", "RPMB-7.4", "RPMB-2.2.FRAMES", "RPMB-5.5.PROVISIONED"],
  rpmb: {
    route: "kernel",
    build: NO_WRITE_KEY,
    parts: [
      { cid: OTHER_CID },
      { cid: THIRD_CID, key: "other", writeCounter: 3 },
      { cid: OTHER_CID, key: "optee", sizeMultiplier: 0 },
      { cid: THIRD_CID, key: "optee", sizeMultiplier: 129 },
      { key: "optee" },
    ],
  },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("load");
    const frames = framesOf(context);
    const counters = context.rpmb.parts.map(({ writeCounter }) => writeCounter);
    const [blank] = context.rpmb.parts;
    return { steps: run.steps, frames, counters, blank: blank?.keyProgrammed === false };
  },
};

const nothing = (parts: readonly RpmbPartSpec[]): Scenario => ({
  ...DIRECT,
  clauses: ["RPMB-5.1.3", "RPMB-7.4"],
  rpmb: { route: "kernel", build: NO_WRITE_KEY, parts },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first try");
    run.load("second try");
    return { steps: run.steps, frames: framesOf(context) };
  },
});

/** None of the kernel's parts has the key. */
export const noneHasTheKey: Scenario = nothing([{ cid: OTHER_CID }, { key: "other" }]);

/** A provisioned part behind the kernel, frame by frame, over a restart. */
export const provisionedThroughKernel: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.5.PROVISIONED", "RPMB-5.5.DUMMY_WRITE", "RPMB-2.2.SHM_TYPE", "RPMB-7.1"],
  rpmb: { route: "kernel", build: NO_WRITE_KEY, parts: [{ key: "optee" }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("first use");
    run.create("create", "object", idOf("routed"));
    const model = context.guest().linux.driver?.rpmbRoutingModel ?? "none";
    await run.restart();
    run.load("next boot");
    run.read("read", "object");
    return run.end({ model });
  },
};

/** The same files through the kernel and, after a restart, through the supplicant. */
export const oneRouteAfterTheOther: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.2", "RPMB-5.2.ONCE"],
  rpmb: { route: "kernel", build: NO_WRITE_KEY, parts: [{ key: "optee" }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("through the kernel");
    run.create("create", "object", idOf("routed"));
    await run.restart({ route: "supplicant" });
    run.load("through the supplicant");
    run.read("read", "object");
    return run.end();
  },
};

/** No kernel routing: PROBE_RESET is not supported, and requests go through the supplicant. */
export const kernelWithoutRouting: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.2", "RPMB-7.1"],
  rpmb: { route: "supplicant", build: NO_WRITE_KEY, parts: [{ key: "optee" }] },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first use");
    run.create("create", "object", idOf("fallen back"));
    return run.end({ model: context.guest().linux.driver?.rpmbRoutingModel ?? "none" });
  },
};

/** A build that writes keys never probes, although the kernel would route: a blank part is programmed. */
export const writeKeyNeverProbes: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.2", "RPMB-4.WRITE_KEY"],
  rpmb: { route: "kernel" },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first use");
    return run.end({ model: context.guest().linux.driver?.rpmbRoutingModel ?? "none" });
  },
};

/** The kernel announces its parts again: the one with the key is found by its CID, without a counter read. */
export const announcedAgain: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.1.4"],
  rpmb: {
    route: "kernel",
    build: { writeKey: false, reeFs: false },
    parts: [{ cid: OTHER_CID }, { key: "optee" }],
  },
  run: (context) => {
    const { driver } = context.guest().linux;
    const run = new RpmbRun(context);
    const probe = framesOf(context);
    run.load("load");
    const use = framesOf(context);
    if (driver === undefined) return null;
    context.execute(enumerateDevices(driver, DEVICE_PTA_CMD.GET_DEVICES_RPMB));
    const announced = framesOf(context);
    run.create("create", "object", idOf("still there"));
    return { probe, use, announced, steps: run.steps };
  },
};
