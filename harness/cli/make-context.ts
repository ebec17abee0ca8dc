import { EXIT, systemClock } from "../base/index.ts";
import type { CliContext, CliStreams } from "./context.ts";
import { type CliProgress, plainProgress, terminalProgress } from "./progress.ts";
import { makeStyle, wantsColour } from "./style.ts";

/** What a command line runs in: this process, or whatever a test puts in its place. */
export interface CliEnvironment {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  readonly streams: CliStreams;
  readonly abort: AbortSignal;
  readonly version: string;
}

/** The context of one command line; `exit` gives the code that the command has set. */
export function makeContext(
  around: CliEnvironment,
  flags: { readonly noColor: boolean },
): { context: CliContext; progress: CliProgress; exit: () => number } {
  const { env, streams } = around;
  const colour = (stream: { readonly isTTY?: boolean }): boolean =>
    wantsColour({ noColor: flags.noColor, env, isTTY: stream.isTTY === true });
  const style = { out: makeStyle(colour(streams.stdout)), err: makeStyle(colour(streams.stderr)) };
  const live = streams.stderr.isTTY === true && env["TERM"] !== "dumb";
  const progress = (live ? terminalProgress : plainProgress)({
    write: (text) => void streams.stderr.write(text),
    clock: systemClock,
    style: style.err,
    columns: () => (streams.stderr as { columns?: number }).columns ?? 80,
  });
  let exitCode: number = EXIT.ok;
  const context: CliContext = {
    env,
    cwd: around.cwd,
    out: (text) => progress.aside(() => void streams.stdout.write(text)),
    err: (text) => progress.aside(() => void streams.stderr.write(`${text}\n`)),
    progress,
    abort: around.abort,
    setExit: (code) => {
      exitCode = code;
    },
    streams,
    style,
  };
  return { context, progress, exit: () => exitCode };
}
