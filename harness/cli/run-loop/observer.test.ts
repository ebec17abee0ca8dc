import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, expect, test } from "@jest/globals";
import { Deadline, silentProgress } from "../../base/index.ts";
import { loadBoard, openBoard } from "../../board/index.ts";
import { BundleReader, BundleWriter } from "../../run/index.ts";
import { temporaryFolder } from "../testing/run-cli.ts";
import { observerFor } from "./observer.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const clean of cleanups.splice(0)) clean();
});

const missing = spawnSync("qemu-system-aarch64", ["--version"]).status !== 0;
const withQemu = missing ? test.skip : test;
const why = missing ? " (skipped: qemu-system-aarch64 is not installed)" : "";

const BYTES = 65_536;

/** A64 firmware for QEMU's virt machine: sends every byte value over and over, then idles. */
function everyByte(): Buffer {
  const image = Buffer.alloc(4096);
  const words = [
    0xd2a12000, // mov  x0, #0x09000000
    0x52800001, // mov  w1, #0
    0x52a00022, // mov  w2, #0x10000
    0x39000001, // strb w1, [x0]
    0x11000421, // add  w1, w1, #1
    0x71000442, // subs w2, w2, #1
    0x54ffffa1, // b.ne back to strb
    0x14000000, // b    .
  ];
  for (const [index, word] of words.entries()) image.writeUInt32LE(word, index * 4);
  return image;
}

withQemu(
  `the bundle holds the console as QEMU's own log has it, byte for byte, over power cycles${why}`,
  async () => {
    const dir = temporaryFolder((remove) => cleanups.push(remove));
    for (const name of ["boards", "log", "run"]) mkdirSync(path.join(dir, name));
    writeFileSync(path.join(dir, "boards", "fw.bin"), everyByte());
    const file = path.join(dir, "boards", "b.yaml");
    // One core: without PSCI every core starts in the firmware.
    writeFileSync(file, "type: qemu-virt\nimages: { bios: fw.bin }\nqemu: { cores: 1 }\n");
    const config = await loadBoard(file, { env: {} });
    const bundle = path.join(dir, "bundle");
    const writer = await BundleWriter.create(
      bundle,
      { id: "r", lockstep: "0", node: "20", command: [], seed: 1, boards: [config.name] },
      { runtimeDir: path.join(dir, "run") },
    );
    const board = await openBoard(config, {
      observer: observerFor(config.name, writer),
      progress: silentProgress,
      abort: new AbortController().signal,
      qemuLogs: path.join(dir, "log"),
    });
    try {
      const deadline = Deadline.after(60_000, "the firmware");
      for (let cycle = 1; cycle <= 2; cycle += 1) {
        let seen = 0;
        const all = new Promise<void>((resolve) => {
          const stop = board.onRaw((_stream, bytes) => {
            seen += bytes.length;
            if (seen < BYTES) return;
            stop();
            resolve();
          });
        });
        await board.power.on(deadline);
        await deadline.race(all);
        await board.power.off(deadline);
      }
    } finally {
      await board.close();
    }
    await writer.finish({ exitCode: 0 });
    const log = readFileSync(path.join(dir, "log", "normal.log"));
    expect(log.length).toBe(2 * BYTES);
    const stored = readFileSync(path.join(bundle, "console-normal.raw"));
    expect(stored.equals(log)).toBe(true);
    const reader = await BundleReader.open(bundle);
    expect(reader.info.redactions).toEqual([]);
    // Each line of the events begins in the raw bytes where the line before it ended; a power cycle ends one.
    let lines = 0;
    for await (const event of reader.events()) {
      if (event.type !== "line" || event.offset % BYTES === 0) continue;
      lines += 1;
      expect(stored[event.offset - 1]).toBe(0x0a);
    }
    expect(lines).toBeGreaterThan(500);
  },
  120_000,
);
