import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";

/**
 * A serial device in python3: a pty whose far end is a shell on a terminal of its own, or, without
 * arguments, a board that says nothing. Ends with its standard input.
 */
const SCRIPT = `
import os, pty, select, sys, tty
master, slave = pty.openpty()
tty.setraw(slave)
print(os.ttyname(slave), flush=True)
far = None
if len(sys.argv) > 1:
    pid, far = pty.fork()
    if pid == 0:
        os.environ["PS1"] = "lockstep:\\\\w# "
        os.execvp(sys.argv[1], sys.argv[1:])
watched = [0, master] + ([far] if far is not None else [])
while True:
    for source in select.select(watched, [], [])[0]:
        try:
            data = os.read(source, 65536)
        except OSError:
            sys.exit(0)
        if not data:
            sys.exit(0)
        if far is not None and source != 0:
            os.write(far if source == master else master, data)
`;

export interface PtyDevice {
  /** What a board file names as the console's device. */
  readonly device: string;
  stop(): Promise<void>;
}

/** Starts a device whose far end runs `shell`, e.g. `["sh", "-i"]`, or is silent without one. */
export async function startPtyDevice(shell: readonly string[] = []): Promise<PtyDevice> {
  const child: ChildProcess = spawn("python3", ["-c", SCRIPT, ...shell], {
    stdio: ["pipe", "pipe", "ignore"],
    env: { PATH: process.env["PATH"], HOME: "/", ENV: "", TERM: "dumb" },
  });
  const ended = once(child, "exit");
  const device = await new Promise<string>((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (chunk: Buffer) => {
      text += chunk.toString();
      const [line, rest] = text.split("\n");
      if (rest !== undefined) resolve(line ?? "");
    });
    child.once("error", reject);
    child.once("exit", () => reject(new Error("the pty helper ended")));
  });
  return {
    device,
    stop: async () => {
      child.stdin?.destroy();
      await ended;
    },
  };
}
