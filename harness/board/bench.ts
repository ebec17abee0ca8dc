import { constants, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { Deadline } from "../base/index.ts";
import { Console } from "./console/console.ts";
import { openSerialPort } from "./console/serial-port.ts";
import { ConsoleShell } from "./shell/console-shell.ts";
import { noPtyReason, PTY_PROMPT, type PtyBoard, startPty } from "./testing/pty-board.ts";

export interface ConsoleBench {
  /** Time of a command through the console over that of the same bytes by raw reads; lower is better. */
  readonly roundTrip: {
    readonly ratio: number;
    readonly consoleMs: number;
    readonly rawMs: number;
  };
  /** Throughput of the console over that of raw reads; higher is better. */
  readonly bulk: {
    readonly ratio: number;
    readonly bytes: number;
    readonly consoleMs: number;
    readonly rawMs: number;
  };
}

const COMMAND = "cat /proc/version";
const COMMANDS = 10;
const LINE = "D/TC:? 0 tee_ta_invoke_command:812 an ordinary line of the secure world";
const BULK_BYTES = 100_000;

/**
 * Measures the console engine on a pty with a real shell behind it, in turns with the least that can
 * be done with the same pty: write the same bytes, read until the same mark. A command's way there
 * and back (fastest tenth of all), and much output (fastest round). The far end sends byte by byte,
 * as the UART of an emulator does. Many short rounds, so that what else the machine does hits both
 * alike. Undefined where ptys cannot be made (no python3).
 */
export async function benchConsole(rounds = 40): Promise<ConsoleBench | undefined> {
  if (noPtyReason() !== undefined) return undefined;
  const board = await startPty(["sh", "-i"], { bytewise: true });
  try {
    const trips = { raw: [] as number[], console: [] as number[] };
    const bulks = { raw: [] as number[], console: [] as number[] };
    for (let round = 0; round < rounds; round += 1) {
      const seen = await throughConsole(board);
      trips.console.push(...seen.tripsMs);
      bulks.console.push(seen.bulkMs);
      const raw = await byRawReads(board, seen);
      trips.raw.push(...raw.tripsMs);
      bulks.raw.push(raw.bulkMs);
    }
    const trip = { consoleMs: fast(trips.console), rawMs: fast(trips.raw) };
    const bulk = { consoleMs: Math.min(...bulks.console), rawMs: Math.min(...bulks.raw) };
    return {
      roundTrip: { ratio: trip.consoleMs / trip.rawMs, ...trip },
      bulk: { ratio: bulk.rawMs / bulk.consoleMs, bytes: BULK_BYTES, ...bulk },
    };
  } finally {
    await board.stop();
  }
}

/** What was typed, and the mark that ended the answer. */
interface Exchange {
  readonly typed: Buffer;
  readonly mark: string;
}

interface Round {
  readonly tripsMs: readonly number[];
  readonly bulkMs: number;
}

interface Traffic extends Round {
  readonly trip: Exchange;
  readonly bulk: Exchange;
}

async function throughConsole(board: PtyBoard): Promise<Traffic> {
  const seen = { bytes: 0, lines: 0 };
  const console = new Console("bench", {
    raw: (_stream, chunk) => {
      seen.bytes += chunk.length;
    },
    line: () => {
      seen.lines += 1;
    },
  });
  const port = await openSerialPort(board.device, 115_200, {
    onData: (chunk) => {
      console.feed(chunk);
    },
    onLost: (reason) => {
      console.detach(reason);
    },
  });
  let typed: Buffer = Buffer.alloc(0);
  console.attach({
    write: async (bytes) => {
      typed = Buffer.from(bytes);
      await port.write(bytes);
    },
    close: async () => {},
  });
  const shell = new ConsoleShell(console, {
    prompt: new RegExp(PTY_PROMPT),
    verifyEcho: false,
    characterDelayMs: 0,
  });
  try {
    await shell.ready(soon());
    const tripsMs = await each(async () => {
      await shell.run(COMMAND, soon());
    });
    const trip = exchange(typed);
    Object.assign(seen, { bytes: 0, lines: 0 });
    const bulkMs = await timed(async () => {
      const running = await shell.start(floodCommand(), soon());
      await running.done;
    });
    if (seen.bytes < BULK_BYTES || seen.lines < BULK_BYTES / (LINE.length + 2))
      throw new Error(`the console brought only ${seen.bytes} bytes in ${seen.lines} lines`);
    return { tripsMs, bulkMs, trip, bulk: exchange(typed) };
  } finally {
    await port.close();
  }
}

async function byRawReads(board: PtyBoard, { trip, bulk: flood }: Traffic): Promise<Round> {
  const pty = new RawPty(board.device);
  try {
    // The shell still knows the functions that the console taught it.
    await pty.exchange(trip);
    const tripsMs = await each(async () => {
      await pty.exchange(trip);
    });
    const bulkMs = await timed(async () => {
      await pty.exchange(flood);
    });
    return { tripsMs, bulkMs };
  } finally {
    await pty.close();
  }
}

/** The least that can be done with a pty: write, and read until a mark. */
class RawPty {
  readonly #fd: number;
  readonly #stream: ReadStream;
  #mark = "";
  #tail = "";
  #found: (() => void) | undefined;

  constructor(device: string) {
    this.#fd = openSync(device, constants.O_RDWR | constants.O_NOCTTY);
    this.#stream = new ReadStream(this.#fd);
    this.#stream.on("data", (bytes: Buffer) => {
      this.#tail = this.#tail.slice(-this.#mark.length) + bytes.toString("latin1");
      if (this.#mark !== "" && this.#tail.includes(this.#mark)) this.#found?.();
    });
  }

  async exchange({ typed, mark }: Exchange): Promise<void> {
    this.#mark = mark;
    this.#tail = "";
    const found = new Promise<void>((resolve) => {
      this.#found = resolve;
    });
    writeSync(this.#fd, typed);
    await soon().race(found);
  }

  async close(): Promise<void> {
    await new Promise<void>((resolve) => {
      this.#stream.once("close", resolve);
      this.#stream.destroy();
    });
  }
}

/** The end mark that the shell makes of the two tokens in a typed line. */
function exchange(typed: Buffer): Exchange {
  const [, first, second] = /([0-9a-f]{8}) ([0-9a-f]{8})/.exec(typed.toString()) ?? [];
  if (first === undefined || second === undefined) throw new Error("no tokens were typed");
  return { typed, mark: `${second}${first} 0 ` };
}

function soon(): Deadline {
  return Deadline.after(60_000, "the console bench");
}

/** Prints BULK_BYTES bytes or little more, in lines as a terminal carries them (CR LF). */
function floodCommand(): string {
  return `yes '${LINE}' | head -n ${Math.ceil(BULK_BYTES / (LINE.length + 2))}`;
}

async function timed(work: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

async function each(work: () => Promise<void>): Promise<number[]> {
  const times: number[] = [];
  for (let i = 0; i < COMMANDS; i += 1) times.push(await timed(work));
  return times;
}

/** The fastest tenth ends here. */
function fast(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 10)] ?? Infinity;
}
