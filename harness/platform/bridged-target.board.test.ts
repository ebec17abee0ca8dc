import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { afterAll, beforeAll, expect, test } from "@jest/globals";
import { Deadline, packageRoot, silentProgress } from "../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { RPC_CMD, rpcCommandName } from "../optee-abi/index.ts";
import type { TraceRecord } from "../run/index.ts";
import { BridgedTarget } from "./bridged-target.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;

const built = (...parts: readonly string[]): string =>
  JSON.stringify(pathToFileURL(path.join(packageRoot, "dist", ...parts)).href);
const A_TA = "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b";
/** PSCI CPU_OFF takes the only core away; the others speak to OP-TEE and EL3. */
const SCENARIOS = `
import { Registers } from ${built("harness", "machine", "index.js")};
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
export const loads = scenario((context) => {
  const { result } = context.execute(context.client().openSession(${JSON.stringify(A_TA)}));
  return { result, served: [...context.guest().linux.driver.rpcCommands] };
});
export const endless = scenario((context) => {
  for (;;) smc(context, 0x84000000);
});
export const throws = scenario(() => {
  throw new Error("a mistake of the scenario's own");
});
export const forMediator = { ...scenario(() => null), conduits: ["vm"] };
`;

let root = "";
let board: LiveBoard | undefined;
let target: BridgedTarget | undefined;

function newTarget(on: LiveBoard, limits: { readonly scenarioMs?: number } = {}): BridgedTarget {
  return new BridgedTarget({
    board: on,
    ramFile: path.join(root, "ram"),
    secureLog: path.join(root, "secure.log"),
    env: process.env,
    abort: new AbortController().signal,
    tas: new Map(),
    root,
    smcMs: 3000,
    ...limits,
  });
}

beforeAll(async () => {
  if (imageDir === "") return;
  root = mkdtempSync(path.join(tmpdir(), "lockstep-bridged-"));
  const suites = path.join(root, "dist", "suites", "own");
  mkdirSync(suites, { recursive: true });
  writeFileSync(path.join(root, "package.json"), '{ "type": "module" }');
  writeFileSync(path.join(suites, "calls.scenario.js"), SCENARIOS);
  const { ssh: _, ...config } = await loadBoard("qemu-virt", { env: {} });
  board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: { files: { bios: path.join(imageDir, "firmware.bios") } },
    sharedRam: path.join(root, "ram"),
    qemuLogs: root,
  });
  target = newTarget(board);
}, TIMEOUT);

afterAll(async () => {
  await target?.close();
  await board?.close();
  if (root !== "") rmSync(root, { recursive: true });
}, TIMEOUT);

const run = async (name: string): Promise<unknown> => await target?.run(`own/calls#${name}`, null);

/** The records of a scenario and what came of it. */
async function record(
  name: string,
  on = target,
): Promise<{ readonly records: readonly TraceRecord[]; readonly outcome: unknown }> {
  let records: readonly TraceRecord[] = [];
  const outcome = await on
    ?.run(`own/calls#${name}`, null, undefined, (taken) => {
      records = taken;
    })
    .catch((error: unknown) => error);
  return { records, outcome };
}

const isSmc = (one: TraceRecord): one is Extract<TraceRecord, { type: "smc" }> =>
  one.type === "smc";

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

withImage(
  `a trace has the real console lines within their SMC, and the real RPCs with their messages${why}`,
  async () => {
    const { records, outcome } = await record("loads");
    // Every line stands between an SMC and its return, none between a return and the next SMC.
    let within = false;
    const lines: { text: string; within: boolean }[] = [];
    for (const one of records) {
      if (one.type === "smc") within = one.phase === "enter";
      if (one.type === "console") lines.push({ text: one.text, within });
    }
    expect(lines.length).toBeGreaterThan(2);
    expect(lines.filter((line) => !line.within)).toEqual([]);
    // What the session's opening prints comes within that call, and before its first RPC.
    const lookup = records.findIndex((one) => one.type === "console" && one.text.includes(A_TA));
    const before = records.slice(0, lookup).findLast(isSmc);
    const after = records.slice(lookup).find(isSmc);
    expect(before).toMatchObject({ phase: "enter", message: { role: "call", cmd: 0 } });
    expect(after).toMatchObject({ phase: "leave", registers: expect.any(Array) });
    // The kernel counts the RPCs that it served; the trace has a request and an answer of each.
    const rpcs = records.filter(isSmc).filter(({ message }) => message?.role === "rpc");
    const counted = (phase: string): [number, number][] => {
      const counts = new Map<number, number>();
      for (const { message } of rpcs.filter((one) => one.phase === phase)) {
        const { cmd = -1 } = message ?? {};
        counts.set(cmd, (counts.get(cmd) ?? 0) + 1);
      }
      return [...counts];
    };
    const { result, served } = outcome as { result: number; served: [number, number][] };
    expect(result).toBe(0xffff_0008);
    expect(served.map(([command]) => rpcCommandName(command))).toContain("LOAD_TA");
    expect(counted("leave")).toEqual(served);
    expect(counted("enter")).toEqual(served);
    // There is no such TA here, which is what the supplicant says and OP-TEE passes on.
    const load = rpcs.filter(({ message }) => message?.cmd === RPC_CMD.LOAD_TA);
    expect(load.map(({ phase, message }) => [phase, message?.ret])).toEqual([
      ["leave", 0xffff_0000],
      ["enter", 0xffff_0008],
    ]);
    expect(records.filter(isSmc).findLast(({ message }) => message?.cmd === 0)).toMatchObject({
      phase: "leave",
      message: { role: "call", ret: 0xffff_0008, session: 0 },
    });
    expect(records.at(-1)).toEqual({ type: "end", how: "done", value: outcome });
  },
  TIMEOUT,
);

withImage(
  `a call that never returned is the last of its trace, and so is where a scenario was ended${why}`,
  async () => {
    const { records, outcome } = await record("coreOff");
    expect(outcome).toMatchObject({ exitCode: 5 });
    expect(records.filter(isSmc).at(-1)).toMatchObject({
      phase: "enter",
      registers: ["0x84000002", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0"],
    });
    expect(records.at(-1)).toMatchObject({ type: "end", how: "crash" });
    await target?.close();
    if (board === undefined) throw new Error("no board");
    await board.recover(Deadline.after(60_000, "switching the board off"));
    const impatient = newTarget(board, { scenarioMs: 2000 });
    const ended = await record("endless", impatient);
    await impatient.close();
    expect(ended.outcome).toMatchObject({ exitCode: 4 });
    expect(ended.records.filter(isSmc).length).toBeGreaterThan(100);
    expect(ended.records.at(-1)).toMatchObject({ type: "end", how: "error" });
  },
  TIMEOUT,
);
