import { spawnSync } from "node:child_process";
import { type CliResult, type CliRun, runProgram } from "./run-cli.ts";

/** A pty's two ends in python3: the child gets one as its terminal, our stdin and stdout are the other. */
const SCRIPT = `
import fcntl, os, pty, select, struct, sys, termios
columns, argv = int(sys.argv[1]), sys.argv[2:]
pid, fd = pty.fork()
if pid == 0:
    os.execvp(argv[0], argv)
fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
watched = [fd, 0]
while True:
    ready, _, _ = select.select(watched, [], [])
    if fd in ready:
        try:
            data = os.read(fd, 65536)
        except OSError:
            data = b""
        if not data:
            break
        os.write(1, data)
    if 0 in ready:
        data = os.read(0, 65536)
        if data:
            os.write(fd, data)
        else:
            watched.remove(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) & 255)
`;

/** Why terminals cannot be tested here, or undefined where they can. */
export function noPty(): string | undefined {
  const found = spawnSync("python3", ["-c", "import pty, os; os.waitstatus_to_exitcode"]);
  return found.status === 0 ? undefined : "python3 is not installed";
}

/** Runs a program on a terminal of its own; `stdout` is everything that it showed there. */
export async function onTerminal(
  argv: readonly string[],
  run: CliRun & { readonly columns?: number } = {},
): Promise<CliResult> {
  const env = { TERM: "xterm", ...run.env };
  return await runProgram("python3", ["-c", SCRIPT, String(run.columns ?? 80), ...argv], {
    ...run,
    env,
  });
}
