import { describeError, EXIT, exitCodeOf } from "../base/index.ts";
import { runCli } from "./app.ts";

/** Binds the command line to this process: streams, signals, the exit. Never returns. */
export async function main(argv: readonly string[], version: string): Promise<never> {
  const { stdin, stdout, stderr } = process;
  // A reader that has gone (`| head`) is no error of ours; neither is a terminal that has.
  for (const stream of [stdout, stderr]) stream.on("error", () => {});

  const controller = new AbortController();
  const stop = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    stderr.write(
      "\nlockstep: stopping, and leaving boards as their files say; once more to stop at once\n",
    );
    controller.abort();
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  process.on("uncaughtException", (error) => {
    stderr.write(`lockstep: ${describeError(error)}\n`);
    if (argv.includes("--debug")) stderr.write(`${error.stack ?? ""}\n`);
    process.exit(exitCodeOf(error));
  });

  const code = await runCli(argv, {
    env: process.env,
    cwd: process.cwd(),
    streams: { stdin, stdout, stderr },
    abort: controller.signal,
    version,
  });
  await Promise.all([stdout, stderr].map(flushed));
  process.exit(code);
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0 || stream.destroyed) resolve();
    else stream.write("", () => resolve());
  });
}
