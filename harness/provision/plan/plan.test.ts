import { describe, expect, test } from "@jest/globals";
import { keyId, rpmbTestKey } from "../../rpmb/index.ts";
import { dryRun } from "../dry-run.ts";
import { boardView, CID, OTHER_CID, partView, situation, someKey } from "../testing/situations.ts";
import { HAZARD_RULES } from "./hazards.ts";
import { makePlan } from "./plan.ts";
import { type BoardView, type KeyView, type Route, ROUTES, type Situation } from "./situation.ts";

const CLOSED_BUILD = { compat: true, huk: "caam-closed", supplicantEmulation: false } as const;
const ids = (more: Partial<Situation> = {}, severity?: string): string[] =>
  makePlan(situation(more))
    .hazards.filter((one) => severity === undefined || one.severity === severity)
    .map(({ id }) => id);

/** A key as `route` would have it on a part in this life-cycle state. */
const keyOn = (lifeCycle: BoardView["lifeCycle"]): KeyView => ({
  ...(situation().key ?? { id: "", how: "", published: false }),
  source: lifeCycle === "open" ? "caam-open" : "caam-closed",
});

test("a closed part, its OP-TEE known, stands in nobody's way", () => {
  expect(makePlan(situation()).obstacles).toEqual([]);
  expect(ids()).toEqual(["revision-changed", "key-file-on-board", "once"]);
});

describe("route by life-cycle state of an i.MX8M", () => {
  const table: readonly (readonly [
    Route,
    BoardView["lifeCycle"],
    readonly string[],
    readonly string[],
  ])[] = [
    ["write-key-build", "closed", [], ["log-prints-key"]],
    ["write-key-build", "open", ["key-not-ready"], ["open-part", "log-prints-key"]],
    ["write-key-build", "unknown", [], ["log-prints-key"]],
    ["key-service", "closed", [], ["key-service-left"]],
    ["key-service", "open", [], ["open-part", "key-service-left"]],
    ["key-service", "unknown", [], ["key-service-left"]],
    ["offline", "closed", [], []],
    ["offline", "open", [], ["open-part"]],
    ["offline", "unknown", [], []],
    ["database", "closed", [], []],
    ["database", "open", [], ["open-part"]],
    ["database", "unknown", [], []],
  ];
  test.each(table)(
    "RPMB-3.2.IMX: %s, %s: stops %j, dangers %j",
    (route, lifeCycle, stops, dangers) => {
      const huk = lifeCycle === "open" ? "caam-open" : "caam-closed";
      const build = { ...CLOSED_BUILD, huk, writeKey: true, keyService: true } as const;
      const more = {
        route,
        board: boardView({ lifeCycle, build }),
        key: keyOn(lifeCycle),
        database: "keys.csv",
      };
      expect([ids(more, "stop"), ids(more, "danger")]).toEqual([stops, dangers]);
      expect(ids(more).includes("life-cycle-unknown")).toBe(lifeCycle === "unknown");
      expect(ids(more, "caution").includes("key-not-ready")).toBe(
        route === "write-key-build" && lifeCycle === "unknown",
      );
    },
  );
});

test.each<[string, string, Partial<Situation>]>([
  ["key-programmed", "stop", { part: partView({ verdict: "none of these" }) }],
  ["key-programmed", "stop", { part: partView({ verdict: "proven", keys: ["test-key"] }) }],
  ["key-programmed", "stop", { part: partView({ verdict: "replayable" }) }],
  ["part-unproven", "stop", { part: partView({ verdict: "unproven", reason: "x" }) }],
  ["part-replaced", "stop", { part: partView({ expectedCid: OTHER_CID }) }],
  ["compat-mismatch", "stop", { board: boardView({ build: { ...CLOSED_BUILD, compat: false } }) }],
  ["compat-unknown", "caution", { board: boardView({ build: { supplicantEmulation: false } }) }],
  ["test-key-build", "stop", { board: boardView({ build: { ...CLOSED_BUILD, testKey: true } }) }],
  ["life-cycle-mismatch", "stop", { board: boardView({ lifeCycle: "open" }) }],
  ["huk-32", "caution", { key: { ...keyOn("closed"), hukSize: 32 } }],
  [
    "published-key",
    "danger",
    { key: { ...keyOn("closed"), source: "zero-stub", published: true } },
  ],
  ["other-key", "stop", { derived: { ...keyOn("closed"), id: "0".repeat(16) } }],
  ["ledger-changed", "stop", { history: { programmed: [], open: [], problem: "x" } }],
  ["no-ssh", "stop", { board: boardView({ ssh: false }) }],
  ["no-mmc-utils", "stop", { tools: { mmc: false } }],
  ["no-key-service", "stop", { route: "key-service", tools: { mmc: true, keyClient: false } }],
  [
    "no-write-key",
    "stop",
    { route: "write-key-build", board: boardView({ build: { writeKey: false } }) },
  ],
  ["write-key-unknown", "caution", { route: "write-key-build" }],
  ["no-kernel-probing", "caution", { route: "write-key-build" }],
  [
    "supplicant-emulation",
    "stop",
    { route: "write-key-build", board: boardView({ build: { supplicantEmulation: true } }) },
  ],
  [
    "supplicant-emulation",
    "danger",
    { board: boardView({ build: { ...CLOSED_BUILD, supplicantEmulation: true } }) },
  ],
  ["supplicant-emulation", "caution", { board: boardView({ build: { compat: true } }) }],
  [
    "supplicant-emulation",
    "stop",
    {
      route: "write-key-build",
      board: boardView({ build: { supplicantEmulation: true, routing: "kernel" } }),
    },
  ],
  [
    "kernel-routing",
    "note",
    { board: boardView({ build: { ...CLOSED_BUILD, routing: "kernel" } }) },
  ],
  ["reset-fat", "caution", { board: boardView({ build: { ...CLOSED_BUILD, resetFat: true } }) }],
])("%s is a %s where it applies, and not where all is well", (id, severity, more) => {
  expect(ids(more, severity)).toContain(id);
  expect(makePlan(situation(more)).obstacles.length > 0).toBe(severity === "stop");
  const well = { ...situation(), board: boardView({ build: { ...CLOSED_BUILD, writeKey: true } }) };
  if (id !== "no-kernel-probing") expect(ids(well, severity)).not.toContain(id);
});

test("a firmware update of the part is told from another part", () => {
  const updated = `${CID.slice(0, 18)}43${CID.slice(20, 30)}77`;
  const { hazards, obstacles } = makePlan(situation({ part: partView({ expectedCid: updated }) }));
  expect(obstacles).toEqual([]);
  expect(hazards.find(({ id }) => id === "revision-changed")?.what).toMatch(/the key is the same/);
});

test("a plan without the part, or without a key, is not performed", () => {
  const { part: _part, ...offline } = situation();
  expect(makePlan(offline).obstacles).toEqual([expect.stringMatching(/was not asked/)]);
  for (const route of ROUTES) {
    const { key: _key, ...more } = situation({ route });
    const found = makePlan(more).hazards.filter(({ id }) => id.startsWith("key-"));
    expect(found.map(({ id }) => id)).toContain(
      route === "write-key-build" ? "key-not-known" : "key-missing",
    );
  }
});

test("every route ends in a verification, has one irreversible step and never a key in a command", () => {
  for (const route of ROUTES) {
    // On the board's Linux, the same served by Lockstep, and the state file of a part.
    for (const [where, emulated] of [
      ["/dev/mmcblk2rpmb", false],
      ["/dev/mmcblk2rpmb", true],
      ["/lab/part.rpmb", true],
    ] as const) {
      const more = { route, part: partView({ emulated, where }) };
      const { steps } = makePlan(situation(more));
      expect(steps.filter(({ irreversible }) => irreversible)).toHaveLength(1);
      const commands = steps.flatMap((step) => step.commands);
      expect(commands).toContain("lockstep rpmb verify --board shelf-3");
      expect(commands.join("\n")).not.toMatch(/[0-9a-f]{64}/);
      const writes = commands.some((one) => one === "mmc rpmb write-key /dev/mmcblk2rpmb -");
      expect(writes).toBe(route !== "write-key-build" && where.startsWith("/dev/"));
    }
  }
});

test("the same situation gives the same plan; whatever decides changes its hash", () => {
  const { hash } = makePlan(situation());
  expect(makePlan(structuredClone(situation())).hash).toBe(hash);
  const reason = "said otherwise";
  expect(makePlan(situation({ part: partView({ reason }) })).hash).toBe(hash);
  for (const more of [
    { route: "database" },
    { board: boardView({ expendable: false }) },
    { board: boardView({ file: "/elsewhere/shelf-3.yaml" }) },
    { part: partView({ cid: OTHER_CID }) },
    { part: partView({ verdict: "unproven" }) },
    { key: { ...keyOn("closed"), id: "0".repeat(16) } },
    { tools: {}, board: boardView({ ssh: false }) },
  ] as const) {
    expect(makePlan(situation(more)).hash).not.toBe(hash);
  }
});

test("every hazard names where it comes from and how it is mended", () => {
  const seen = new Set<string>();
  for (const { id, sources } of HAZARD_RULES) {
    expect([id, seen.has(id), sources.length > 0]).toEqual([id, false, true]);
    seen.add(id);
    for (const source of sources) expect(source).toMatch(/^RPMB-\d/);
  }
  for (const { what, mend } of makePlan(situation({ route: "write-key-build" })).hazards) {
    expect([what, mend]).toEqual([expect.stringMatching(/\w{4}/), expect.stringMatching(/\.$/)]);
  }
});

test("the dry run programs a copy of the part, which proves the key and takes no second one", async () => {
  const run = await dryRun(CID, rpmbTestKey());
  expect(run).toMatchObject({
    keyId: keyId(rpmbTestKey()),
    before: "none programmed",
    after: "proven",
    writeCounter: 0,
    again: "0x0001 (general failure)",
  });
  expect(run.text).not.toContain(someKey().export().toString("hex").slice(0, 16));
});
