import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { Deadline, Random, silentProgress } from "../harness/base/index.ts";
import { type LiveBoard, loadBoard, openBoard } from "../harness/board/index.ts";
import {
  assemble,
  ConsoleBridge,
  createBridgedPort,
  loaderConsoleOf,
  LoaderPrompt,
  RamWindow,
  type Resident,
  SharedRamMachine,
  startResident,
} from "../harness/bridge/index.ts";
import { imageTas, prepareImage } from "../harness/images/index.ts";
import { Registers } from "../harness/machine/index.ts";
import { BridgedTarget } from "../harness/platform/index.ts";

const BOARD = "qemu-virt";
const BOARD_AT_EL2 = "qemu-virt-hyp";
/** CALLS_UID: a fast call that leaves nothing behind. */
const FID = 0xbf00_ff01;
const FIRST_WORD = 0x384f_b3e0;
const RAM_BASE = 0x4000_0000;
const FREE = { base: 0x4800_0000, size: 256 * 1024 * 1024 };
const DATA = FREE.base + 0x80_0000;
const ROUNDS = 20;

const soon = (ms = 300_000): Deadline => Deadline.after(ms, "the bench");

interface Rate {
  readonly ratio: number;
  readonly ours: number;
  readonly byHand: number;
}

export interface BridgeBench {
  /** SMCs a second through the shared RAM, and by a loop of one's own on the same mailbox. */
  readonly sharedRam: Rate;
  /** SMCs a second over U-Boot's console, and by one line of mw, go and md for each on the same pty. */
  readonly console: Rate;
  /** Bytes a second. */
  readonly memory: Readonly<Record<string, number>>;
}

/** Opens a board that boots its reference image, at its boot loader. */
export async function atLoader<T>(
  name: string,
  sharedRam: string | undefined,
  use: (board: LiveBoard) => Promise<T>,
): Promise<T> {
  const { ssh: _, ...config } = await loadBoard(name, { env: {} });
  const abort = new AbortController().signal;
  const options = { env: process.env, progress: silentProgress, abort };
  const prepared = await prepareImage(config.image ?? name, options);
  const board = await openBoard(config, {
    observer: { raw: () => {}, line: () => {}, stageStart: () => {}, stageEnd: () => {} },
    progress: silentProgress,
    abort,
    prepared,
    ...(sharedRam === undefined ? {} : { sharedRam }),
  });
  try {
    await board.transition("bootloader", soon());
    return await use(board);
  } finally {
    await board.close();
  }
}

/** Every transport of a board in QEMU against the least that one can do with the same. */
export async function benchBridge(): Promise<BridgeBench> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-bench-"));
  try {
    const overConsole = await atLoader(BOARD, undefined, consoleRates);
    const file = path.join(scratch, "ram");
    const shared = await atLoader(BOARD, file, async (board) => await sharedRates(board, file));
    return {
      sharedRam: shared.rate,
      console: overConsole.rate,
      memory: { ...shared.memory, ...overConsole.memory },
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

async function sharedRates(
  board: LiveBoard,
  file: string,
): Promise<{ rate: Rate; memory: Record<string, number> }> {
  const prompt = new LoaderPrompt(loaderConsoleOf(board), { prompt: /=> $/ });
  const window = new RamWindow(FREE, "bench");
  const program = await assemble("mailbox", process.env);
  const resident = await startResident(prompt, { file, base: RAM_BASE, window, program }, soon());
  const count = 500;
  const times = { ours: [] as number[], byHand: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    times.ours.push(timed(() => ourCalls(resident, count)));
    times.byHand.push(timed(() => handCalls(resident, count)));
  }
  const machine = new SharedRamMachine(resident);
  const bytes = new Uint8Array(16 * 1024 * 1024).fill(5);
  const writeMs = timed(() => machine.write(DATA, bytes));
  const readMs = timed(() => machine.read(DATA, bytes));
  machine.close();
  return {
    rate: rateOf(times, count),
    memory: {
      sharedRamWrite: (bytes.length * 1000) / writeMs,
      sharedRamRead: (bytes.length * 1000) / readMs,
    },
  };
}

function ourCalls(resident: Resident, count: number): void {
  const machine = new SharedRamMachine(resident);
  const port = createBridgedPort(machine, FREE);
  for (let call = 0; call < count; call += 1) {
    const registers = new Registers([FID]);
    port.smc(registers);
    mustBe(registers.get(0));
  }
  machine.close();
}

/** The mailbox by hand: request behind its number, then the number, then poll for the answer's. */
function handCalls({ file, base, page }: Resident, count: number): void {
  const fd = openSync(file, "r+");
  const [request, answer] = [page - base + 0x800, page - base + 0x880];
  const number = Buffer.alloc(8);
  const words = Buffer.alloc(72);
  const back = Buffer.alloc(80);
  readSync(fd, number, 0, 8, answer);
  for (let call = 0; call < count; call += 1) {
    const next = number.readBigUInt64LE() + 1n;
    words.writeBigUInt64LE(1n, 0);
    words.writeBigUInt64LE(BigInt(FID), 8);
    writeSync(fd, words, 0, 72, request + 8);
    number.writeBigUInt64LE(next);
    writeSync(fd, number, 0, 8, request);
    do readSync(fd, number, 0, 8, answer);
    while (number.readBigUInt64LE() !== next);
    readSync(fd, back, 0, 80, answer);
    mustBe(back.readUInt32LE(16));
  }
  closeSync(fd);
}

async function consoleRates(
  board: LiveBoard,
): Promise<{ rate: Rate; memory: Record<string, number> }> {
  const prompt = new LoaderPrompt(loaderConsoleOf(board), { prompt: /=> $/ });
  const window = new RamWindow(FREE, "bench");
  const program = await assemble("console", process.env);
  const lineLimit = 480;
  const bridge = await ConsoleBridge.start({ prompt, window, program, lineLimit }, soon());
  const hand = new HandConsole(board);
  await hand.load();
  const count = 10;
  const times = { ours: [] as number[], byHand: [] as number[] };
  for (let round = 0; round < ROUNDS; round += 1) {
    times.ours.push(
      await timedAsync(async () => {
        for (let call = 0; call < count; call += 1) {
          const registers = new Registers([FID]);
          await bridge.smc(registers, soon());
          mustBe(registers.get(0));
        }
      }),
    );
    times.byHand.push(
      await timedAsync(async () => {
        for (let call = 0; call < count; call += 1) mustBe(await hand.smc(FID));
      }),
    );
  }
  const random = new Random(1);
  const bytes = Uint8Array.from({ length: 16 * 1024 }, () => random.below(256));
  const at = DATA as Parameters<typeof bridge.write>[0];
  const writeMs = await timedAsync(async () => await bridge.write(at, bytes, soon()));
  const readMs = await timedAsync(async () => void (await bridge.read(at, bytes.length, soon())));
  return {
    rate: rateOf(times, count),
    memory: {
      consoleWrite: (bytes.length * 1000) / writeMs,
      consoleRead: (bytes.length * 1000) / readMs,
    },
  };
}

/**
 * What a script by hand does: a stub that takes x0 to x7 from a table behind it, and for each call one
 * line that fills the table, starts the stub and shows the results. It checks nothing.
 */
class HandConsole {
  readonly #board: LiveBoard;
  readonly #stub = FREE.base + 0x10_0000;
  #received = "";
  #wake: () => void = () => {};

  constructor(board: LiveBoard) {
    this.#board = board;
    board.onRaw((stream, bytes) => {
      if (stream !== "normal") return;
      this.#received += Buffer.from(bytes).toString("latin1");
      this.#wake();
    });
  }

  async load(): Promise<void> {
    const words = [
      ["f9000bf3a9be7bfd", "a9400660100007d3", "a9421664a9410e62", "d4000003a9431e66"],
      ["a9050e62a9040660", "f9400bf3d2800000", "d65f03c0a8c27bfd"],
    ].flat();
    for (const [index, word] of words.entries()) {
      await this.#run(`mw.q ${(this.#stub + index * 8).toString(16)} ${word}`);
    }
  }

  async smc(fid: number): Promise<number> {
    const table = this.#stub + 0x100;
    const fill = Array.from({ length: 8 }, (_, index) => {
      const value = index === 0 ? fid.toString(16) : "0";
      return `mw.q ${(table + index * 8).toString(16)} ${value}`;
    });
    const shown = (table + 64).toString(16);
    const text = await this.#run(
      [...fill, `go ${this.#stub.toString(16)}`, `md.q ${shown} 4`].join(";"),
    );
    const [, low = ""] = new RegExp(`${shown}: [0-9a-f]{8}([0-9a-f]{8})`).exec(text) ?? [];
    return Number.parseInt(low, 16);
  }

  async #run(line: string): Promise<string> {
    this.#received = "";
    await this.#board.type(Buffer.from(`${line}\r`));
    while (!this.#received.endsWith("\n=> ")) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    return this.#received;
  }
}

export interface ScenarioBench {
  readonly scenariosPerMinute: number;
  /** Back to the saved state, and through a power cycle with the bridge in place again. */
  readonly restoreMs: number;
  readonly rebootMs: number;
}

/** A VM with a session of a pseudo-TA, again and again on fresh machines. */
export async function benchScenarios(): Promise<ScenarioBench> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-bench-"));
  try {
    const ramFile = path.join(scratch, "ram");
    return await atLoader(BOARD_AT_EL2, ramFile, async (board) => {
      const abort = new AbortController().signal;
      const options = { env: process.env, progress: silentProgress, abort };
      const tas = await imageTas(await prepareImage(BOARD_AT_EL2, options));
      const target = new BridgedTarget({ board, ramFile, env: process.env, abort, tas });
      const run = async (): Promise<void> =>
        void (await target.run("normal-world/sessions#pseudoTa", null));
      await run();
      const allMs = await timedAsync(async () => {
        for (let turn = 0; turn < ROUNDS; turn += 1) await run();
      });
      const restores: number[] = [];
      for (let turn = 0; turn < ROUNDS; turn += 1) {
        restores.push(await timedAsync(async () => await board.machineState?.load(soon())));
      }
      const rebootMs = await timedAsync(async () => await board.restart(soon()));
      await target.close();
      return {
        scenariosPerMinute: (ROUNDS * 60_000) / allMs,
        restoreMs: Math.min(...restores),
        rebootMs,
      };
    });
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

function mustBe(word: number): void {
  if (word !== FIRST_WORD) throw new Error(`CALLS_UID began with 0x${word.toString(16)}`);
}

function timed(work: () => void): number {
  const started = performance.now();
  work();
  return performance.now() - started;
}

async function timedAsync(work: () => Promise<void>): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** Calls a second in the fastest quarter of the rounds: what else the machine does hits both alike. */
function rateOf(times: { ours: number[]; byHand: number[] }, count: number): Rate {
  const rate = (ms: readonly number[]): number => {
    const fastest = ms.toSorted((a, b) => a - b).slice(0, Math.ceil(ms.length / 4));
    return (count * 1000 * fastest.length) / fastest.reduce((sum, one) => sum + one, 0);
  };
  const [ours, byHand] = [rate(times.ours), rate(times.byHand)];
  return { ratio: ours / byHand, ours, byHand };
}
