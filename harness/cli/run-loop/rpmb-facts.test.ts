import { describe, expect, test } from "@jest/globals";
import type { CaseResult, FactsSheet } from "../../run/index.ts";
import { unprovenStorage } from "../../run/index.ts";
import { establishRpmb, parseLinuxSigns, type RpmbSigns, tellsOfRpmb } from "./rpmb-facts.ts";
import { joinRpmbFacts, scenarioFacts } from "./rpmb-watch.ts";

/** Lines of a real OP-TEE 4.10 with RPMB, built to write its key. */
const LOG = [
  "D/TC:? 0 legacy_rpmb_init:1143 Trying legacy RPMB init",
  "D/TC:? 0 rpmb_set_dev_info:1114 RPMB: RPMB size is 2*128 KB",
  "I/TC: RPMB: Using generated key",
  "D/TC:? 0 legacy_rpmb_init:1181 Found working RPMB device",
].filter(tellsOfRpmb);
/** A line of a real OP-TEE 4.5 with CFG_RPMB_TESTKEY. */
const TEST_KEY = "D/TC:? 0 tee_rpmb_key_gen:308 RPMB: Using test key";
/** What Debian 13's Linux and tee-supplicant 4.5 in QEMU show, before and after storage was used. */
const STOCK = parseLinuxSigns("routing user\nrouting user\nsupplicant 154\nemulation\nend\n");
const REAL = parseLinuxSigns(
  "routing user\nsupplicant 301\nopened /dev/mmcblk2rpmb\nnode /dev/mmcblk2rpmb\nend\n",
);
const KERNEL = parseLinuxSigns(
  "routing kernel\nsupplicant 301\nemulation\nnode /dev/mmcblk2rpmb\nnode /sys/class/rpmb/rpmb0\nend\n",
);

const signs = (more: Partial<RpmbSigns>): RpmbSigns => ({
  platform: "hardware",
  log: [],
  storageCases: { rpmb: 0, all: 0 },
  ...more,
});
const linux = (found: typeof STOCK): Pick<RpmbSigns, "linux"> =>
  found === undefined ? {} : { linux: found };

describe("what stands behind RPMB", () => {
  test("is unknown where nothing shows it", () => {
    expect(establishRpmb(signs({}))).toEqual({ rpmb: "unknown", rpmbEvidence: { how: [] } });
    const silent = establishRpmb(signs({ ...linux(STOCK) }));
    expect(silent.rpmb).toBe("unknown");
    const logged = establishRpmb(signs({ log: LOG }));
    expect(logged).toMatchObject({
      rpmb: "unknown",
      rpmbEvidence: { how: [expect.stringMatching(/^OP-TEE's log: .*Trying legacy RPMB init/)] },
    });
  });

  test("is the supplicant's emulation where that is compiled in and OP-TEE uses RPMB, by log or by storage cases", () => {
    const byLog = establishRpmb(signs({ platform: "qemu", log: LOG, ...linux(STOCK) }));
    expect(byLog.rpmb).toBe("emulated by supplicant");
    expect(byLog.rpmbEvidence.how).toEqual([
      "tee-supplicant has its emulation compiled in (ioctl_emu) and no device open",
      "OP-TEE's log: D/TC:? 0 legacy_rpmb_init:1143 Trying legacy RPMB init",
    ]);
    const byCases = establishRpmb(
      signs({ platform: "qemu", storageCases: { rpmb: 3, all: 3 }, ...linux(STOCK) }),
    );
    expect(byCases.rpmb).toBe("emulated by supplicant");
    expect(byCases.rpmbEvidence.how[1]).toBe("3 storage cases ran on storage id 80000100");
  });

  test("is none where xtest's storage cases find no RPMB and OP-TEE tells of none", () => {
    const none = signs({ platform: "qemu", storageCases: { rpmb: 0, all: 2 }, ...linux(STOCK) });
    expect(establishRpmb(none)).toEqual({
      rpmb: "none",
      rpmbEvidence: {
        how: [
          "the storage cases of xtest ran without storage id 80000100, and OP-TEE's log tells of no RPMB",
        ],
      },
    });
  });

  test("is real where tee-supplicant has the board's device open, or the kernel routes to its own part", () => {
    expect(establishRpmb(signs({ log: LOG, ...linux(REAL) }))).toMatchObject({
      rpmb: "real",
      rpmbEvidence: { how: ["tee-supplicant has /dev/mmcblk2rpmb open"] },
    });
    // The emulation that is compiled in is never asked then.
    expect(establishRpmb(signs({ ...linux(KERNEL) }))).toMatchObject({
      rpmb: "real",
      rpmbEvidence: {
        how: ["rpmb_routing_model is kernel, and Linux has /sys/class/rpmb/rpmb0"],
      },
    });
    const partless = parseLinuxSigns("routing kernel\nend\n");
    expect(establishRpmb(signs({ ...linux(partless) })).rpmb).toBe("none");
  });

  test("is not called real on an emulator", () => {
    for (const found of [REAL, KERNEL]) {
      const { rpmb, rpmbEvidence } = establishRpmb(signs({ platform: "qemu", ...linux(found) }));
      expect([rpmb, rpmbEvidence.how[0]]).toEqual([
        "unknown",
        expect.stringMatching(/which is the emulator's own$/),
      ]);
    }
  });

  test("is the test key where OP-TEE's log or the part itself says so, with what else was seen", () => {
    const logged = establishRpmb(signs({ log: [...LOG, TEST_KEY], ...linux(REAL) }));
    expect(logged).toMatchObject({
      rpmb: "test key",
      rpmbEvidence: {
        how: [`OP-TEE's log: ${TEST_KEY}`, "tee-supplicant has /dev/mmcblk2rpmb open"],
      },
    });
    const before = { value: 1, authentic: true, route: "test-key" };
    const proven = establishRpmb(signs({ ...linux(REAL), asked: { before } }));
    expect(proven.rpmb).toBe("test key");
    expect(proven.rpmbEvidence.how[0]).toMatch(/published test key/);
  });

  test("is Lockstep's part where frames went to it, with the counter before and after", () => {
    const served = { frames: 49, counterBefore: 53, counterAfter: 54 };
    expect(establishRpmb(signs({ platform: "qemu", log: LOG, served, ...linux(STOCK) }))).toEqual({
      rpmb: "emulated by Lockstep",
      rpmbEvidence: {
        how: ["the part that Lockstep serves to the board exchanged 49 frames with it"],
        counter: { before: 53, after: 54, authentic: true },
      },
    });
    const unused = { frames: 0, counterBefore: 0, counterAfter: 0 };
    const { rpmb, rpmbEvidence } = establishRpmb(
      signs({ platform: "qemu", log: LOG, served: unused, ...linux(STOCK) }),
    );
    expect(rpmb).toBe("unknown");
    expect(rpmbEvidence.counter).toBeUndefined();
  });

  test("comes with the counter of a real part, vouched for only where its key is proven", () => {
    const read = { value: 7, authentic: true, route: "caam-closed/compat" };
    const proven = establishRpmb(
      signs({ ...linux(REAL), asked: { before: read, after: { ...read, value: 9 } } }),
    );
    expect([proven.rpmb, proven.huk]).toEqual(["real", "closed"]);
    expect(proven.rpmbEvidence.counter).toEqual({ before: 7, after: 9, authentic: true });
    expect(proven.rpmbEvidence.how.at(-1)).toMatch(/under the key caam-closed\/compat$/);
    const said = { value: 7, authentic: false };
    const unverified = establishRpmb(
      signs({ ...linux(REAL), asked: { before: said, after: read } }),
    );
    const given = { ...read, route: "given/compat" };
    expect(establishRpmb(signs({ ...linux(REAL), asked: { after: given } })).huk).toBeUndefined();
    expect(unverified.rpmbEvidence.counter).toEqual({ before: 7, after: 7, authentic: false });
  });
});

test("what a board's shell prints is taken only as far as it has the form of the script's lines", () => {
  expect(parseLinuxSigns("routing user\n")).toBeUndefined();
  expect(parseLinuxSigns("")).toBeUndefined();
  expect(parseLinuxSigns("routing \u001B[2J\nopened $(reboot)\nnode\nsupplicant\nend\n")).toEqual({
    supplicantRuns: false,
    emulation: false,
    opened: [],
    nodes: [],
  });
});

test("only OP-TEE's own lines tell of RPMB, not what xtest or a shell prints of it", () => {
  expect(LOG).toHaveLength(4);
  expect(tellsOfRpmb("# grep RPMB /var/log/messages")).toBe(false);
  expect(tellsOfRpmb("o regression_6001.3 Storage id: 80000100")).toBe(false);
  expect(tellsOfRpmb("D/TC:? 0 tee_rpmb_read:1354 Read 1 block at index 0")).toBe(false);
});

const storageCase = (target: string, storage: string): CaseResult => ({
  target,
  suite: "xtest",
  id: `xtest.regression_6001`,
  title: "Test TEE_CreatePersistentObject",
  status: "pass",
  subcases: [{ id: "regression_6001.1", title: `Storage id: ${storage}`, status: "pass" }],
});
const scenario = (target: string, status: "pass" | "skip"): CaseResult => ({
  target,
  suite: "rpmb",
  id: "rpmb.create",
  title: "create",
  status,
  ...(status === "skip" && { reason: "no RPMB" }),
});
const sheet = (board: string, facts: Partial<FactsSheet>): FactsSheet => ({
  board,
  boardType: "t",
  platform: "qemu",
  versions: {},
  images: {},
  packages: {},
  machine: {},
  hab: "unknown",
  huk: "unknown",
  rpmb: "unknown",
  ...facts,
});

describe("a result on RPMB storage", () => {
  test("is unproven where the sheet does not say what was behind it, and says why", () => {
    const cases = [storageCase("b", "80000100"), scenario("b", "pass")];
    expect(unprovenStorage(cases, [sheet("b", {})])).toEqual([
      {
        target: "b",
        reason: "what stands behind RPMB is not known: nothing that was seen tells what",
        cases: ["xtest.regression_6001", "rpmb.create"],
      },
    ]);
    expect(unprovenStorage(cases, [])).toHaveLength(1);
    const how = ["OP-TEE's log: Trying legacy RPMB init"];
    expect(unprovenStorage(cases, [sheet("b", { rpmbEvidence: { how } })])[0]?.reason).toBe(
      `what stands behind RPMB is not known: ${how[0] ?? ""}`,
    );
    expect(unprovenStorage(cases, [sheet("b", { rpmb: "none" })])[0]?.reason).toBe(
      "the facts sheet says that there is no RPMB",
    );
    // A word without evidence, as an old bundle has it, proves nothing either.
    expect(unprovenStorage(cases, [sheet("b", { rpmb: "real" })])).toHaveLength(1);
  });

  test("is proven where the sheet says how; other storage and what did not run is not asked for", () => {
    const known = sheet("b", { rpmb: "emulated by supplicant", rpmbEvidence: { how: ["seen"] } });
    expect(unprovenStorage([storageCase("b", "80000100")], [known])).toEqual([]);
    const others = [storageCase("b", "80000000"), scenario("b", "skip")];
    expect(unprovenStorage(others, [sheet("b", {})])).toEqual([]);
  });

  test("of a scenario is on the part that Lockstep serves to it, whatever Linux had", () => {
    const ran = scenario("b", "pass");
    const stored = storageCase("b", "80000100");
    const unknown = { rpmb: "unknown", rpmbEvidence: { how: [] } } as const;
    expect(joinRpmbFacts(unknown, [ran])).toMatchObject({
      rpmb: "emulated by Lockstep",
      rpmbEvidence: { scenarios: "emulated by Lockstep" },
    });
    expect(joinRpmbFacts(unknown, [ran, stored])).toMatchObject({
      rpmb: "unknown",
      rpmbEvidence: { scenarios: "emulated by Lockstep" },
    });
    const real = { rpmb: "real", rpmbEvidence: { how: ["tee-supplicant has it open"] } } as const;
    expect(joinRpmbFacts(real, [ran, stored]).rpmb).toBe("real");
    expect(scenarioFacts([scenario("b", "skip")])).toBeUndefined();
    expect(joinRpmbFacts(real, [stored])).toBe(real);
    const linuxUnknown = sheet("b", {
      rpmb: "unknown",
      rpmbEvidence: { how: [], scenarios: "emulated by Lockstep" },
    });
    expect(unprovenStorage([ran, stored], [linuxUnknown])).toMatchObject([
      { cases: ["xtest.regression_6001"] },
    ]);
  });
});
