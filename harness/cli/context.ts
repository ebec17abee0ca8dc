import type { Command } from "commander";
import type { ExitCode, Progress } from "../base/index.ts";

/** What every command is given; it touches no global of its own, so tests can run it in process. */
export interface CliContext {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Writes to stdout: the document that was asked for, and nothing else. */
  out(text: string): void;
  /** Writes a line to stderr: text for people. */
  err(text: string): void;
  readonly progress: Progress;
  /** Fires on SIGINT and SIGTERM. A command then cleans up and throws `InterruptedError`. */
  readonly abort: AbortSignal;
  /** Sets the exit code of a command that ended without throwing; 0 where never called. */
  setExit(code: ExitCode): void;
}

/** The export `build` of every file in `commands/`: the command with options, help and action. */
export type CommandBuilder = (context: CliContext) => Command;
