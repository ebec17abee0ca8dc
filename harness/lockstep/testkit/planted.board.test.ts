import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { silentProgress } from "../../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../../board/index.ts";
import { BridgedTarget, EmulatedTarget } from "../../platform/index.ts";
import { compareOn } from "./compare-run.ts";
import { PLANTED_BUGS, planting } from "./planted.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;
const DIRECT = { conduit: "direct" } as const;

let root = "";
let board: LiveBoard | undefined;
let real: BridgedTarget | undefined;

beforeAll(async () => {
  if (imageDir === "") return;
  root = mkdtempSync(path.join(tmpdir(), "lockstep-planted-"));
  const ramFile = path.join(root, "ram");
  const { ssh: _, ...config } = await loadBoard("qemu-virt", { env: {} });
  const abort = new AbortController().signal;
  board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort,
    prepared: { files: { bios: path.join(imageDir, "firmware.bios") } },
    sharedRam: ramFile,
    qemuLogs: root,
  });
  real = new BridgedTarget({
    board,
    ramFile,
    secureLog: path.join(root, "secure.log"),
    env: process.env,
    abort,
    tas: new Map(),
  });
}, TIMEOUT);

afterAll(async () => {
  await real?.close();
  await board?.close();
  if (root !== "") rmSync(root, { recursive: true });
}, TIMEOUT);

const BUGS = PLANTED_BUGS.filter(({ where }) => where === "secure world");

withImage(
  `three bugs of the model are found against a real OP-TEE, each with its clause and what it changed${why}`,
  async () => {
    expect(BUGS.length).toBeGreaterThanOrEqual(3);
    const emulated = await loadBoard("emulated", { env: {} });
    if (real === undefined) throw new Error("the board did not come up");
    for (const bug of BUGS) {
      const sound = await compareOn(new EmulatedTarget(emulated), real, bug, DIRECT);
      expect([bug.name, sound.cause]).toEqual([bug.name, undefined]);
      const spoilt = new EmulatedTarget(emulated, { prepare: planting(bug) });
      const { cause } = await compareOn(spoilt, real, bug, DIRECT);
      const seen = { call: cause?.call, field: cause?.fields[0]?.field };
      expect([bug.name, cause?.clauses[0], seen]).toEqual([bug.name, bug.clause, bug.seen]);
    }
  },
  TIMEOUT,
);
