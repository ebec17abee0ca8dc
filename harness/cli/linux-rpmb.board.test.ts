import type { Duplex } from "node:stream";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { Deadline, InfrastructureError, silentProgress, TargetCrashError } from "../base/index.ts";
import {
  type BoardConfig,
  type GuestPort,
  type Incident,
  type LiveBoard,
  loadBoard,
  openBoard,
} from "../board/index.ts";
import { findPrepared } from "../images/index.ts";
import { deriveRpmbKey, keyId, zeroHuk } from "../rpmb/index.ts";
import { judgeRun, XtestParser } from "../xtest/index.ts";
import { ServedPart } from "./served-part.ts";

const NAME = "qemu-virt-rpmb";
const prepared = await findPrepared(NAME, process.env);
const withImage = prepared === undefined ? test.skip : test;
const why = prepared === undefined ? ` (skipped: \`lockstep prepare ${NAME}\` was not run)` : "";
const TIMEOUT = 600_000;

const DEVICE = "/dev/mmcblk0rpmb";
const CID = "fe014e4d4d4330344742c8f6552a6115";
/** The last blocks of 256 bytes of a part of 2 × 128 KiB. */
const END = 1024;

let dir = "";
let board: LiveBoard | undefined;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), "lockstep-rpmb-"));
});

afterEach(async () => {
  await board?.close();
  board = undefined;
  await rm(dir, { recursive: true });
});

const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the test");

interface Opened {
  readonly live: LiveBoard;
  readonly served: ServedPart;
  readonly incidents: Incident[];
  /** The connection with the guest, since power came on last. */
  readonly stream: () => Duplex;
}

async function open(state?: string): Promise<Opened> {
  if (prepared === undefined) throw new Error(why);
  const config: BoardConfig = await loadBoard(NAME, { env: {} });
  const emulated = config.rpmb?.emulated;
  if (emulated === undefined) throw new Error(`${NAME} has no part`);
  const served = new ServedPart(state === undefined ? emulated : { ...emulated, state });
  const streams: Duplex[] = [];
  const guestPort: GuestPort = {
    name: served.name,
    powerOn: (stream, failed) => {
      streams.push(stream);
      return served.powerOn(stream, failed);
    },
  };
  const live = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort: new AbortController().signal,
    prepared,
    guestPort,
  });
  board = live;
  const incidents: Incident[] = [];
  live.onIncident((incident) => incidents.push(incident));
  await live.transition("tee-ready", soon());
  const stream = (): Duplex => {
    const last = streams.at(-1);
    if (last === undefined) throw new Error("the guest was never on");
    return last;
  };
  return { live, served, incidents, stream };
}

/** Output and exit code of a command on the board, its streams together. */
async function sh(live: LiveBoard, command: string): Promise<[string, number | undefined]> {
  const script = `(${command}) 2>&1`;
  const { stdout, exitCode } = await live.command("ssh").exec(script, soon());
  return [Buffer.from(stdout).toString().trim(), exitCode];
}

const failed = (result: number): [string, number] => [
  `RPMB operation failed, retcode 0x${result.toString(16).padStart(4, "0")}`,
  1,
];

/** A file on the board of `size` bytes, all `text`. */
const made = (file: string, size: number, text: string): string =>
  `head -c ${size} /dev/zero | tr '\\0' '${text}' >${file}`;

/** One storage case of xtest, and whether it ran on RPMB storage, by what it printed. */
async function xtest6001(live: LiveBoard): Promise<void> {
  const [text, code] = await sh(live, "xtest 6001");
  expect({ code, text }).toMatchObject({ code: 0 });
  expect(text).toMatch(/o regression_6001\.3 Storage id: 80000100\n +regression_6001\.3 OK/);
  expect(text).toMatch(/\b21 subtests of which 0 failed/);
}

/** What the board's Linux reads, which the part itself must agree with. */
async function counterOn({ live, served }: Opened): Promise<number> {
  const [text, code] = await sh(live, `mmc rpmb read-counter ${DEVICE}`);
  expect({ text, code }).toMatchObject({ code: 0 });
  const counter = Number(/^Counter value: (0x[0-9a-f]{8})$/.exec(text)?.[1]);
  expect(counter).toBe(served.part?.writeCounter);
  return counter;
}

/** Waits until the primary console has said `awaited` from now on; what it said until then. */
async function said(live: LiveBoard, awaited: RegExp): Promise<string> {
  let text = "";
  return await soon().race(
    new Promise<string>((resolve) => {
      const stop = live.onRaw((name, bytes) => {
        if (name !== "normal") return;
        text += Buffer.from(bytes).toString("latin1");
        if (!awaited.test(text)) return;
        stop();
        resolve(text);
      });
    }),
  );
}

/** For a board that an incident has broken: nothing but its console is left. */
async function readCounterOnConsole(live: LiveBoard): Promise<string> {
  const answer = said(live, /exit=\d/);
  await live.type(Buffer.from(`mmc rpmb read-counter ${DEVICE}; echo exit=$?\n`));
  return await answer;
}

withImage(
  `RPMB-8.WRITE_KEY, RPMB-8.READ_COUNTER, RPMB-8.READ_BLOCK, RPMB-8.WRITE_BLOCK, RPMB-8.RETCODE: mmc-utils finds a blank part, programs its key once, writes and reads with it alone${why}`,
  async () => {
    const opened = await open();
    const { live, served, incidents } = opened;
    expect(await sh(live, `cat /sys/class/mmc_host/mmc0/mmc0:0001/cid`)).toEqual([CID, 0]);
    const files = [
      made("/tmp/key", 32, "k"),
      made("/tmp/other", 32, "o"),
      made("/tmp/d", 256, "d"),
    ];
    await sh(live, [...files, made("/tmp/short", 31, "k")].join("; "));
    const rpmb = async (command: string, rest: string): Promise<[string, number | undefined]> =>
      await sh(live, `mmc rpmb ${command} ${DEVICE} ${rest}`);

    expect(await rpmb("read-counter", "")).toEqual(failed(7));
    expect(await rpmb("read-block", "0 1 /tmp/out")).toEqual(failed(7));
    expect((await rpmb("write-block", "0 /tmp/d /tmp/key"))[1]).toBe(1);
    expect((await rpmb("write-key", "/tmp/short"))[1]).toBe(1);
    expect(served.part?.keyProgrammed).toBe(false);

    expect(await rpmb("write-key", "/tmp/key")).toEqual(["", 0]);
    expect(served.part?.keyProgrammed).toBe(true);
    expect(await rpmb("write-key", "/tmp/other")).toEqual(failed(1));
    expect(await counterOn(opened)).toBe(0);

    expect(await rpmb("write-block", "2 /tmp/d /tmp/key")).toEqual(["", 0]);
    expect(await counterOn(opened)).toBe(1);
    expect((await rpmb("read-block", "2 1 - /tmp/key | cmp - /tmp/d"))[1]).toBe(0);
    expect((await rpmb("read-block", "1 3 - /tmp/key | wc -c"))[0]).toBe(String(3 * 256));
    expect((await rpmb("read-block", "0 200 - /tmp/key | wc -c"))[0]).toBe(String(200 * 256));
    expect(served.part?.image().subarray(2 * 256, 3 * 256)).toEqual(new Uint8Array(256).fill(0x64));

    expect(await rpmb("write-block", "3 /tmp/d /tmp/other")).toEqual(failed(2));
    expect(await rpmb("read-block", "2 1 - /tmp/other")).toEqual(["RPMB MAC mismatch", 1]);
    expect(await rpmb("write-block", `${END} /tmp/d /tmp/key`)).toEqual(failed(4));
    expect(await rpmb("read-block", `${END - 1} 2 - /tmp/key`)).toEqual(failed(4));
    expect(await rpmb("write-block", `${END - 1} /tmp/d /tmp/key`)).toEqual(["", 0]);
    expect(await counterOn(opened)).toBe(2);
    expect(served.uses()).toMatchObject([{ counterBefore: 0, counterAfter: 2 }]);
    expect(incidents).toEqual([]);
  },
  TIMEOUT,
);

withImage(
  `OP-TEE in a real Linux keeps its storage in the part: neither a killed supplicant nor a reset loses it${why}`,
  async () => {
    const opened = await open();
    const { live, served, incidents } = opened;
    expect(served.part?.keyProgrammed).toBe(false);
    await xtest6001(live);
    const { key } = served.part?.snapshot() ?? {};
    const derived = deriveRpmbKey(zeroHuk(), Buffer.from(CID, "hex"), { compat: true });
    expect(key === undefined ? undefined : keyId(key)).toBe(keyId(derived));
    const before = await counterOn(opened);
    expect(before).toBeGreaterThan(10);

    // With the supplicant's own emulation the key and all data would be gone now (RPMB-6.2).
    await sh(live, "kill -9 $(pidof tee-supplicant); sleep 1; tee-supplicant -d");
    await xtest6001(live);
    const after = await counterOn(opened);
    expect(after).toBeGreaterThan(before);
    expect(incidents).toEqual([]);

    // A reset is no power cycle: the part is the same.
    const up = said(live, /lockstep: ready after/);
    const reset = live.command("ssh").exec("reboot -f", soon());
    await expect(reset).rejects.toThrow(TargetCrashError);
    await up;
    const shown = `0x${after.toString(16).padStart(8, "0")}`;
    expect(await readCounterOnConsole(live)).toContain(`Counter value: ${shown}`);
    expect(served.uses()).toHaveLength(1);
  },
  TIMEOUT,
);

withImage(
  `a part with a state file is as it was after the board's power came on again${why}`,
  async () => {
    const opened = await open(path.join(dir, "part"));
    const { live, served } = opened;
    await xtest6001(live);
    const before = await counterOn(opened);
    await live.power.off(soon());
    await live.transition("tee-ready", soon());
    expect(await counterOn(opened)).toBe(before);
    // Linux has lost its REE storage, whose hash is in the part: OP-TEE sees a rollback, and xtest,
    // which can open no storage at all, says OK.
    const [printed] = await sh(live, "xtest 6001");
    expect(printed).toMatch(/init_storage_info\(\) failed\n +regression_6001 OK/);
    const judged: unknown[] = [];
    const parser = new XtestParser((event) => {
      if (event.type === "run-end") judged.push(judgeRun(event.run));
    });
    parser.push(printed);
    parser.end();
    expect(judged).toMatchObject([
      { status: "error", cases: [{ id: "regression_6001", status: "error" }] },
    ]);
    expect(await counterOn(opened)).toBeGreaterThan(before);
    expect(served.uses().map(({ counterBefore }) => counterBefore)).toEqual([0, before]);
  },
  TIMEOUT,
);

withImage(
  `a part that is served no more is an I/O error in the guest and the host's fault${why}`,
  async () => {
    const { live, incidents, stream } = await open();
    const waiting = live.command("ssh").exec("sleep 600", soon());
    stream().destroy();
    await expect(waiting).rejects.toThrow(InfrastructureError);
    expect(incidents).toMatchObject([{ kind: "lost", infrastructure: true }]);
    expect(await readCounterOnConsole(live)).toMatch(/Input\/output error[^]*exit=1/);
  },
  TIMEOUT,
);
