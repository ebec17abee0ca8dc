import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { packageRoot, silentProgress } from "../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { BridgedTarget } from "./bridged-target.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;

const machine = pathToFileURL(
  path.join(packageRoot, "dist", "harness", "machine", "index.js"),
).href;
/** PSCI CPU_OFF takes the only core away; the others speak to OP-TEE and EL3. */
const SCENARIOS = `
import { Registers } from ${JSON.stringify(machine)};
const smc = (context, ...x) => {
  const registers = new Registers(x);
  context.conduit.smc(registers);
  return [0, 1, 2, 3].map((index) => registers.get(index));
};
const scenario = (run) => ({ conduits: ["direct"], clauses: [], run });
export const version = scenario((context) => smc(context, 0x84000000));
export const coreOff = scenario((context) => smc(context, 0x84000002));
export const enableCache = scenario((context) => [
  smc(context, 0xb200000a)[0],
  smc(context, 0xb200000b)[0],
]);
export const throws = scenario(() => {
  throw new Error("a mistake of the scenario's own");
});
export const forMediator = { ...scenario(() => null), conduits: ["vm"] };
`;

let root = "";
let board: LiveBoard | undefined;
let target: BridgedTarget | undefined;

beforeAll(async () => {
  if (imageDir === "") return;
  root = mkdtempSync(path.join(tmpdir(), "lockstep-bridged-"));
  const suites = path.join(root, "dist", "suites", "own");
  mkdirSync(suites, { recursive: true });
  writeFileSync(path.join(root, "package.json"), '{ "type": "module" }');
  writeFileSync(path.join(suites, "calls.scenario.js"), SCENARIOS);
  const { ssh: _, ...config } = await loadBoard("qemu-virt", { env: {} });
  const ramFile = path.join(root, "ram");
  board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: { files: { bios: path.join(imageDir, "firmware.bios") } },
    sharedRam: ramFile,
  });
  target = new BridgedTarget({
    board,
    ramFile,
    env: process.env,
    abort: new AbortController().signal,
    tas: new Map(),
    root,
    smcMs: 3000,
  });
}, TIMEOUT);

afterAll(async () => {
  await target?.close();
  await board?.close();
  if (root !== "") rmSync(root, { recursive: true });
}, TIMEOUT);

const run = async (name: string): Promise<unknown> => await target?.run(`own/calls#${name}`, null);

withImage(
  `a scenario reaches the real EL3, and each finds the machine as it came up${why}`,
  async () => {
    expect(await run("version")).toEqual([0x10001, 0, 0, 0]);
    // 7, ENOTAVAIL: the cache is off. Had the first one's cache stayed on, it would be emptied first.
    expect(await run("enableCache")).toEqual([7, 0]);
    expect(await run("enableCache")).toEqual([7, 0]);
  },
  TIMEOUT,
);

withImage(
  `a call that never returns is a crash, and the next scenario finds a board again${why}`,
  async () => {
    await expect(run("coreOff")).rejects.toMatchObject({ exitCode: 5 });
    expect(await run("version")).toEqual([0x10001, 0, 0, 0]);
  },
  TIMEOUT,
);

withImage(
  `a scenario's own mistake is its own, and what the board lacks is a skip${why}`,
  async () => {
    await expect(run("throws")).rejects.toThrow("a mistake of the scenario's own");
    await expect(run("forMediator")).rejects.toMatchObject({
      reason: "needs conduit vm, board qemu-virt has direct, hwdom",
    });
    await expect(run("absent")).rejects.toMatchObject({ exitCode: 2 });
    expect(await run("version")).toEqual([0x10001, 0, 0, 0]);
  },
  TIMEOUT,
);
