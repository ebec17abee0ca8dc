import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { Deadline, Random, silentProgress } from "../base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { assemble } from "./assemble.ts";
import { ConsoleBridge } from "./console-bridge.ts";
import { loaderConsoleOf } from "./loader-console.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { RamWindow } from "./ram-window.ts";

const imageDir = process.env["LOCKSTEP_TEST_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;
const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the test");

let board: LiveBoard | undefined;
afterEach(async () => {
  await board?.close();
  board = undefined;
});

async function start(): Promise<{ live: LiveBoard; bridge: ConsoleBridge }> {
  const { ssh: _, ...config } = await loadBoard("qemu-virt", { env: {} });
  board ??= await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: { files: { bios: path.join(imageDir, "firmware.bios") } },
  });
  await board.transition("bootloader", soon());
  const { bridge: where, boot } = config;
  if (where === undefined || boot === undefined) throw new Error("the board file changed");
  const bridge = await ConsoleBridge.start(
    {
      prompt: new LoaderPrompt(loaderConsoleOf(board), {
        prompt: new RegExp(boot.bootloader.prompt),
      }),
      window: new RamWindow(where.freeRam, config.file),
      program: await assemble("console", process.env),
      lineLimit: where.lineLimit,
      smcMs: 5000,
    },
    soon(),
  );
  return { live: board, bridge };
}

async function smc(bridge: ConsoleBridge, ...x: number[]): Promise<number[]> {
  const registers = new Registers(x);
  await bridge.smc(registers, soon());
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

withImage(
  `a real OP-TEE answers through U-Boot's prompt what was seen by hand${why}`,
  async () => {
    const { bridge } = await start();
    const kept = [4, 5, 6, 7];
    expect(await smc(bridge, 0x8400_0000, 1, 2, 3, ...kept)).toEqual([0x10001, 1, 2, 3, ...kept]);
    expect(await smc(bridge, 0xbf00_ff01, 1, 2, 3, ...kept)).toEqual([
      0x384f_b3e0,
      0xe7f8_11e3,
      0xaf63_0002,
      0xa5d5_c51b,
      ...kept,
    ]);
    expect((await smc(bridge, 0xb200_0009)).slice(0, 4)).toEqual([0, 0xf5, 0x42, 4]);
    expect((await smc(bridge, 0xb200_0009, 0xffff)).slice(0, 2)).toEqual([7, 0xffff]);
    expect((await smc(bridge, 0xb200_0007)).slice(0, 4)).toEqual([0, 0x4200_0000, 0x20_0000, 1]);
  },
  TIMEOUT,
);

withImage(
  `RAM of the board is what was written, at any alignment${why}`,
  async () => {
    const { bridge } = await start();
    const random = new Random(11);
    for (const [at, length] of [
      [0x4880_0000, 3000],
      [0x4890_0005, 77],
    ] as const) {
      const bytes = Uint8Array.from({ length }, () => random.below(256));
      await bridge.write(at as Pa, bytes, soon());
      expect(Buffer.from(await bridge.read(at as Pa, length, soon())).equals(bytes)).toBe(true);
    }
  },
  TIMEOUT,
);

withImage(
  `a call that never returns is a crash, and after a power cycle the board answers again${why}`,
  async () => {
    const { live, bridge } = await start();
    // PSCI CPU_OFF: the only core that runs goes away.
    const lost = smc(bridge, 0x8400_0002);
    await expect(lost).rejects.toMatchObject({ exitCode: 5 });
    await live.recover(soon());
    const again = await start();
    expect((await smc(again.bridge, 0x8400_0000))[0]).toBe(0x10001);
  },
  TIMEOUT,
);
