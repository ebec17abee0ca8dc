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

const CIDS = [
  "150100424a5444345203a1b2c3d4c59b",
  // A firmware update of it: PRV and CRC are others.
  "150100424a5444345207a1b2c3d4c541",
  "13014e47314a3935451012b3f3a15a01",
  "ffffffffffffffffffffffffffffffff",
];

/** The key that OP-TEE programs into each of several parts is the one derived from HUK and CID. */
export const keysOfSeveralParts: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-3.1", "RPMB-3.2", "RPMB-2.3.PRV", "RPMB-2.3.CRC", "RPMB-2.3.PSN"],
  rpmb: { route: "supplicant", parts: [{ cid: CIDS[0] ?? "" }] },
  run: async (context) => {
    const { part } = context.rpmb;
    const ids: string[] = [];
    for (const [turn, cid] of CIDS.entries()) {
      if (turn > 0) {
        part.replace({ cid });
        await context.restart();
      }
      const run = new RpmbRun(context);
      run.load("first use");
      const own = part.programmedKeyId;
      const derived = part.hasKey(part.derivedKey()) && own === keyId(part.derivedKey());
      ids.push(derived ? (own ?? "") : `not derived: ${own ?? "none"}`);
    }
    const [one, updated] = ids;
    return { ids, sameAfterUpdate: one === updated, different: new Set(ids).size };
  },
};

/** As above for builds that derive otherwise. */
export const keysOfSeveralBuilds: Scenario = {
  ...DIRECT,
  clauses: ["RPMB-3.2", "RPMB-3.4", "RPMB-4.SUBKEY_COMPAT", "RPMB-4.TESTKEY"],
  rpmb: { route: "supplicant", build: { compat: false } },
  run: async (context) => {
    const { part } = context.rpmb;
    const ids: (string | null)[] = [];
    const builds = [
      { compat: false },
      { testKey: true },
      { huk: "000102030405060708090a0b0c0d0e0f" },
      { huk: "000102030405060708090a0b0c0d0e0f", compat: false },
      { huk: "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f" },
    ];
    for (const [turn, build] of builds.entries()) {
      part.replace({});
      if (turn > 0) await context.restart({ build });
      new RpmbRun(context).load("first use");
      ids.push(
        part.programmedKeyId === keyId(part.derivedKey(build))
          ? keyId(part.derivedKey(build))
          : null,
      );
    }
    return { ids };
  },
};
