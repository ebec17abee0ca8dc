import type { Scenario } from "../../harness/platform/index.ts";
import { keyId } from "../../harness/rpmb/index.ts";
import { idOf, RpmbRun } from "../support/rpmb.ts";

/** Where a part is reached through the supplicant: at a machine's boot loader, and as a guest. */
const ANYWHERE = { conduits: ["direct", "vm"], rules: "strict" } as const;
const DIRECT = { conduits: ["direct"] } as const;

const FIRST_USE = [
  "RPMB-5.5.1",
  "RPMB-5.5.2",
  "RPMB-5.5.3",
  "RPMB-5.5.4",
  "RPMB-5.5.5",
  "RPMB-5.5.6",
  "RPMB-5.5.7",
  "RPMB-5.5.8",
  "RPMB-5.5.9",
  "RPMB-5.5.10",
];

/** A blank part and an OP-TEE that writes keys: programmed, verified, formatted, and used. */
export const blankPart: Scenario = {
  ...ANYWHERE,
  clauses: [
    ...FIRST_USE,
    "RPMB-5.2.ONCE",
    "RPMB-5.2.NOT_PROGRAMMED",
    "RPMB-5.2.VERIFIED",
    "RPMB-5.2.REVERIFY",
    "RPMB-4.RPMB_FS",
    "RPMB-4.WRITE_KEY",
    "RPMB-2.1.2",
    "RPMB-3.1",
    "RPMB-3.2",
    "RPMB-3.1.ZERO_STUB",
  ],
  rpmb: { route: "supplicant" },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("first use");
    run.create("create", "object", idOf("first"));
    run.read("read", "object");
    await run.restart();
    run.load("next boot");
    run.read("read again", "object");
    const { part } = context.rpmb;
    const same = part.programmedKeyId === keyId(part.derivedKey());
    return run.end({ programmed: same ? "the derived key" : "another key" });
  },
};

/** The part has its key from the factory, and no file system yet. */
export const provisionedPart: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.2.VERIFIED", "RPMB-5.5.DUMMY_WRITE", "RPMB-5.6.PARTITION_DATA"],
  rpmb: { route: "supplicant", parts: [{ key: "optee", writeCounter: 41 }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("first use");
    run.create("create", "object", idOf("made"));
    await run.restart();
    run.load("next boot");
    run.read("read", "object");
    return run.end();
  },
};

/** Another key than OP-TEE's: nothing is written, each access asks again. */
export const wrongKey: Scenario = {
  ...ANYWHERE,
  clauses: ["RPMB-5.2.OTHER", "RPMB-5.3.6"],
  rpmb: { route: "supplicant", parts: [{ key: "other", writeCounter: 7 }] },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first try");
    run.load("second try");
    return run.end();
  },
};

/** The key that a build of the other kind of derivation left. */
export const keyOfAnotherBuild: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.2.OTHER", "RPMB-4.SUBKEY_COMPAT", "RPMB-4.TESTKEY"],
  rpmb: { route: "supplicant", parts: [{ key: { compat: false } }] },
  run: async (context) => {
    const run = new RpmbRun(context);
    run.load("key of a build without compat");
    context.rpmb.part.replace({ key: { testKey: true } });
    await run.restart();
    run.load("the test key");
    return run.end();
  },
};

/** A build that writes no keys leaves a blank part as it is. */
export const blankPartNoWriteKey: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-5.2.NOT_PROGRAMMED", "RPMB-5.1.2"],
  rpmb: { route: "supplicant", build: { writeKey: false } },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first try");
    run.load("second try");
    return run.end();
  },
};

/** A platform that is not ready, as an i.MX8M that is not closed: no key is written. */
export const platformNotReady: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-3.2.WHEN", "RPMB-5.2.NOT_PROGRAMMED"],
  rpmb: { route: "supplicant", build: { keyReady: false } },
  run: (context) => {
    const run = new RpmbRun(context);
    run.load("first try");
    run.load("second try");
    return run.end();
  },
};
