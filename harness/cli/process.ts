import { describeError, EXIT, exitCodeOf, secrets } from "../base/index.ts";
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
    stderr.write(lastWords(error, argv.includes("--debug")));
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

/** What is said of an error that nobody caught, without the secrets that are known. */
export function lastWords(error: Error, debug: boolean): string {
  const stack = debug ? `${error.stack ?? ""}\n` : "";
  return secrets.mask(`lockstep: ${describeError(error)}\n${stack}`);
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    if (stream.writableLength === 0 || stream.destroyed) resolve();
    else stream.write("", () => resolve());
  });
}
