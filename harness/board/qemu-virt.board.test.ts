import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Deadline, Random, silentProgress } from "../base/index.ts";
import { loadBoard } from "./file/load.ts";
import type { BoardConfig } from "./file/model.ts";
import type { Incident, LiveBoard } from "./live.ts";
import { openBoard } from "./open.ts";
import { Recorder } from "./testing/recorder.ts";
import { imageDir, referenceImage } from "./testing/reference-image.ts";

const withImage = imageDir === "" ? test.skip : test;
const why = imageDir === "" ? " (skipped: LOCKSTEP_TEST_IMAGE names no prepared image)" : "";
/** A machine without KVM that does other things as well needs minutes where an idle one needs seconds. */
const TIMEOUT = 600_000;

let dir = "";
let board: LiveBoard | undefined;
let observer = new Recorder();
let incidents: Incident[] = [];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-board-"));
});

afterEach(async () => {
  await board?.close();
  board = undefined;
  await rm(dir, { recursive: true });
});

const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the test");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

async function open(change: (config: BoardConfig) => BoardConfig = (c) => c): Promise<LiveBoard> {
  const config = change(await loadBoard("qemu-virt", { env: {} }));
  observer = new Recorder();
  incidents = [];
  board = await openBoard(config, {
    observer,
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared: await referenceImage(),
    qemuLogs: dir,
  });
  board.onIncident((incident) => incidents.push(incident));
  return board;
}

async function nextIncident(live: LiveBoard): Promise<Incident> {
  return await soon().race(
    new Promise<Incident>((resolve) => {
      const stop = live.onIncident((incident) => {
        stop();
        resolve(incident);
      });
    }),
  );
}

/** Both consoles, compared with what QEMU itself wrote down. */
async function expectWholeStreams(): Promise<void> {
  for (const name of ["normal", "secure"]) {
    const log = await readFile(path.join(dir, `${name}.log`));
    const seen = observer.bytes(name);
    expect({ name, length: seen.length, same: seen.equals(log) }).toEqual({
      name,
      length: log.length,
      same: true,
    });
    expect(log.length).toBeGreaterThan(1000);
  }
}

withImage(
  `from the boot loader to a ready TEE, commands over both ways, every byte as QEMU logged it${why}`,
  async () => {
    const live = await open();
    await live.transition("bootloader", soon());
    await live.transition("linux", soon());
    await live.transition("tee-ready", soon());
    expect(live.versions).toEqual({
      "tf-a": expect.stringMatching(/^v\d+\.\d+/),
      optee: expect.stringMatching(/\d/),
      "u-boot": expect.stringMatching(/^20\d\d\./),
      linux: expect.stringMatching(/^\d+\.\d+/),
    });

    for (const over of ["ssh", "console"] as const) {
      const result = await live
        .command(over)
        .exec("printf 'a\\377\\r\\n'; dmesg | head -n 3 >&2; exit 41", soon());
      expect(Buffer.from(result.stdout)).toEqual(Buffer.from("a\u00ff\r\n", "latin1"));
      expect(text(result.stderr)).toContain("Linux version");
      expect(result.exitCode).toBe(41);
    }

    const bytes = new Random(5).bytes(200_000);
    await writeFile(path.join(dir, "up"), bytes);
    await live.files.upload(path.join(dir, "up"), "/tmp/file", soon());
    await live.files.download("/tmp/file", path.join(dir, "down"), soon());
    expect((await readFile(path.join(dir, "down"))).equals(Buffer.from(bytes))).toBe(true);

    const running = await live.command("ssh").start("sleep 1234; true", soon());
    await running.kill();
    await expect(running.done).resolves.toMatchObject({ signal: "SIGTERM" });
    const left = await live.command("ssh").exec("pidof sleep", soon());
    expect(text(left.stdout)).toBe("");

    expect(incidents).toEqual([]);
    await live.close();
    await expectWholeStreams();
  },
  TIMEOUT,
);

withImage(
  `power cut in the middle of a command ends it, and the board comes back whole${why}`,
  async () => {
    const live = await open();
    await live.transition("tee-ready", soon());
    const commands = ["ssh", "console"] as const;
    const running = await Promise.all(
      commands.map((over) => live.command(over).start("while :; do echo running; done", soon())),
    );
    await Promise.all(
      running.map(
        (command) =>
          new Promise<void>((resolve) => {
            command.onOutput(() => {
              resolve();
            });
          }),
      ),
    );
    const ends = running.map((command) => command.done.catch((error: unknown) => error));
    await live.recover(soon());
    for (const end of ends) expect(await end).toBeInstanceOf(Error);
    await live.transition("tee-ready", soon());
    const result = await live.command("console").exec("echo back", soon());
    expect(text(result.stdout)).toBe("back\n");
    expect(incidents).toEqual([]);
    await live.close();
    await expectWholeStreams();
  },
  TIMEOUT,
);

withImage(
  `a kernel panic and a reset are known at once, and the board can be recovered from both${why}`,
  async () => {
    const live = await open();
    await live.transition("tee-ready", soon());
    const panic = nextIncident(live);
    const command = live.command("ssh").exec("echo c >/proc/sysrq-trigger; sleep 1000", soon());
    await expect(command).rejects.toMatchObject({ name: "TargetCrashError" });
    await expect(panic).resolves.toMatchObject({ kind: "crash", stream: "normal" });
    expect(live.state).toBe("broken");

    await live.recover(soon());
    await live.transition("linux", soon());
    const reset = nextIncident(live);
    const reboot = live.command("ssh").exec("reboot -f; sleep 1000", soon());
    await expect(reboot).rejects.toMatchObject({ name: "TargetCrashError" });
    await expect(reset).resolves.toMatchObject({
      kind: "crash",
      what: expect.stringMatching(/reset itself|unexpected boot banner/),
    });
    await live.close();
    await expectWholeStreams();
  },
  TIMEOUT,
);

withImage(
  `a secure world that never comes back is known as a hang, long before any deadline${why}`,
  async () => {
    const live = await open((config) =>
      config.qemu === undefined ? config : { ...config, qemu: { ...config.qemu, cpu: "max" } },
    );
    await live.transition("tee-ready", soon());
    const hang = nextIncident(live);
    const command = live.command("ssh").exec("xtest regression_1006", soon());
    await expect(command).rejects.toMatchObject({
      name: "TargetCrashError",
      message: expect.stringContaining("hangs"),
    });
    await expect(hang).resolves.toMatchObject({ kind: "hang" });
    await live.recover(soon());
    expect(live.state).toBe("off");
  },
  TIMEOUT,
);
