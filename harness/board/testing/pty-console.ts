import { Console } from "../console/console.ts";
import { openSerialPort } from "../console/serial-port.ts";
import { ConsoleShell } from "../shell/console-shell.ts";
import { PTY_PROMPT, type PtyBoard, startPty } from "./pty-board.ts";
import { Recorder } from "./recorder.ts";

/** Changes what passes on the line; each is called with every chunk. */
export interface Spoilers {
  /** What the board sends to us. */
  readonly up?: (bytes: Buffer) => Uint8Array;
  /** What we type. */
  readonly down?: (bytes: Buffer) => Uint8Array;
}

export interface PtyConsole {
  readonly board: PtyBoard;
  readonly console: Console;
  readonly observer: Recorder;
  readonly shell: ConsoleShell;
  stop(): Promise<void>;
}

/** A console on a real pty with a real shell behind it, and a line that can be spoilt. */
export async function openPtyConsole(
  shellCommand: readonly string[],
  options: { readonly spoilers?: Spoilers; readonly verifyEcho?: boolean } = {},
): Promise<PtyConsole> {
  const { up, down } = options.spoilers ?? {};
  const board = await startPty(shellCommand);
  const observer = new Recorder();
  const console = new Console("normal", observer);
  const port = await openSerialPort(board.device, 115_200, {
    onData: (bytes) => {
      console.feed(up === undefined ? bytes : up(Buffer.from(bytes)));
    },
    onLost: () => {
      console.detach();
    },
  });
  console.attach({
    write: async (bytes) => {
      await port.write(down === undefined ? bytes : down(Buffer.from(bytes)));
    },
    close: async () => {
      await port.close();
    },
  });
  const shell = new ConsoleShell(console, {
    prompt: new RegExp(PTY_PROMPT),
    verifyEcho: options.verifyEcho ?? false,
    characterDelayMs: 0,
  });
  return {
    board,
    console,
    observer,
    shell,
    stop: async () => {
      await port.close();
      await board.stop();
    },
  };
}
