import { InfrastructureError, messageOf } from "../../base/index.ts";
import type { BytePort, BytePortHandlers } from "./byte-port.ts";
import { withHangup } from "./hangup-binding.ts";

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
  // hupcl would drop DTR at close, which resets boards that wire it to their reset line.
  const settings = {
    path,
    baudRate: baud,
    autoOpen: false,
    hupcl: false,
    // Taken by the constructor, though its type leaves it out.
    binding: withHangup(SerialPort.binding),
  };
  const port = new SerialPort(settings);
  let closing = false;
  let gone = false;
  const lost = (reason: string): void => {
    if (closing || gone) return;
    gone = true;
    handlers.onLost(reason);
  };
  port.on("data", (bytes: Buffer) => {
    handlers.onData(bytes);
  });
  port.on("close", (error: unknown) => {
    const reason = error === null || error === undefined ? "" : messageOf(error);
    // libuv's words for a terminal whose other end is gone.
    lost(reason === "" || reason === "bad file descriptor" ? "the other end hung up" : reason);
  });
  port.on("error", (error: unknown) => {
    lost(messageOf(error));
  });
  await new Promise<void>((resolve, reject) => {
    port.open((error) => {
      if (error === null || error === undefined) resolve();
      else reject(openError(path, error));
    });
  });
  return {
    write: async (bytes) => {
      if (gone || closing) throw new InfrastructureError(`${path} is closed`);
      await new Promise<void>((resolve, reject) => {
        port.write(Buffer.from(bytes), (error) => {
          if (error === null || error === undefined) resolve();
          else reject(new InfrastructureError(`cannot write to ${path}: ${error.message}`));
        });
      });
    },
    close: async () => {
      if (closing) return;
      closing = true;
      if (!port.isOpen) return;
      await new Promise<void>((resolve) => {
        port.close(() => {
          resolve();
        });
      });
    },
  };
}

function openError(path: string, error: Error): InfrastructureError {
  const text = error.message;
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
