import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { packageRoot, silentProgress } from "../../../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../../../board/index.ts";
import { BridgedTarget } from "../../../platform/index.ts";
import { runDifferential } from "./campaign.ts";
import { PROGRAM_PLANTS } from "./testkit/plants.ts";

const withImage = (process.env["LOCKSTEP_TEST_IMAGE"] ?? "") === "" ? test.skip : test;
const why = withImage === test ? "" : " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)";
const TIMEOUT = 1_800_000;
const BOARD = "qemu-virt-hyp";
const SEED = 5;

let root = "";
let board: LiveBoard | undefined;
let target: BridgedTarget | undefined;

beforeAll(async () => {
  if (withImage !== test) return;
  root = mkdtempSync(path.join(tmpdir(), "lockstep-programs-"));
  const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
  const prepared = execFileSync(process.execPath, [main, "prepare", BOARD, "--json"]);
  const { dir } = JSON.parse(prepared.toString()) as { readonly dir: string };
  const ramFile = path.join(root, "ram");
  const { ssh: _, ...config } = await loadBoard(BOARD, { env: {} });
  const abort = new AbortController().signal;
  board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort,
    prepared: { files: { bios: path.join(dir, "firmware.bios") } },
    sharedRam: ramFile,
  });
  target = new BridgedTarget({ board, ramFile, env: process.env, abort, tas: new Map() });
}, TIMEOUT);

afterAll(async () => {
  await target?.close();
  await board?.close();
  if (root !== "") rmSync(root, { recursive: true });
}, TIMEOUT);

withImage(
  `bugs of the model are found against a real OP-TEE by random programs, each with its clause${why}`,
  async () => {
    if (target === undefined) throw new Error("the board did not come up");
    const options = { target, tas: new Map(), rules: "strict", seed: SEED } as const;
    const sound = await runDifferential({ ...options, runs: 10, trials: 0 });
    expect(sound.findings).toEqual([]);
    expect(PROGRAM_PLANTS.length).toBeGreaterThanOrEqual(3);
    for (const plant of PROGRAM_PLANTS) {
      const { findings } = await runDifferential({ ...options, runs: 10, trials: 30, plant });
      const found = findings.find(({ clauses }) => clauses[0] === plant.clause);
      expect([plant.name, found?.kind]).toEqual([plant.name, "divergence"]);
      expect(found?.program.steps.length).toBeLessThanOrEqual(8);
    }
  },
  TIMEOUT,
);
