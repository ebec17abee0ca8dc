import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { silentProgress } from "../base/index.ts";
import { type BoardConfig, type LiveBoard, loadBoard, openBoard } from "../board/index.ts";
import { BridgedTarget } from "./bridged-target.ts";

const imageDir = process.env["LOCKSTEP_TEST_XEN_IMAGE"] ?? "";
const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_XEN_IMAGE names no prepared image)" : "";
const TIMEOUT = 600_000;

interface Manifest {
  readonly append: string;
  readonly hypervisor: { readonly file: string; readonly append: string };
}

const folder = mkdtempSync(path.join(tmpdir(), "lockstep-xen-"));
const opened: { board: LiveBoard; target: BridgedTarget }[] = [];

async function close(): Promise<void> {
  for (const { board, target } of opened.splice(0)) {
    await target.close();
    await board.close();
  }
}

afterAll(async () => {
  await close();
  rmSync(folder, { recursive: true });
}, TIMEOUT);

/** The board whose file is changed by `bridge`, as the run loop opens it. */
async function open(bridge: Partial<NonNullable<BoardConfig["bridge"]>> = {}) {
  await close();
  const { ssh: _, ...config } = await loadBoard("qemu-xen", { env: {} });
  if (config.bridge === undefined) throw new Error("no bridge");
  const text = readFileSync(path.join(imageDir, "manifest.json"), "utf8");
  const { append, hypervisor } = JSON.parse(text) as Manifest;
  const [ramFile, kernelFile] = [path.join(folder, "ram"), path.join(folder, "guest")];
  const abort = new AbortController().signal;
  const board = await openBoard(
    { ...config, bridge: { ...config.bridge, ...bridge } },
    {
      observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
      progress: silentProgress,
      abort,
      prepared: {
        files: {
          bios: path.join(imageDir, "firmware.bios"),
          initrd: path.join(imageDir, "initramfs.cpio.gz"),
          hypervisor: path.join(imageDir, hypervisor.file),
        },
        append,
        hypervisorAppend: hypervisor.append,
      },
      sharedRam: ramFile,
      kernel: kernelFile,
    },
  );
  const env = process.env;
  const target = new BridgedTarget({ board, ramFile, kernelFile, env, abort, tas: new Map() });
  opened.push({ board, target });
  return { board, target };
}

withImage(
  `a program of ours is the first guest of the real Xen, and each scenario finds it as it came up${why}`,
  async () => {
    const { board, target } = await open();
    for (const session of [1, 1]) {
      const seen = await target.run("mediator/registers#completedRegisters", null);
      expect(seen).toEqual({ x0: "0", others: "44 55 66 77", ret: 0, session });
    }
    expect(board.versions).toMatchObject({
      xen: expect.stringMatching(/^4\./) as unknown,
      optee: expect.stringMatching(/4\./) as unknown,
    });
    // Interrupted or not: Xen's timer does not fire in every call.
    expect(await target.run("mediator/registers#longCall", null)).toEqual({ ret: 0 });
    const strict = target.run("mediator/attacks#leakStrict", null);
    await expect(strict).rejects.toMatchObject({
      reason: "needs a mediator of rules strict, board qemu-xen has that of xen",
    });
  },
  TIMEOUT,
);

withImage(
  `RAM that is not the guest's is refused before a scenario runs in it${why}`,
  async () => {
    // Xen's own.
    const { target } = await open({ freeRam: { base: 0x6000_0000, size: 0x400_0000 } });
    const run = target.run("mediator/registers#completedRegisters", null);
    await expect(run).rejects.toMatchObject({
      exitCode: 2,
      message: "bridge.free_ram is not RAM of the hypervisor's first guest",
    });
  },
  TIMEOUT,
);
