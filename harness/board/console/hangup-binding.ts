import { readSync, writeSync } from "node:fs";
import type { SerialPort } from "serialport";

type Binding = typeof SerialPort.binding;

/** What a port of serialport's Linux binding has beside its declared interface. */
interface LinuxPort {
  isOpen: boolean;
  fd: number | null;
  poller: { once(event: "readable", callback: (error: Error | null) => void): void };
  write(buffer: Buffer): Promise<void>;
  read(
    buffer: Buffer,
    offset: number,
    length: number,
  ): Promise<{ buffer: Buffer; bytesRead: number }>;
}

/** A terminal's buffer holds 4095 bytes; a read of nearly as many says that the writer is fast. */
const FULL_PIECE = 2048;

/**
 * serialport's own Linux binding reads in a thread and takes an end of file for "try again": when
 * the far end of a pty hangs up between two polls, it spins for ever and reports nothing. This one
 * takes the end of file for what it is, and reads and writes what goes without waiting without the
 * detour over a thread.
 */
export function withHangup(binding: Binding): Binding {
  const open = async (options: never): Promise<unknown> => {
    const port = (await binding.open(options)) as unknown as LinuxPort;
    if (typeof port.fd !== "number" || typeof port.poller?.once !== "function") return port;
    port.read = async (buffer, offset, length) => ({
      buffer,
      bytesRead: await readWhenReady(port, buffer, offset, length),
    });
    const write = port.write.bind(port);
    port.write = async (buffer) => {
      const written = port.fd === null ? 0 : writeAtOnce(port.fd, buffer);
      if (written < buffer.length) await write(buffer.subarray(written));
    };
    return port;
  };
  // The binding's types say which options belong to which platform; they pass through unread.
  return { list: () => binding.list(), open } as unknown as Binding;
}

async function readWhenReady(
  port: LinuxPort,
  buffer: Buffer,
  offset: number,
  length: number,
): Promise<number> {
  for (;;) {
    await new Promise<void>((resolve, reject) => {
      if (!port.isOpen) reject(canceled());
      else
        port.poller.once("readable", (error) => {
          if (error === null) resolve();
          else reject(error);
        });
    });
    if (!port.isOpen || port.fd === null) throw canceled();
    const bytesRead = readAvailable(port.fd, buffer, offset, length);
    if (bytesRead === undefined) continue;
    if (bytesRead > 0) return bytesRead;
    throw new Error("the other end hung up");
  }
}

/**
 * Reads while the terminal hands out full pieces: one wake-up for many of them keeps up with a fast
 * writer. Undefined if there was nothing yet, 0 at the end of file.
 */
function readAvailable(
  fd: number,
  buffer: Buffer,
  offset: number,
  length: number,
): number | undefined {
  let total = 0;
  try {
    while (total < length) {
      const bytesRead = readSync(fd, buffer, offset + total, length - total, null);
      total += bytesRead;
      if (bytesRead < FULL_PIECE) break;
    }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code !== "EAGAIN" && code !== "EINTR") throw error;
    if (total === 0) return undefined;
  }
  return total;
}

/** What the terminal takes without waiting, in bytes. An error shows itself to the write that follows. */
function writeAtOnce(fd: number, buffer: Buffer): number {
  try {
    return writeSync(fd, buffer);
  } catch {
    return 0;
  }
}

function canceled(): Error {
  return Object.assign(new Error("the port was closed"), { canceled: true });
}
