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

const message = (params: number): Buffer => Buffer.alloc(32 + 32 * params);

/** OPEN_SESSION of the pseudo-TA for tests, d96a5b40-c3e5-21e3-8794-1002a5d5c61b. */
function openSession(): Buffer {
  const open = message(2);
  open.writeUInt32LE(2, 28);
  for (const at of [32, 64]) open.writeBigUInt64LE(0x101n, at);
  Buffer.from("d96a5b40c3e521e387941002a5d5c61b", "hex").copy(open, 40);
  return open;
}

/** Its command that counts to `rounds` with a lock held. */
function countTo(rounds: number, session: number): Buffer {
  const invoke = message(2);
  invoke.writeUInt32LE(1, 0);
  invoke.writeUInt32LE(7, 4);
  invoke.writeUInt32LE(session, 8);
  invoke.writeUInt32LE(2, 28);
  invoke.writeBigUInt64LE(1n, 32);
  invoke.writeBigUInt64LE(BigInt(rounds), 48);
  invoke.writeBigUInt64LE(2n, 64);
  return invoke;
}

/** Sends a message and resumes it after every interrupt. */
async function send(
  agent: AgentBridge,
  bytes: Buffer,
): Promise<{ readonly interrupts: number; readonly answer: Buffer }> {
  await agent.write(DATA, bytes, soon());
  let x = await smc(agent, 0x3200_0004, 0, DATA);
  let interrupts = 0;
  while (x[0] === 0xffff_0004) {
    expect(x.slice(1, 3)).toEqual([0, 0]);
    interrupts += 1;
    x = await smc(agent, 0x3200_0003, 0, 0, x[3] ?? 0);
  }
  expect(x[0]).toBe(0);
  const answer = Buffer.from(await agent.read(DATA, bytes.length, soon()));
  expect(answer.readUInt32LE(20)).toBe(0);
  return { interrupts, answer };
}

withImage(
  `SMC-5.FOREIGN_INTR: an interrupt makes a real OP-TEE hand its call back, which completes when it is resumed${why}`,
  async () => {
    const { agent } = await start();
    const session = (await send(agent, openSession())).answer.readUInt32LE(8);
    expect((await send(agent, countTo(1000, session))).interrupts).toBe(0);
    agent.interruptEveryUs = 500;
    const { interrupts, answer } = await send(agent, countTo(1000, session));
    expect(interrupts).toBeGreaterThan(0);
    // How many held the lock.
    expect(answer.readUInt32LE(80)).toBe(1);
  },
  TIMEOUT,
);

withImage(
  `one in a hundred bytes wrong both ways: RAM and answers are right, and no call is made twice${why}`,
  async () => {
    const { agent, wire } = await start();
    const random = new Random(3);
    const sessions: number[] = [];
    wire.noise = 10;
    for (let turn = 0; turn < 8; turn += 1) {
      const [, called, read] = await agent.exec(
        [
          { kind: "write", at: DATA, bytes: openSession() },
          { kind: "smc", x: [0x3200_0004n, 0n, BigInt(DATA), 0n, 0n, 0n, 0n, 0n] },
          { kind: "read", at: DATA, length: 96 },
        ],
        soon(),
      );
      expect(called).toEqual({ kind: "smc", x: [0n, 0n, 0n, 0n, 0n, 0n, 0n, 0n] });
      if (read?.kind !== "read") throw new Error("no message");
      sessions.push(Buffer.from(read.bytes).readUInt32LE(8));
      const bytes = randomBytes(random, 200);
      await agent.write((DATA + 4096) as Pa, bytes, soon());
      const seen = await agent.read((DATA + 4096) as Pa, bytes.length, soon());
      expect(Buffer.from(seen).equals(bytes)).toBe(true);
    }
    expect(wire.faults).toBeGreaterThan(0);
    // A call that was made twice would have opened, and numbered, one session more.
    expect(sessions).toEqual(sessions.map((_, index) => (sessions[0] ?? 0) + index));
  },
  TIMEOUT,
);

withImage(
  `a core that goes away, and a board that resets under the agent, are crashes${why}`,
  async () => {
    const first = await start();
    // PSCI CPU_OFF: the only core that runs goes away.
    await expect(smc(first.agent, 0x8400_0002)).rejects.toMatchObject({ exitCode: 5 });
    first.agent.close();
    await first.live.recover(soon());
    const { agent } = await start();
    // PSCI SYSTEM_RESET.
    await expect(smc(agent, 0x8400_0009)).rejects.toMatchObject({ exitCode: 5 });
  },
  TIMEOUT,
);
