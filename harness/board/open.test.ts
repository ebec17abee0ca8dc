import { spawnSync } from "node:child_process";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "@jest/globals";
import {
  Deadline,
  EXIT,
  type LockstepError,
  silentProgress,
  TargetCrashError,
} from "../base/index.ts";
import type { BoardConfig, BootConfig } from "./file/model.ts";
import type { Incident, LiveBoard } from "./live.ts";
import { openBoard } from "./open.ts";
import { ptyConfig, qemuConfig } from "./testing/board-config.ts";
import { BOOT_SIMULATION } from "./testing/boot-simulation.ts";
import { noPtyReason, type PtyBoard, startPty } from "./testing/pty-board.ts";
import { Recorder } from "./testing/recorder.ts";

const missing = noPtyReason();
const suite = missing === undefined ? describe : describe.skip;
const soon = (ms = 30_000): Deadline => Deadline.after(ms, "the test");
const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
const TIMEOUT = 60_000;

let dir = "";
const open: { board: LiveBoard; pty: PtyBoard }[] = [];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-board-"));
});

afterEach(async () => {
  for (const { board, pty } of open.splice(0)) {
    await board.close();
    await pty.stop();
  }
  await rm(dir, { recursive: true });
});

type Changes = Omit<Partial<BoardConfig>, "boot"> & { boot?: Partial<BootConfig> };

async function start(scenario: string, changes: Changes = {}) {
  const fifo = path.join(dir, "power");
  spawnSync("mkfifo", [fifo]);
  const pty = await startPty(["python3", "-c", BOOT_SIMULATION, scenario, fifo]);
  const base = ptyConfig(pty.device);
  if (base.boot === undefined) throw new Error("no boot section");
  const { boot, ...rest } = changes;
  const config: BoardConfig = {
    ...base,
    power: {
      driver: "command",
      on: `echo on >${fifo}; echo on >>${dir}/log`,
      off: `echo off >>${dir}/log`,
      settleMs: 0,
    },
    ...rest,
    boot: { ...base.boot, ...boot },
  };
  const observer = new Recorder();
  const abort = new AbortController();
  const progress = silentProgress;
  const board = await openBoard(config, { observer, progress, abort: abort.signal });
  open.push({ board, pty });
  const incidents: Incident[] = [];
  board.onIncident((incident) => incidents.push(incident));
  return { board, pty, observer, abort, incidents };
}

const switched = async (): Promise<string[]> =>
  (await readFile(path.join(dir, "log"), "utf8").catch(() => "")).split("\n").slice(0, -1);

/** A board that is taken as it is found. */
async function found(scenario: string): ReturnType<typeof start> {
  const started = await start(scenario, { power: { driver: "none" }, onExit: "leave" });
  await writeFile(path.join(dir, "power"), "on");
  return started;
}

suite("a board whose power nobody can switch", () => {
  test(
    "is found standing at its boot loader, which can be told to reset it",
    async () => {
      const { board, incidents } = await found("standing");
      await board.transition("bootloader", soon());
      expect(board.state).toBe("bootloader");
      expect(board.versions["tf-a"]).toBeUndefined();
      await board.restart(soon());
      expect(board.state).toBe("bootloader");
      expect(board.versions["tf-a"]).toBe("v2.12.1(release)");
      expect(incidents).toEqual([]);
    },
    TIMEOUT,
  );

  test(
    "is waited for while it hangs, until its watchdog resets it",
    async () => {
      const { board } = await found("hung");
      await board.restart(soon());
      expect(board.state).toBe("bootloader");
      await board.transition("linux", soon());
      expect(board.state).toBe("linux");
    },
    TIMEOUT,
  );
});

suite(missing === undefined ? "a board on a pty" : `a board on a pty (skipped: ${missing})`, () => {
  test(
    "RPMB-5.2.NOT_PROGRAMMED: Linux of a build that programs a blank part is booted on expendable units only",
    async () => {
      const rpmb = { optee: { writeKey: true } };
      const { board } = await start("good", { rpmb });
      await board.transition("bootloader", soon());
      const refused = board.transition("tee-ready", soon());
      await expect(refused).rejects.toMatchObject({ exitCode: EXIT.usage });
      await expect(refused).rejects.toThrow(/programs a blank RPMB part/);
      const { board: spent } = await start("good", { rpmb, expendable: true });
      await spent.transition("tee-ready", soon());
      expect(spent.state).toBe("tee-ready");
    },
    TIMEOUT,
  );

  test(
    "boots to the boot loader, on to Linux, and to a ready TEE; its versions are what it printed",
    async () => {
      const { board, observer, incidents } = await start("good");
      expect(board.state).toBe("unknown");
      await board.transition("bootloader", soon());
      expect(board.state).toBe("bootloader");
      await board.transition("linux", soon());
      expect(board.state).toBe("linux");
      await board.transition("tee-ready", soon());
      expect(board.state).toBe("tee-ready");
      expect(observer.stages).toEqual(
        ["bootloader", "linux", "tee-ready"].flatMap((s) => [`${s} started`, `${s} reached`]),
      );
      expect(board.versions).toMatchObject({ "tf-a": "v2.12.1(release)", "u-boot": "2025.01" });
      expect(board.versions["linux"]).toBe(spawnSync("uname", ["-r"]).stdout.toString().trim());
      const result = await board.command("console").exec("echo hello; exit 9", soon());
      expect({ code: result.exitCode, out: text(result.stdout) }).toEqual({
        code: 9,
        out: "hello\n",
      });
      expect(incidents).toEqual([]);
      expect(board.offsets()).toEqual({ normal: observer.bytes("normal").length });
    },
    TIMEOUT,
  );

  test(
    "goes straight to a ready TEE when nobody asks for the boot loader",
    async () => {
      const { board } = await start("good");
      await board.transition("tee-ready", soon());
      await board.transition("linux", soon());
      expect(await switched()).toEqual(["off", "on"]);
    },
    TIMEOUT,
  );

  test(
    "logs in where the board asks, with a secret from the environment",
    async () => {
      process.env["LOCKSTEP_TEST_PASSWORD"] = "open sesame";
      const linux = ptyConfig("").boot?.linux;
      if (linux === undefined) throw new Error("no boot section");
      const { board, observer } = await start("login", {
        boot: {
          linux: { ...linux, login: "login: $", password: { env: "LOCKSTEP_TEST_PASSWORD" } },
        },
      });
      await board.transition("linux", soon());
      expect(observer.bytes("normal").toString()).not.toContain("Login incorrect");
      delete process.env["LOCKSTEP_TEST_PASSWORD"];
    },
    TIMEOUT,
  );

  test(
    "finds a prompt that a kernel line had hidden",
    async () => {
      const { board } = await start("late");
      await board.transition("linux", soon());
      expect(board.state).toBe("linux");
    },
    TIMEOUT,
  );

  test(
    "a board that never speaks fails its stage, stays broken with that cause, and can be recovered",
    async () => {
      const linux = ptyConfig("").boot?.linux;
      if (linux === undefined) throw new Error("no boot section");
      const { board, observer } = await start("silent", {
        boot: { linux: { ...linux, timeoutMs: 800 } },
      });
      const first: unknown = await board.transition("tee-ready", soon()).catch((e: unknown) => e);
      expect(first).toMatchObject({
        name: "DeadlineError",
        message: expect.stringContaining("board bench-board did not reach linux in time"),
        expected: expect.stringContaining("Linux's prompt"),
        seen: expect.stringContaining("silent"),
      });
      expect(board.state).toBe("broken");
      await expect(board.transition("off", soon())).rejects.toBe(first);
      await board.recover(soon());
      expect(board.state).toBe("off");
      expect(observer.stages).toEqual(["linux started", "linux failed"]);
    },
    TIMEOUT,
  );

  test(
    "a kernel panic on the way ends the stage at once, with the last lines",
    async () => {
      const { board, incidents } = await start("panic");
      const error: unknown = await board.transition("linux", soon()).catch((e: unknown) => e);
      expect(error).toBeInstanceOf(TargetCrashError);
      expect((error as LockstepError).message).toContain("did not reach linux");
      expect((error as LockstepError).seen).toContain("Kernel panic - not syncing: VFS");
      expect(incidents).toMatchObject([{ kind: "crash", what: "kernel panic", stream: "normal" }]);
    },
    TIMEOUT,
  );

  test(
    "a boot loop is a crash",
    async () => {
      const { board } = await start("loop");
      await expect(board.transition("linux", soon())).rejects.toBeInstanceOf(TargetCrashError);
    },
    TIMEOUT,
  );

  test(
    "a boot loader that gives up is named, long before the deadline",
    async () => {
      const { board } = await start("stuck");
      await expect(board.transition("linux", soon())).rejects.toMatchObject({
        message: expect.stringContaining("stopped at its prompt"),
        seen: expect.stringContaining("Wrong Image Format"),
      });
    },
    TIMEOUT,
  );

  test(
    "a TEE that is not ready says what its check printed",
    async () => {
      const { board } = await start("good", {
        boot: { teeReady: { command: "echo no supplicant; exit 4", timeoutMs: 1500 } },
      });
      await expect(board.transition("tee-ready", soon())).rejects.toMatchObject({
        name: "DeadlineError",
        seen: "exit code 4: no supplicant",
      });
    },
    TIMEOUT,
  );

  test(
    "a crash in mid-command ends the command and breaks the board at once",
    async () => {
      const { board, incidents } = await start("good");
      await board.transition("linux", soon());
      const crash = "[ 9.876543] Kernel panic - not syncing: Fatal exception";
      const run = await board.command("console").start(`echo '${crash}'; sleep 1000`, soon());
      await expect(run.done).rejects.toMatchObject({
        name: "TargetCrashError",
        message: "board bench-board crashed: kernel panic",
        seen: crash,
      });
      expect(incidents).toHaveLength(1);
      expect(board.state).toBe("broken");
      await board.recover(soon());
      expect(board.state).toBe("off");
    },
    TIMEOUT,
  );

  test(
    "closing in mid-boot ends the wait, and closing twice is one closing",
    async () => {
      const { board } = await start("silent", { onExit: "off" });
      const boot = board.transition("linux", soon()).catch((error: unknown) => error);
      while (!(await switched()).includes("on")) await new Promise((r) => setTimeout(r, 10));
      await Promise.all([board.close(), board.close()]);
      expect(await boot).toMatchObject({ name: "InterruptedError" });
      expect(await switched()).toEqual(["off", "on", "off"]);
      await expect(board.transition("off", soon())).rejects.toMatchObject({
        name: "InterruptedError",
      });
    },
    TIMEOUT,
  );

  test(
    "Ctrl-C leaves the board as its file says",
    async () => {
      const { board, abort } = await start("good", { onExit: "leave" });
      await board.transition("linux", soon());
      const shell = board.command("console");
      const { stdout } = await shell.exec("echo $TMPDIR; ls -a $TMPDIR", soon());
      expect(text(stdout)).toContain(".lockstep.");
      const [tmp] = text(stdout).split("\n");
      abort.abort();
      await board.close();
      expect(await readdir(tmp ?? "")).toEqual([]);
      expect(await switched()).toEqual(["off", "on"]);
    },
    TIMEOUT,
  );

  test(
    "what a person types reaches the board, and they see every byte",
    async () => {
      const { board } = await start("good");
      await board.transition("linux", soon());
      let seen = "";
      await new Promise<void>((resolve, reject) => {
        board.onRaw((stream, bytes) => {
          seen += `${stream}:${text(bytes)}`;
          if (/forty-2\r\n/.test(seen)) resolve();
        });
        board.type(Buffer.from("echo forty-$((1+1))\n")).catch(reject);
      });
      expect(seen).toContain("normal:");
    },
    TIMEOUT,
  );
});

test("an emulated board has nothing to open", async () => {
  const config = { ...qemuConfig(), platform: "emulated" as const };
  await expect(openIt(config)).rejects.toMatchObject({ name: "UsageError" });
});

test("a pattern that is none is a board file error", async () => {
  const base = ptyConfig("/dev/null");
  if (base.boot === undefined) throw new Error("no boot section");
  const linux = { ...base.boot.linux, prompt: "(" };
  await expect(openIt({ ...base, boot: { ...base.boot, linux } })).rejects.toMatchObject({
    name: "BoardFileError",
    message: "boot.linux.prompt is not a regular expression",
  });
});

test("a command over what the board does not have is a board file error", async () => {
  const board = await openIt({ ...ptyConfig("/dev/no-such-device"), onExit: "leave" });
  expect(() => board.command("ssh")).toThrow("board bench-board has no SSH");
  await board.close();
});

test("a board whose device is not there fails its stage with what to check", async () => {
  const base = ptyConfig("/dev/no-such-device", { onExit: "leave" });
  if (base.boot === undefined) throw new Error("no boot section");
  const boot = { ...base.boot, linux: { ...base.boot.linux, timeoutMs: 300 } };
  const board = await openIt({ ...base, boot });
  await expect(board.transition("linux", soon())).rejects.toMatchObject({
    name: "DeadlineError",
    seen: expect.stringContaining("/dev/no-such-device"),
  });
  await board.close();
});

async function openIt(config: BoardConfig): Promise<LiveBoard> {
  const abort = new AbortController().signal;
  return await openBoard(config, { observer: new Recorder(), progress: silentProgress, abort });
}
