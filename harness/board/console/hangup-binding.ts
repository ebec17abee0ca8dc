import { readSync } from "node:fs";
import type { SerialPort } from "serialport";

type Binding = typeof SerialPort.binding;

/** What a port of serialport's Linux binding has beside its declared interface. */
interface LinuxPort {
  isOpen: boolean;
  fd: number | null;
  poller: { once(event: "readable", callback: (error: Error | null) => void): void };
  read(
    buffer: Buffer,
    offset: number,
    length: number,
  ): Promise<{ buffer: Buffer; bytesRead: number }>;
}

/**
 * serialport's own Linux binding reads in a thread and takes an end of file for "try again": when
 * the far end of a pty hangs up between two polls, it spins for ever and reports nothing. This one
 * reads when the poller says so, without a thread, and takes the end of file for what it is.
 */
export function withHangup(binding: Binding): Binding {
  const open = async (options: never): Promise<unknown> => {
    const port = (await binding.open(options)) as unknown as LinuxPort;
    if (typeof port.fd !== "number" || typeof port.poller?.once !== "function") return port;
    port.read = async (buffer, offset, length) => ({
      buffer,
      bytesRead: await readWhenReady(port, buffer, offset, length),
    });
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
    try {
      const bytesRead = readSync(port.fd, buffer, offset, length, null);
      if (bytesRead > 0) return bytesRead;
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code;
      if (code === "EAGAIN" || code === "EINTR") continue;
      throw error;
    }
    throw new Error("the other end hung up");
  }
}

function canceled(): Error {
  return Object.assign(new Error("the port was closed"), { canceled: true });
}
