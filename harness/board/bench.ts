import { constants, openSync, writeSync } from "node:fs";
import { ReadStream } from "node:tty";
import { Deadline } from "../base/index.ts";
import { Console } from "./console/console.ts";
import { openSerialPort } from "./console/serial-port.ts";
import { openPtyConsole } from "./testing/pty-console.ts";
import { noPtyReason, startPty } from "./testing/pty-board.ts";

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

const LIMIT_MS = 120_000;

/**
 * Measures the console engine on a pty, in turns with a raw read of the same pty: commands to a real
 * shell, and bulk output. Undefined where ptys cannot be made (no python3).
 */
export async function benchConsole(rounds = 5): Promise<ConsoleBench | undefined> {
  if (noPtyReason() !== undefined) return undefined;
  return { roundTrip: await benchRoundTrip(rounds), bulk: await benchBulk(rounds) };
}

async function benchRoundTrip(rounds: number): Promise<ConsoleBench["roundTrip"]> {
  const commands = 100;
  let typed: Buffer[] = [];
  let received = 0;
  const spoilers = {
    down: (bytes: Buffer): Buffer => {
      typed.push(bytes);
      return bytes;
    },
    up: (bytes: Buffer): Buffer => {
      received += bytes.length;
      return bytes;
    },
  };
  const times = { console: Number.POSITIVE_INFINITY, raw: Number.POSITIVE_INFINITY };
  for (let round = 0; round < rounds; round += 1) {
    const board = await openPtyConsole(["sh", "-i"], { spoilers });
    try {
      const deadline = Deadline.after(LIMIT_MS, "the console bench");
      await board.shell.run("true", deadline);
      const start = performance.now();
      for (let i = 0; i < commands; i += 1) {
        [typed, received] = [[], 0];
        await board.shell.run("true", deadline);
      }
      times.console = Math.min(times.console, performance.now() - start);
      await board.release();
      const raw = new RawPty(board.board.device);
      try {
        // What the last command typed, and as many bytes as came back for it.
        const [request, answer] = [Buffer.concat(typed), received];
        const rawStart = performance.now();
        for (let i = 0; i < commands; i += 1) {
          raw.write(request);
          await raw.read(answer);
        }
        times.raw = Math.min(times.raw, performance.now() - rawStart);
      } finally {
        raw.close();
      }
    } finally {
      await board.stop();
    }
  }
  const [consoleMs, rawMs] = [times.console / commands, times.raw / commands];
  return { ratio: consoleMs / rawMs, consoleMs, rawMs };
}

async function benchBulk(rounds: number): Promise<ConsoleBench["bulk"]> {
  const line = "D/TC:? 0 tee_ta_invoke_command:812 an ordinary line of the secure world\r\n";
  const chunk = Buffer.from(line.repeat(1000));
  const chunks = 200;
  const bytes = chunks * chunk.length;
  const times = { console: Number.POSITIVE_INFINITY, raw: Number.POSITIVE_INFINITY };
  const board = await startPty();
  const send = (): number => {
    const start = performance.now();
    for (let i = 0; i < chunks; i += 1) board.send(chunk);
    return start;
  };
  try {
    for (let round = 0; round < rounds; round += 1) {
      times.console = Math.min(times.console, await throughConsole(board.device, bytes, send));
      const raw = new RawPty(board.device);
      try {
        const start = send();
        await raw.read(bytes);
        times.raw = Math.min(times.raw, performance.now() - start);
      } finally {
        raw.close();
      }
    }
  } finally {
    await board.stop();
  }
  const { console: consoleMs, raw: rawMs } = times;
  return { ratio: rawMs / consoleMs, bytes, consoleMs, rawMs };
}

async function throughConsole(device: string, bytes: number, send: () => number): Promise<number> {
  const console = new Console("normal", { raw: () => {}, line: () => {} });
  const port = await openSerialPort(device, 115_200, {
    onData: (data) => {
      console.feed(data);
    },
    onLost: (reason) => {
      console.detach(reason);
    },
  });
  try {
    const all = new Promise<void>((resolve) => {
      console.listen({
        partial: () => {
          if (console.offset >= bytes) resolve();
        },
      });
    });
    const start = send();
    await Deadline.after(LIMIT_MS, "the console bench").race(all);
    return performance.now() - start;
  } finally {
    await port.close();
  }
}

/** The least that can be done with a pty: reads are counted and thrown away. */
class RawPty {
  readonly #fd: number;
  readonly #stream: ReadStream;
  #count = 0;
  #wanted = 0;
  #resolve: () => void = () => {};

  constructor(device: string) {
    this.#fd = openSync(device, constants.O_RDWR | constants.O_NOCTTY);
    this.#stream = new ReadStream(this.#fd);
    this.#stream.on("data", (bytes: Buffer) => {
      this.#count += bytes.length;
      if (this.#count >= this.#wanted) this.#resolve();
    });
  }

  write(bytes: Uint8Array): void {
    writeSync(this.#fd, bytes);
  }

  /** Resolves when `count` bytes more than those of all earlier calls have come. */
  async read(count: number): Promise<void> {
    this.#wanted += count;
    if (this.#count >= this.#wanted) return;
    const come = new Promise<void>((resolve) => {
      this.#resolve = resolve;
    });
    await Deadline.after(LIMIT_MS, "the raw read").race(come);
  }

  close(): void {
    this.#stream.destroy();
  }
}
