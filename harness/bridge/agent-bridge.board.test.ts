import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { BoardFileError, Deadline, Random, silentProgress } from "../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { AgentBridge } from "./agent-bridge.ts";
import { assemble } from "./assemble.ts";
import { ConsoleBridge } from "./console-bridge.ts";
import { loaderConsoleOf } from "./loader-console.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { RamWindow } from "./ram-window.ts";
import { NoisyConsole } from "./testing/noisy-console.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;
const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the test");

const DATA = 0x4880_0000 as Pa;
const PSCI_VERSION = 0x8400_0000;
const CALLS_UID = 0xbf00_ff01;

let board: LiveBoard | undefined;
afterEach(async () => {
  await board?.close();
  board = undefined;
});

interface Machine {
  readonly live: LiveBoard;
  readonly prompt: LoaderPrompt;
  readonly agent: AgentBridge;
  readonly wire: NoisyConsole;
}

/** A board that runs the agent, over a wire that is made `noise` thousandths bad once it runs. */
async function start(): Promise<Machine> {
  const { ssh: _, ...config } = await loadBoard("qemu-virt", { env: {} });
  board ??= await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: { files: { bios: path.join(imageDir, "firmware.bios") } },
  });
  await board.transition("bootloader", soon());
  const { bridge: where, boot } = config;
  if (where?.uart === undefined || boot === undefined) throw new BoardFileError("it changed");
  const wire = new NoisyConsole(loaderConsoleOf(board), 7);
  const prompt = new LoaderPrompt(wire, { prompt: new RegExp(boot.bootloader.prompt) });
  const window = new RamWindow(where.freeRam, config.file);
  const loader = await ConsoleBridge.start(
    {
      prompt,
      window,
      program: await assemble("console", process.env),
      lineLimit: where.lineLimit,
      smcMs: 5000,
    },
    soon(),
  );
  const agent = await AgentBridge.start(
    {
      console: wire,
      prompt,
      loader,
      window,
      program: await assemble("agent", process.env),
      devices: { uart: where.uart, ...(where.gic && { gic: where.gic }) },
      smcMs: 5000,
    },
    soon(),
  );
  return { live: board, prompt, agent, wire };
}

async function smc(agent: AgentBridge, ...x: number[]): Promise<number[]> {
  const registers = new Registers(x);
  await agent.smc(registers, soon());
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

const randomBytes = (random: Random, length: number): Uint8Array =>
  Uint8Array.from({ length }, () => random.below(256));

withImage(
  `a real OP-TEE answers through the agent, RAM is what was written, and the prompt comes back${why}`,
  async () => {
    const { agent, prompt } = await start();
    expect(agent.info).toMatchObject({ version: 1, level: 1, counterHz: 62_500_000 });
    const kept = [4, 5, 6, 7];
    expect(await smc(agent, PSCI_VERSION, 1, 2, 3, ...kept)).toEqual([0x10001, 1, 2, 3, ...kept]);
    expect(await smc(agent, CALLS_UID, 1, 2, 3, ...kept)).toEqual([
      0x384f_b3e0,
      0xe7f8_11e3,
      0xaf63_0002,
      0xa5d5_c51b,
      ...kept,
    ]);
    const random = new Random(11);
    for (const [offset, length] of [
      [0, 1],
      [3, 21],
      [0, 70_000],
    ] as const) {
      const bytes = randomBytes(random, length);
      await agent.write((DATA + offset) as Pa, bytes, soon());
      const seen = await agent.read((DATA + offset) as Pa, length, soon());
      expect(Buffer.from(seen).equals(bytes)).toBe(true);
    }
    await agent.fill((DATA + 5) as Pa, 4099, 0xab, soon());
    expect(Buffer.from(await agent.read(DATA, 5, soon()))).not.toEqual(Buffer.alloc(5, 0xab));
    const filled = Buffer.from(await agent.read((DATA + 5) as Pa, 4099, soon()));
    expect(filled.equals(Buffer.alloc(4099, 0xab))).toBe(true);
    await agent.exit(soon());
    expect((await prompt.run("echo here", soon())).join()).toBe("here");
  },
  TIMEOUT,
);
