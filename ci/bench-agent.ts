import { crc32 } from "node:zlib";
import { Deadline, Random } from "../harness/base/index.ts";
import type { LiveBoard } from "../harness/board/index.ts";
import {
  AgentBridge,
  assemble,
  ConsoleBridge,
  type LoaderConsole,
  loaderConsoleOf,
  LoaderPrompt,
  RamWindow,
} from "../harness/bridge/index.ts";
import { type Pa, Registers } from "../harness/machine/index.ts";
import { atLoader } from "./bench-bridge.ts";

const BOARD = "qemu-virt";
const UART = { kind: "pl011", base: 0x900_0000 } as const;
/** CALLS_UID: a fast call that leaves nothing behind. */
const FID = 0xbf00_ff01;
const FREE = { base: 0x4800_0000, size: 256 * 1024 * 1024 };
const DATA = (FREE.base + 0x80_0000) as Pa;
/** Bytes a second of a UART with 115,200 baud, 8N1. */
const WIRE = 11_520;
const TICK_MS = 2;

const soon = (): Deadline => Deadline.after(300_000, "the bench");

/** A console whose bytes take as long as on a wire of `WIRE`, each way. */
class PacedConsole implements LoaderConsole {
  paced = false;
  /** Bytes each way. */
  carried = 0;
  readonly #inner: LoaderConsole;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  #freeOut = 0;
  #freeIn = 0;
  #arrivals: Promise<void> = Promise.resolve();

  constructor(inner: LoaderConsole) {
    this.#inner = inner;
    inner.onBytes((bytes) => {
      this.#receive(bytes);
    });
  }

  async type(bytes: Uint8Array, options?: { readonly unpaced?: boolean }): Promise<void> {
    this.carried += bytes.length;
    if (!this.paced) return await this.#inner.type(bytes, options);
    this.#freeOut = Math.max(this.#freeOut, performance.now());
    for (let done = 0; done < bytes.length;) {
      const part = bytes.subarray(done, done + Math.ceil((WIRE * TICK_MS) / 1000));
      this.#freeOut += (part.length * 1000) / WIRE;
      await until(this.#freeOut);
      await this.#inner.type(part, options);
      done += part.length;
    }
  }

  onBytes(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  #receive(bytes: Uint8Array): void {
    this.carried += bytes.length;
    if (!this.paced) {
      for (const listener of this.#listeners) listener(bytes);
      return;
    }
    // In pieces, as a wire brings them: who waits for more must not take a long one for silence.
    const size = Math.ceil((WIRE * TICK_MS) / 1000);
    for (let done = 0; done < bytes.length; done += size) {
      const part = bytes.slice(done, done + size);
      this.#freeIn = Math.max(this.#freeIn, performance.now()) + (part.length * 1000) / WIRE;
      const at = this.#freeIn;
      this.#arrivals = this.#arrivals
        .then(async () => await until(at))
        .then(() => {
          for (const listener of this.#listeners) listener(part);
        });
    }
  }

  onLost(listener: (what: string) => void): () => void {
    return this.#inner.onLost(listener);
  }
}

/** Until a time of `performance.now()`, to a fraction of a millisecond. */
async function until(at: number): Promise<void> {
  const left = at - performance.now();
  if (left > 1.5) await new Promise((resolve) => setTimeout(resolve, left - 1));
  while (performance.now() < at) await new Promise((resolve) => setImmediate(resolve));
}

export interface AgentBench {
  /** SMCs a second through the agent, and by a loop of one's own over the same frames and pty. */
  readonly smc: { readonly ratio: number; readonly ours: number; readonly byHand: number };
  /**
   * At 115,200 baud: SMCs a second of what the loop by hand reaches there, and of what the wire carries
   * of their bytes, to which QEMU's own delay of some 2 ms a round trip comes in both.
   */
  readonly wireSmc: {
    readonly ratio: number;
    readonly ours: number;
    readonly byHand: number;
    readonly ofWire: number;
    readonly bytesEach: number;
  };
  /** Bytes a second of random memory at 115,200 baud, of what the wire carries. */
  readonly wireMemory: { readonly ratio: number; readonly write: number; readonly read: number };
  /** Bytes a second on a pty that is as fast as it can be. */
  readonly memory: Readonly<Record<string, number>>;
}

/** The agent on a board in QEMU. */
export async function benchAgent(): Promise<AgentBench> {
  return await atLoader(BOARD, undefined, rates);
}

async function rates(board: LiveBoard): Promise<AgentBench> {
  const wire = new PacedConsole(loaderConsoleOf(board));
  const prompt = new LoaderPrompt(wire, { prompt: /=> $/ });
  const window = new RamWindow(FREE, "bench");
  const program = await assemble("console", process.env);
  const loader = await ConsoleBridge.start({ prompt, window, program, lineLimit: 480 }, soon());
  const agent = await AgentBridge.start(
    {
      console: wire,
      prompt,
      loader,
      window,
      program: await assemble("agent", process.env),
      devices: { uart: UART },
    },
    soon(),
  );
  const memory = await memoryRates(agent, 256 * 1024);
  wire.paced = true;
  const paced = await memoryRates(agent, 32 * 1024);
  const smcs = 100;
  const ours: number[] = [];
  const byHand: number[] = [];
  const hand = new HandLoop(wire);
  const before = wire.carried;
  const pacedMs = await timed(async () => await ourCalls(agent, smcs));
  const bytesEach = (wire.carried - before) / smcs;
  const handPacedMs = await timed(async () => await hand.calls(smcs));
  wire.paced = false;
  for (let round = 0; round < 10; round += 1) {
    ours.push(await timed(async () => await ourCalls(agent, smcs)));
    byHand.push(await timed(async () => await hand.calls(smcs)));
  }
  const each = [ours, byHand].map((times) => (smcs * 1000) / median(times));
  const [oursEach = 0, byHandEach = 1] = each;
  return {
    smc: { ratio: oursEach / byHandEach, ours: oursEach, byHand: byHandEach },
    wireSmc: {
      ratio: handPacedMs / pacedMs,
      ours: (smcs * 1000) / pacedMs,
      byHand: (smcs * 1000) / handPacedMs,
      ofWire: ((bytesEach * smcs) / WIRE) * (1000 / pacedMs),
      bytesEach,
    },
    wireMemory: { ratio: Math.min(paced.write, paced.read) / WIRE, ...paced },
    memory: { agentWrite: memory.write, agentRead: memory.read },
  };
}

async function memoryRates(
  agent: AgentBridge,
  size: number,
): Promise<{ readonly write: number; readonly read: number }> {
  const random = new Random(1);
  const bytes = Uint8Array.from({ length: size }, () => random.below(256));
  const write = await timed(async () => await agent.write(DATA, bytes, soon()));
  const read = await timed(async () => await agent.read(DATA, size, soon()));
  return { write: (size * 1000) / write, read: (size * 1000) / read };
}

async function ourCalls(agent: AgentBridge, count: number): Promise<void> {
  const registers = new Registers();
  for (let done = 0; done < count; done += 1) {
    registers.set(0, FID);
    await agent.smc(registers, soon());
  }
}

/** The least that one can do: a frame out, as many bytes in as its answer has. */
class HandLoop {
  readonly #console: LoaderConsole;
  #sequence = 1;
  #received = 0;
  #wake: () => void = () => {};

  constructor(console: LoaderConsole) {
    this.#console = console;
    console.onBytes((bytes) => {
      this.#received += bytes.length;
      this.#wake();
    });
  }

  async calls(count: number): Promise<void> {
    for (let done = 0; done < count; done += 1) {
      this.#sequence = (this.#sequence + 1) % 0x1_0000;
      const frame = Buffer.alloc(5 + 10 + 4);
      frame.set([0xa7, 10, 0], 0);
      frame.writeUInt16LE(this.#sequence, 3);
      frame.set([6, this.#sequence % 0x100], 5);
      frame.writeUInt32LE(4, 7);
      frame.writeUInt32LE(FID, 11);
      frame.writeUInt32LE(crc32(frame.subarray(0, 15)), 15);
      this.#received = 0;
      await this.#console.type(frame, { unpaced: true });
      // Head, status, nibbles, four registers of four bytes, check.
      while (this.#received < 5 + 1 + 4 + 16 + 4) {
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    }
  }
}

async function timed(work: () => Promise<void> | Promise<Uint8Array>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? 0;
}
