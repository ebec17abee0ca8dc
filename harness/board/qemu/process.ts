import { constants } from "node:os";
import { InfrastructureError } from "../../base/index.ts";

/**
 * Runs QEMU as a child that cannot outlive us: the shell ends it as soon as its own standard input
 * closes, which the kernel does for us even when we are killed outright. $1 is a socket to remove.
 */
const WATCHDOG = `
exec 3<&0
socket=$1
shift
"$@" </dev/null 3<&- &
qemu=$!
{ cat <&3 >/dev/null; kill -TERM $qemu; sleep 2; kill -KILL $qemu; } >/dev/null 2>&1 &
guard=$!
exec 3<&-
wait $qemu
code=$?
kill $guard 2>/dev/null
rm -f "$socket"
rmdir "\${socket%/*}" 2>/dev/null
exit $code
`;

/** How much of QEMU's stderr is kept for an error message. */
const STDERR_LIMIT = 8192;

export interface QemuExit {
  /** `exit code 1`, `signal SIGKILL`. */
  readonly how: string;
  readonly stderr: string;
}

/** A started QEMU. */
export interface QemuProcess {
  /** Settles when QEMU has ended; never rejects. */
  readonly ended: Promise<QemuExit>;
  /** Ends QEMU, after at most about two seconds by force. */
  stop(): Promise<void>;
}

/** Starts `binary`; its working folder is `cwd` (semihosting firmware looks for its parts there). */
export async function startQemu(
  binary: string,
  args: readonly string[],
  options: { readonly socket: string; readonly cwd: string },
): Promise<QemuProcess> {
  const { execa } = await import("execa");
  const child = execa("/bin/sh", ["-c", WATCHDOG, "sh", options.socket, binary, ...args], {
    cwd: options.cwd,
    stdin: "pipe",
    stdout: "ignore",
    stderr: "pipe",
    buffer: false,
    reject: false,
    // A Ctrl-C on our terminal is for us; QEMU ends when we end it.
    detached: true,
    cleanup: false,
  });
  let stderr = "";
  child.stderr?.setEncoding("utf8");
  child.stderr?.on("data", (text: string) => {
    stderr = (stderr + text).slice(-STDERR_LIMIT);
  });
  child.stdin?.on("error", () => {});
  const ended = child.then((result): QemuExit => {
    child.stdin?.destroy();
    if (result.cause !== undefined && result.exitCode === undefined && result.signal === undefined)
      return { how: "not started", stderr: result.shortMessage ?? "" };
    return { how: describeExit(result.exitCode, result.signal), stderr: stderr.trim() };
  });
  let stopping: Promise<void> | undefined;
  return {
    ended,
    stop: async () => {
      stopping ??= (async () => {
        child.stdin?.destroy();
        await ended;
      })();
      await stopping;
    },
  };
}

function describeExit(code: number | undefined, signal: string | undefined): string {
  if (signal !== undefined) return `signal ${signal}`;
  if (code !== undefined && code > 128) {
    const name = Object.entries(constants.signals).find(([, value]) => value === code - 128)?.[0];
    if (name !== undefined) return `signal ${name}`;
  }
  return `exit code ${code ?? "unknown"}`;
}

/** The error for a QEMU that ended before it was asked to. */
export function endedEarly(binary: string, exit: QemuExit): InfrastructureError {
  const seen = exit.stderr === "" ? exit.how : `${exit.how}: ${exit.stderr}`;
  if (/: not found|not started|cannot execute/.test(exit.stderr) && /code 12[67]/.test(exit.how)) {
    return new InfrastructureError(`QEMU cannot be started: there is no usable ${binary}`, {
      seen,
      next: "Install it (on Debian: apt-get install qemu-system-arm), or name another binary in the board's qemu section.",
    });
  }
  if (isPortInUse(exit.stderr)) {
    return new InfrastructureError("QEMU cannot use a network port of this machine", {
      seen,
      next: "End the program that uses the port, or name another one in the board file.",
    });
  }
  return new InfrastructureError("QEMU ended while it was starting", {
    seen,
    next: "Correct what QEMU complains about in the board's qemu section or images.",
  });
}

/** QEMU's words for a forwarded port that somebody else listens on. */
export function isPortInUse(stderr: string): boolean {
  return /could not set up host forwarding|address already in use/i.test(stderr);
}
