import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { Deadline } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { AgentBridge } from "./agent-bridge.ts";
import type { AgentDevices } from "./agent-page.ts";
import { assemble } from "./assemble.ts";
import type { LoaderConsole } from "./loader-console.ts";
import { RamWindow } from "./ram-window.ts";

// The agent's drivers for i.MX on QEMU's model of an i.MX8M Plus (QEMU 10 or later): its UART2,
// watchdog 1 and GIC, at EL2 as U-Boot starts it there. No firmware of the board is needed.

const qemu = process.env["LOCKSTEP_QEMU_IMX8MP"] ?? "";
const withQemu = qemu === "" ? test.skip : test;
const why =
  qemu === "" ? " (skipped: LOCKSTEP_QEMU_IMX8MP names no QEMU with machine imx8mp-evk)" : "";

const PAGE = 0x4800_0000;
const DATA = 0x4810_0000 as Pa;
const UART: AgentDevices["uart"] = { kind: "imx", base: 0x3089_0000 };
const WATCHDOG: AgentDevices["watchdog"] = { kind: "imx-wdog", base: 0x3028_0000 };
const GIC: AgentDevices["gic"] = { distributor: 0x3880_0000, redistributor: 0x3888_0000 };

/**
 * Sets a stack, starts the watchdog with a time-out of one second, switches the UART on, calls PAGE,
 * and then prints `!`.
 */
const BOOT = [
  0xd2aa_0000, 0x9100_001f, 0xd2a6_0500, 0x5280_2681, 0x7900_0001, 0xd2a6_1120, 0x5280_0021,
  0xb900_8001, 0x5288_04e1, 0xb900_8401, 0xd2a9_0001, 0xd63f_0020, 0xd2a6_1120, 0x5280_0421,
  0xb900_4001, 0x1400_0000,
];

const soon = (): Deadline => Deadline.after(120_000, "the test");
let child: ChildProcess | undefined;
let folder = "";
afterEach(() => {
  child?.kill("SIGKILL");
  if (folder !== "") rmSync(folder, { recursive: true });
});

interface Board {
  readonly agent: AgentBridge;
  readonly heard: () => string;
  readonly ended: () => boolean;
}

async function start(devices: AgentDevices): Promise<Board> {
  folder = mkdtempSync(path.join(tmpdir(), "lockstep-imx-"));
  const boot = path.join(folder, "boot");
  const agentFile = path.join(folder, "agent");
  const words = Buffer.alloc(BOOT.length * 4);
  for (const [index, word] of BOOT.entries()) words.writeUInt32LE(word, index * 4);
  writeFileSync(boot, words);
  const listeners = new Set<(bytes: Uint8Array) => void>();
  let heard = "";
  let ended = false;
  const console: LoaderConsole = {
    type: async (bytes) => {
      child?.stdin?.write(bytes);
    },
    onBytes: (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    onLost: () => () => {},
  };
  const leave = async (): Promise<void> => {
    const machine = ["-M", "imx8mp-evk", "-smp", "1", "-m", "1024", "-display", "none"];
    const loaded = `loader,file=${agentFile},addr=0x${PAGE.toString(16)},force-raw=on`;
    const serials = ["-serial", "null", "-serial", "stdio", "-monitor", "none"];
    const args = [...machine, "-kernel", boot, "-device", loaded, ...serials, "-no-reboot"];
    child?.kill("SIGKILL");
    child = spawn(qemu, args, { stdio: ["pipe", "pipe", "ignore"] });
    child.stdout?.on("data", (bytes: Buffer) => {
      heard += bytes.toString("latin1");
      for (const listener of listeners) listener(bytes);
    });
    child.on("exit", () => {
      ended = true;
    });
  };
  const agent = await AgentBridge.start(
    {
      console,
      prompt: { leave, run: async () => [] },
      loader: {
        write: async (_, bytes) => {
          writeFileSync(agentFile, bytes);
        },
        makeFetchable: async () => {},
      },
      window: new RamWindow({ base: PAGE, size: 0x100_0000 }, "board.yaml"),
      program: await assemble("agent", process.env),
      devices,
    },
    soon(),
  );
  return { agent, heard: () => heard, ended: () => ended };
}

const passes = async (ms: number): Promise<void> => {
  await new Promise((resolve) => setTimeout(resolve, ms));
};

withQemu(
  `on an i.MX8M Plus the agent speaks over its UART, makes SMCs at EL2 with an interrupt armed, and ends${why}`,
  async () => {
    const { agent, heard } = await start({ uart: UART, watchdog: WATCHDOG, gic: GIC });
    expect(agent.info).toMatchObject({ version: 1, level: 2, address: PAGE });
    const bytes = Uint8Array.from({ length: 10_000 }, (_, index) => (index * 7919) >> 3);
    await agent.write(DATA, bytes, soon());
    expect(Buffer.from(await agent.read(DATA, bytes.length, soon())).equals(bytes)).toBe(true);
    for (const everyUs of [undefined, 1000]) {
      agent.interruptEveryUs = everyUs;
      // PSCI_VERSION, which QEMU itself answers here.
      const registers = new Registers([0x8400_0000, 1, 2, 3, 4, 5, 6, 7]);
      await agent.smc(registers, soon());
      expect(registers.get(0)).toBe(0x1_0001);
    }
    await agent.exit(soon());
    await passes(200);
    expect(heard().endsWith("!")).toBe(true);
  },
  180_000,
);

withQemu(
  `the watchdog bites after a second unless the agent serves it${why}`,
  async () => {
    const served = await start({ uart: UART, watchdog: WATCHDOG });
    await passes(4000);
    expect(served.ended()).toBe(false);
    expect(await served.agent.read(DATA, 4, soon())).toHaveLength(4);
    child?.kill("SIGKILL");
    rmSync(folder, { recursive: true });

    const bitten = await start({ uart: UART });
    await passes(4000);
    expect(bitten.ended()).toBe(true);
  },
  180_000,
);
