import type { Readable, Writable } from "node:stream";
import type { Command } from "commander";
import type { Progress } from "../base/index.ts";
import type { Style } from "./style.ts";

/** The process's own streams, for commands that pass bytes through instead of writing text. */
export interface CliStreams {
  readonly stdin: Readable & {
    readonly isTTY?: boolean;
    readonly setRawMode?: (on: boolean) => unknown;
  };
  readonly stdout: Writable & { readonly isTTY?: boolean };
  readonly stderr: Writable & { readonly isTTY?: boolean };
}

/** What every command is given; it touches no global of its own, so tests can run it in process. */
export interface CliContext {
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
  /** Writes to stdout: the document that was asked for, and nothing else. */
  out(text: string): void;
  /** Writes a line to stderr: text for people. */
  err(text: string): void;
  readonly progress: Progress;
  /** Fires on SIGINT, SIGTERM and SIGHUP. A command then cleans up and throws `InterruptedError`. */
  readonly abort: AbortSignal;
  /** Sets the exit code of a command that ended without throwing; 0 where never called. */
  setExit(code: number): void;
  readonly streams: CliStreams;
  /** Colours for text on stdout and on stderr; they do nothing where colour is off. */
  readonly style: { readonly out: Style; readonly err: Style };
}

/** The export `build` of every file in `commands/`: the command with options, help and action. */
export type CommandBuilder = (context: CliContext) => Command;
