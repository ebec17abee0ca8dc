import { afterEach, expect, test } from "@jest/globals";
import { InfrastructureError } from "../../base/index.ts";
import { noPtyReason, type PtyBoard, startPty } from "../testing/pty-board.ts";
import { Recorder } from "../testing/recorder.ts";
import type { BytePort } from "./byte-port.ts";
import { Console } from "./console.ts";
import { DeviceConsole } from "./device-console.ts";
import { openSerialPort } from "./serial-port.ts";

const missing = noPtyReason();
const onPty = missing === undefined ? test : test.skip;
const title = (text: string): string =>
  missing === undefined ? text : `${text} (skipped: ${missing})`;

const cleanups: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).toReversed()) await cleanup();
});

async function pty(): Promise<PtyBoard> {
  const board = await startPty();
  cleanups.push(async () => {
    await board.stop();
  });
  return board;
}

onPty(
  title("everything that a board sends arrives once and in order, split anywhere"),
  async () => {
    const board = await pty();
    const received: Buffer[] = [];
    let length = 0;
    const expected = Buffer.alloc(1024 * 1024);
    for (let i = 0; i < expected.length; i += 1) expected[i] = (i * 31 + (i >> 8)) & 0xff;
    const all = new Promise<void>((resolve, reject) => {
      openSerialPort(board.device, 115_200, {
        onData: (bytes) => {
          received.push(Buffer.from(bytes));
          length += bytes.length;
          if (length === expected.length) resolve();
        },
        onLost: reject,
      }).then((port) => {
        cleanups.push(async () => {
          await port.close();
        });
        board.send(expected);
      }, reject);
    });
    await all;
    expect(Buffer.concat(received).equals(expected)).toBe(true);
  },
);

onPty(title("a board that is gone is noticed, once, and writing to it is refused"), async () => {
  const board = await pty();
  const reasons: string[] = [];
  let port: BytePort | undefined;
  await new Promise<void>((resolve, reject) => {
    openSerialPort(board.device, 115_200, {
      onData: () => {},
      onLost: (reason) => {
        reasons.push(reason);
        resolve();
      },
    }).then((opened) => {
      port = opened;
      board.stop().catch(reject);
    }, reject);
  });
  await expect(port?.write(Buffer.from("x"))).rejects.toThrow(InfrastructureError);
  await port?.close();
  expect(reasons).toHaveLength(1);
});

test("a device that is not there is an infrastructure error with what to do", async () => {
  const none = { onData: () => {}, onLost: () => {} };
  await expect(openSerialPort("/dev/no-such-serial-port", 115_200, none)).rejects.toMatchObject({
    name: "InfrastructureError",
    message: "cannot open the console /dev/no-such-serial-port",
    next: expect.stringContaining("/dev/serial/by-path"),
  });
});

onPty(title("a device that another program holds is named as such"), async () => {
  const board = await pty();
  const none = { onData: () => {}, onLost: () => {} };
  const first = await openSerialPort(board.device, 115_200, none);
  cleanups.push(async () => {
    await first.close();
  });
  // The lock does not bind root, whom the kernel lets in; then there is nothing to refuse.
  const second = await openSerialPort(board.device, 115_200, none).catch((error: unknown) => error);
  if (second instanceof InfrastructureError) expect(second.next).toContain("other program");
  else await (second as BytePort).close();
});

onPty(title("a UART that vanishes ends the waits on its console"), async () => {
  const board = await pty();
  const observer = new Recorder();
  const console = new Console("normal", observer);
  const device = new DeviceConsole(console, board.device, 115_200);
  cleanups.push(async () => {
    await device.close();
  });
  await device.open();
  const failed = new Promise<unknown>((resolve) => {
    console.listen({ failed: resolve });
  });
  board.send("U-Boot 20");
  await new Promise<void>((resolve) => {
    const stop = console.listen({
      partial: () => {
        if (console.partial() !== "U-Boot 20") return;
        stop();
        resolve();
      },
    });
  });
  await board.stop();
  await expect(failed).resolves.toMatchObject({
    message: `the console device ${board.device} vanished`,
  });
  expect(observer.lines.map((line) => line.text)).toEqual(["U-Boot 20"]);
});
