import { InfrastructureError, messageOf } from "../../base/index.ts";
import type { BytePort, BytePortHandlers } from "./byte-port.ts";
import { readTerminal, writeTerminal } from "./terminal-reader.ts";

/** What a port of serialport's Linux binding is, beside its declared interface. */
export interface BindingPort {
  readonly isOpen: boolean;
  readonly fd: number | null;
  readonly poller: {
    once(
      event: "readable",
      callback: (error: (Error & { canceled?: boolean }) | null) => void,
    ): void;
  };
  write(buffer: Buffer): Promise<void>;
  close(): Promise<void>;
}

/**
 * Opens a serial device or a pty at 8N1 and reads it for as long as it is open. Throws
 * InfrastructureError where the device is missing, not permitted or held by another program.
 */
export async function openSerialPort(
  path: string,
  baud: number,
  handlers: BytePortHandlers,
): Promise<BytePort> {
  const { SerialPort } = await import("serialport");
  let port: BindingPort;
  try {
    // hupcl would drop DTR at close, which resets boards that wire it to their reset line.
    const opened = await SerialPort.binding.open({ path, baudRate: baud, hupcl: false });
    port = opened as unknown as BindingPort;
  } catch (error) {
    throw openError(path, error);
  }
  let closing: Promise<void> | undefined;
  let gone = false;
  let writing: Promise<void> = Promise.resolve();
  readTerminal(
    port,
    (bytes) => {
      handlers.onData(bytes);
    },
    (reason) => {
      gone = true;
      if (closing !== undefined) return;
      closing = port.close().catch(() => {});
      handlers.onLost(reason);
    },
  );
  return {
    write: async (bytes) => {
      if (gone || closing !== undefined) throw new InfrastructureError(`${path} is closed`);
      const turn = writing.then(() => writeTerminal(port, Buffer.from(bytes)));
      writing = turn.catch(() => {});
      try {
        await turn;
      } catch (error) {
        throw new InfrastructureError(`cannot write to ${path}: ${messageOf(error)}`);
      }
    },
    close: async () => {
      closing ??= port.close().catch(() => {});
      await closing;
    },
  };
}

function openError(path: string, error: unknown): InfrastructureError {
  const text = messageOf(error);
  const next = /cannot lock|busy/i.test(text)
    ? "End the other program that has it open (another lockstep, a terminal program), then try again."
    : /permission/i.test(text)
      ? "Add your user to the group that owns the device (on Debian: dialout) and log in again."
      : /no such file|ENOENT/i.test(text)
        ? "Check the cable and the board file; `ls -l /dev/serial/by-path/` shows what is there."
        : "Check the device and the board file.";
  return new InfrastructureError(`cannot open the console ${path}`, {
    seen: text,
    next,
    cause: error,
  });
}
