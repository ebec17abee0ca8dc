import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";

/** Why tests on real ptys cannot run on this machine, or undefined if they can. */
export function noPtyReason(): string | undefined {
  return spawnSync("python3", ["-c", "import pty"]).status === 0
    ? undefined
    : "python3 with its pty module is not installed";
}

/**
 * A pty whose far end is a shell with a terminal of its own, as behind a UART; or, without `shell`,
 * whose far end is the test itself through the child's standard streams.
 */
const BRIDGE = `
import os, pty, select, sys, termios, tty
master, slave = pty.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
if len(sys.argv) > 1:
    pid, inner = pty.fork()
    if pid == 0:
        os.environ["PS1"] = "lockstep:\\\\w# "
        os.execvp(sys.argv[1], sys.argv[1:])
    pairs = {master: inner, inner: master, 0: -1}
else:
    pairs = {master: 1, 0: master}
while True:
    for source in select.select(list(pairs), [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError:
            sys.exit(0)
        if not data:
            sys.exit(0)
        sink = pairs[source]
        if sink == master and os.environ["BYTEWISE"] == "1":
            for byte in data:
                os.write(master, bytes((byte,)))
            continue
        while data:
            data = data[os.write(sink, data):]
`;

/** The prompt of `startPtyShell`, as a board file would describe it. */
export const PTY_PROMPT = "lockstep:[^\\r\\n]*# $";

export interface PtyBoard {
  /** What a board file would name as the console's device. */
  readonly device: string;
  readonly child: ChildProcess;
  /** Without a shell: what the board receives and sends. */
  send(bytes: Uint8Array | string): void;
  onReceived(listener: (bytes: Buffer) => void): void;
  stop(): Promise<void>;
}

/**
 * A board whose console runs `shell`, e.g. `["dash", "-i"]`; its far end is us if there is none.
 * `bytewise` sends each byte with a write of its own, as the UART of an emulator does.
 */
export async function startPty(
  shell: readonly string[] = [],
  options: { readonly bytewise?: boolean } = {},
): Promise<PtyBoard> {
  // The shell behind the pty is this machine's own: what it writes goes where we remove it.
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-pty-"));
  const child = spawn("python3", ["-c", BRIDGE, ...shell], {
    stdio: ["pipe", "pipe", "ignore"],
    env: {
      PATH: process.env["PATH"],
      ENV: "",
      HOME: "/",
      TERM: "linux",
      TMPDIR: dir,
      BYTEWISE: options.bytewise === true ? "1" : "0",
    },
  });
  child.stdin.on("error", () => {});
  const ended = once(child, "exit");
  const device = await new Promise<string>((resolve, reject) => {
    let text = "";
    const listen = (bytes: Buffer): void => {
      text += bytes.toString("latin1");
      const end = text.indexOf("\n");
      if (end < 0) return;
      child.stdout.off("data", listen);
      child.stdout.resume();
      resolve(text.slice(0, end));
    };
    child.stdout.on("data", listen);
    child.once("exit", () => {
      reject(new Error("the pty helper ended"));
    });
  });
  return {
    device,
    child,
    send: (bytes) => {
      child.stdin.write(bytes);
    },
    onReceived: (listener) => {
      child.stdout.on("data", listener);
    },
    stop: async () => {
      child.kill("SIGKILL");
      await ended;
      await rm(dir, { recursive: true, force: true });
    },
  };
}
