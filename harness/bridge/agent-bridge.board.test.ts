import { execFileSync } from "node:child_process";
import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { BoardFileError, Deadline, packageRoot, Random, silentProgress } from "../base/index.ts";
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

/** The folder of a board's image: what the tests were given, or another, which is made at need. */
function imageOf(name: string): string {
  if (name === "qemu-virt") return imageDir;
  const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
  const prepared = execFileSync(process.execPath, [main, "prepare", name, "--json"]);
  return (JSON.parse(prepared.toString()) as { readonly dir: string }).dir;
}

/**
 * A board that runs the agent, over a wire that is made `noise` thousandths bad once it runs; `first`
 * is done at the boot loader before.
 */
async function start(
  name = "qemu-virt",
  first: (prompt: LoaderPrompt) => Promise<void> = async () => {},
): Promise<Machine> {
  const { ssh: _, ...config } = await loadBoard(name, { env: {} });
  board ??= await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: { files: { bios: path.join(imageOf(name), "firmware.bios") } },
  });
  await board.transition("bootloader", soon());
  const { bridge: where, boot } = config;
  if (where?.uart === undefined || boot === undefined) throw new BoardFileError("it changed");
  const wire = new NoisyConsole(loaderConsoleOf(board), 7);
  const prompt = new LoaderPrompt(wire, { prompt: new RegExp(boot.bootloader.prompt) });
  await first(prompt);
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

/** The core's own tests, which take it tens of milliseconds. */
function selfTests(session: number): Buffer {
  const invoke = message(0);
  invoke.writeUInt32LE(1, 0);
  invoke.writeUInt32LE(2, 4);
  invoke.writeUInt32LE(session, 8);
  return invoke;
}

/** Sends a message and resumes it after every interrupt; `client` is a VM's number, 0 without VMs. */
async function send(
  agent: AgentBridge,
  bytes: Buffer,
  client = 0,
): Promise<{ readonly interrupts: number; readonly answer: Buffer }> {
  await agent.write(DATA, bytes, soon());
  let x = await smc(agent, 0x3200_0004, 0, DATA, 0, 0, 0, 0, client);
  let interrupts = 0;
  while (x[0] === 0xffff_0004) {
    expect(x.slice(1, 3)).toEqual([0, 0]);
    interrupts += 1;
    x = await smc(agent, 0x3200_0003, 0, 0, x[3] ?? 0, 0, 0, 0, client);
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

const CLIENT = 3;

/** At EL2 the interrupt is the hypervisor's timer, which comes while the call runs, and again. */
withImage(
  `SMC-5.FOREIGN_INTR, SMC-8.3: interrupts make a virtualized OP-TEE hand the call of a VM back, which completes${why}`,
  async () => {
    const { agent } = await start("qemu-virt-hyp");
    expect(agent.info).toMatchObject({ level: 2 });
    // VM_CREATED
    expect((await smc(agent, 0xb200_000d, CLIENT))[0]).toBe(0);
    const session = (await send(agent, openSession(), CLIENT)).answer.readUInt32LE(8);
    expect((await send(agent, selfTests(session), CLIENT)).interrupts).toBe(0);
    agent.interruptEveryUs = 100;
    // The time doubles with every interrupt, so that the call gets on; how many one meets is chance.
    let most = 0;
    for (let turn = 0; turn < 20 && most < 2; turn += 1) {
      most = Math.max(most, (await send(agent, selfTests(session), CLIENT)).interrupts);
    }
    expect(most).toBeGreaterThan(1);
  },
  TIMEOUT,
);

/** `mrs x0, REGISTER; ret`, by op1, CRn, CRm and op2: U-Boot prints what its programs return. */
const mrs = (op1: number, n: number, m: number, op2: number): number =>
  (0xd538_0000 | (op1 << 16) | (n << 12) | (m << 8) | (op2 << 5)) >>> 0;
const RET = 0xd65f_03c0;
/** The registers that boards/bridge/timer.s changes, at both levels. */
const SYSTEM = {
  ICC_PMR_EL1: mrs(0, 4, 6, 0),
  ICC_IGRPEN1_EL1: mrs(0, 12, 12, 7),
  ICC_SRE_EL1: mrs(0, 12, 12, 5),
};
const SYSTEM_EL2 = {
  ICC_SRE_EL2: mrs(4, 12, 9, 5),
  CNTHP_CTL_EL2: mrs(4, 14, 2, 1),
  CNTHP_CVAL_EL2: mrs(4, 14, 2, 2),
};
/** GICD_CTLR; of the first core's redistributor ISENABLER0, ISPENDR0, priorities of SGI 0 and PPI 26. */
const GIC = [0x800_0000, 0x80b_0100, 0x80b_0200, 0x80b_0400, 0x80b_0418];

/** The GIC and the timer as U-Boot sees them. */
async function interruptState(
  prompt: LoaderPrompt,
  system: Readonly<Record<string, number>>,
): Promise<Record<string, string>> {
  const state: Record<string, string> = {};
  const program = DATA.toString(16);
  for (const [name, word] of Object.entries(system)) {
    await prompt.run(`mw.l ${program} ${word.toString(16)}`, soon());
    await prompt.run(`mw.l ${(DATA + 4).toString(16)} ${RET.toString(16)}`, soon());
    const said = (await prompt.run(`go ${program}`, soon())).join(" ");
    state[name] = /rc = (0x[0-9A-Fa-f]+)/.exec(said)?.[1] ?? said;
  }
  for (const at of GIC) {
    const said = (await prompt.run(`md.l ${at.toString(16)} 1`, soon())).join(" ");
    state[`0x${at.toString(16)}`] = /: ([0-9a-f]{8})/.exec(said)?.[1] ?? said;
  }
  return state;
}

withImage.each([
  ["qemu-virt", SYSTEM, 0],
  ["qemu-virt-hyp", { ...SYSTEM, ...SYSTEM_EL2 }, CLIENT],
] as const)(
  `%s: GIC and timer are as U-Boot left them when the agent has armed interrupts and gone${why}`,
  async (name, system, client) => {
    let before: Record<string, string> = {};
    const { agent, prompt } = await start(name, async (early) => {
      before = await interruptState(early, system);
    });
    for (const value of Object.values(before)) expect(value).toMatch(/^(0x)?[0-9A-Fa-f]+$/);
    if (client > 0) await smc(agent, 0xb200_000d, client);
    agent.interruptEveryUs = 500;
    await send(agent, openSession(), client);
    await agent.exit(soon());
    expect(await interruptState(prompt, system)).toEqual(before);
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
