import { access } from "node:fs/promises";
import { InfrastructureError } from "../../base/index.ts";
import type { BytePort } from "./byte-port.ts";
import type { Console } from "./console.ts";
import { openSerialPort } from "./serial-port.ts";

const REOPEN_MS = 250;

/**
 * Keeps a console attached to a serial device. A UART that is powered by its board comes and goes
 * with it, so a device that is not there, or no longer, is opened as soon as it is.
 */
export class DeviceConsole {
  readonly #console: Console;
  readonly #device: string;
  readonly #baud: number;
  readonly #onLost: (reason: string) => void;
  #port: BytePort | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(
    console: Console,
    device: string,
    baud: number,
    onLost: (reason: string) => void = () => {},
  ) {
    this.#console = console;
    this.#device = device;
    this.#baud = baud;
    this.#onLost = onLost;
  }

  /** Throws InfrastructureError if the device is there and cannot be opened. */
  async open(): Promise<void> {
    if (await exists(this.#device)) await this.#attach();
    else {
      this.#console.detach(`the device ${this.#device} is not there`);
      this.#later();
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    await this.#port?.close();
    this.#console.detach();
  }

  async #attach(): Promise<void> {
    const port = await openSerialPort(this.#device, this.#baud, {
      onData: (bytes) => {
        this.#console.feed(bytes);
      },
      onLost: (reason) => {
        this.#port = undefined;
        this.#console.detach(`the device ${this.#device} vanished`);
        this.#console.fail(
          new InfrastructureError(`the console device ${this.#device} vanished`, {
            seen: reason,
            next: "Check the cable and the power of the board.",
          }),
        );
        this.#onLost(reason);
        this.#later();
      },
    });
    if (this.#closed) {
      await port.close();
      return;
    }
    this.#port = port;
    this.#console.attach(port);
  }

  #later(): void {
    if (this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#again().catch(() => {
        this.#later();
      });
    }, REOPEN_MS);
    this.#timer.unref();
  }

  async #again(): Promise<void> {
    if (await exists(this.#device)) await this.#attach();
    else this.#later();
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch {
    return false;
  }
}
