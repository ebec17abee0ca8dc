import { expect, test } from "@jest/globals";
import { Deadline, type LockstepError } from "../base/index.ts";
import { ConsoleBridge } from "./console-bridge.ts";
import { loaderMemory } from "./loader-memory.ts";
import { LoaderPrompt } from "./loader-prompt.ts";
import { type FreeRam, RamWindow } from "./ram-window.ts";
import { FAKE_PROGRAM, FakeLoader } from "./testing/fake-loader.ts";

/** As U-Boot 2025.01 prints it on QEMU's virt machine, and the older form of an i.MX8M Plus. */
const VIRT = [
  "boot_params = 0x0000000000000000",
  "DRAM bank   = 0x0000000000000000",
  "-> start    = 0x0000000040000000",
  "-> size     = 0x0000000040000000",
  "relocaddr   = 0x000000007f6b7000",
  "fdt_blob    = 0x000000007e674a50",
  " reserved.count = 0x2",
  " reserved[0]\t[0x42000000-0x421fffff], 0x200000 bytes, flags: no-map",
  " reserved[1]\t[0x7d674a40-0x7fffffff], 0x298b5c0 bytes, flags: no-overwrite",
  "TLB addr    = 0x000000007ffe0000",
  "irq_sp      = 0x000000007e674a40",
  "sp start    = 0x000000007e674a40",
];
const EVK = [
  "DRAM bank   = 0x0000000000000000",
  "-> start    = 0x0000000040000000",
  "-> size     = 0x0000000016000000",
  "DRAM bank   = 0x0000000000000001",
  "-> start    = 0x0000000058000000",
  "-> size     = 0x00000000a8000000",
  "relocaddr   = 0x00000000fff3d000",
  "sp start    = 0x00000000fbdc9560",
];
const soon = (): Deadline => Deadline.after(20_000, "the test");

test("what U-Boot uses is itself to the end of its bank, and what it reserves", () => {
  expect(loaderMemory(VIRT)).toEqual({
    banks: [{ from: 0x4000_0000, to: 0x8000_0000, what: "DRAM" }],
    used: [
      { from: 0x4200_0000, to: 0x4220_0000, what: "what the boot loader reserves" },
      { from: 0x7d67_4a40, to: 0x8000_0000, what: "what the boot loader reserves" },
      { from: 0x7e57_4a40, to: 0x8000_0000, what: "the boot loader itself" },
    ],
  });
  expect(loaderMemory(EVK).used).toEqual([
    { from: 0xfbcc_9560, to: 0x1_0000_0000, what: "the boot loader itself" },
  ]);
  expect(loaderMemory(["Unknown command 'bdinfo' - try 'help'"])).toEqual({ banks: [], used: [] });
});

async function start(bdinfo: readonly string[] | undefined, free: FreeRam, noise = 0) {
  const loader = new FakeLoader({
    smc: (x) => x,
    noise,
    ...(bdinfo === undefined ? {} : { bdinfo }),
  });
  const prompt = new LoaderPrompt(loader, { prompt: /=> $/, silenceMs: 20 });
  const window = new RamWindow(free, "boards/mine.yaml");
  const options = { prompt, window, program: FAKE_PROGRAM, lineLimit: 480, smcMs: 100 };
  const outcome = await ConsoleBridge.start(options, soon()).then(
    () => undefined,
    (error: unknown) => error as LockstepError,
  );
  return { outcome, written: loader.written };
}

const MIB = 1024 * 1024;

test.each([
  ["U-Boot's reserved memory", VIRT, 0x4180_0000, /overlaps what the boot loader reserves/],
  ["U-Boot itself", EVK, 0xfb00_0000, /overlaps the boot loader itself/],
  ["no RAM at all", EVK, 0x1000_0000, /is not the board's RAM/],
  ["RAM and the hole behind it", EVK, 0x5580_0000, /is not the board's RAM/],
])("a window over %s is refused before anything is written", async (_, bdinfo, base, message) => {
  for (const noise of [0, 10]) {
    const { outcome, written } = await start(bdinfo, { base, size: 16 * MIB }, noise);
    expect(outcome).toMatchObject({ exitCode: 2, where: "boards/mine.yaml" });
    expect(outcome?.message).toMatch(message);
    expect(written).toBe(0);
  }
});

test("a window in free RAM is taken, and so is any of a boot loader that cannot tell", async () => {
  expect((await start(EVK, { base: 0x6000_0000, size: 64 * MIB })).outcome).toBeUndefined();
  expect((await start(EVK, { base: 0x6000_0000, size: 64 * MIB }, 10)).outcome).toBeUndefined();
  expect((await start(undefined, { base: 0x1000_0000, size: 16 * MIB })).outcome).toBeUndefined();
});
