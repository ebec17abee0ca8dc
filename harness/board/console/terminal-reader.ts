import { readSync, writeSync } from "node:fs";
import type { BindingPort } from "./serial-port.ts";

/** A terminal's buffer holds 4095 bytes; a read of nearly as many says that the writer is fast. */
const FULL_PIECE = 2048;
const POOL = 64 * 1024;
/** Less room than this at the end of the pool, and a new one is taken. */
const ROOM = 4096;

/**
 * Reads a terminal that serialport has opened, from now until it is closed: each time its poller
 * says so, what is there, without a detour over a thread or a stream. `onEnd` is called once, unless
 * the port was closed by us. (serialport's own reader takes an end of file for "try again": when the
 * far end of a pty hangs up between two polls, it spins for ever and reports nothing.)
 */
export function readTerminal(
  port: BindingPort,
  onData: (bytes: Buffer) => void,
  onEnd: (reason: string) => void,
): void {
  let pool = Buffer.allocUnsafe(POOL);
  let used = 0;
  const wait = (): void => {
    port.poller.once("readable", (error) => {
      if (!port.isOpen || port.fd === null || error?.canceled === true) return;
      if (error !== null) onEnd(describe(error));
      else read(port.fd);
    });
  };
  const read = (fd: number): void => {
    if (POOL - used < ROOM) {
      pool = Buffer.allocUnsafe(POOL);
      used = 0;
    }
    let count: number | undefined;
    try {
      count = readAvailable(fd, pool, used);
    } catch (error) {
      onEnd(describe(error));
      return;
    }
    if (count === 0) {
      onEnd(HUNG_UP);
      return;
    }
    if (count !== undefined) {
      used += count;
      onData(pool.subarray(used - count, used));
    }
    if (port.isOpen) wait();
  };
  wait();
}

/**
 * Reads while the terminal hands out full pieces: one wake-up for many of them keeps up with a fast
 * writer. Undefined if there was nothing yet, 0 at the end of file.
 */
function readAvailable(fd: number, pool: Buffer, from: number): number | undefined {
  let total = 0;
  try {
    while (from + total < pool.length) {
      const count = readSync(fd, pool, from + total, pool.length - from - total, null);
      total += count;
      if (count < FULL_PIECE) break;
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EAGAIN" && code !== "EINTR") throw error;
    if (total === 0) return undefined;
  }
  return total;
}

/** Writes what the terminal takes without waiting, and the rest as serialport does. */
export async function writeTerminal(port: BindingPort, bytes: Buffer): Promise<void> {
  let written = 0;
  try {
    if (port.fd !== null) written = writeSync(port.fd, bytes);
  } catch {
    // Full or gone: the write that follows waits, or tells.
  }
  if (written < bytes.length) await port.write(bytes.subarray(written));
}

const HUNG_UP = "the other end hung up";

function describe(error: unknown): string {
  const text = error instanceof Error ? error.message : String(error);
  // libuv's words for a terminal whose other end is gone.
  return text === "bad file descriptor" ? HUNG_UP : text;
}
