import type { Deadline } from "../base/index.ts";

/** Power of one board. */
export interface PowerProtocol {
  on(deadline: Deadline): Promise<void>;
  off(deadline: Deadline): Promise<void>;
  /** Off, the outlet's settle time, on. */
  cycle(deadline: Deadline): Promise<void>;
  /** `unknown` where the outlet cannot be asked. */
  state(): Promise<"on" | "off" | "unknown">;
}

/** A command's outcome, stdout and stderr apart. */
export interface ExecResult {
  readonly exitCode: number | undefined;
  readonly signal: string | undefined;
  readonly stdout: Uint8Array;
  readonly stderr: Uint8Array;
  /**
   * Set where a console had to carry the output as plain text, all of it in `stdout`: true if lines
   * of other programs are in it.
   */
  readonly interleaved?: boolean;
}

/** A command that is running on the board, its output delivered while it comes. */
export interface RunningCommand {
  /** Called with every chunk of output (stdout and stderr in arrival order); set before any data is lost. */
  onOutput(listener: (bytes: Uint8Array) => void): void;
  /** Settles when the command ended; rejects with an InfrastructureError when the channel was lost. */
  readonly done: Promise<{ exitCode: number | undefined; signal: string | undefined }>;
  /** Asks the command to stop; the channel stays usable where the transport allows it. */
  kill(): Promise<void>;
}

export interface ExecOptions {
  /** The command's standard input, which is closed behind it; empty where absent. Over SSH only. */
  readonly input?: Uint8Array;
}

/** Runs commands on the board's Linux. Implemented over SSH and over a console shell. */
export interface CommandProtocol {
  /** Runs to the end. Throws DeadlineError, InfrastructureError; a non-zero exit is not an error. */
  exec(command: string, deadline: Deadline, options?: ExecOptions): Promise<ExecResult>;
  /** Starts and streams. `deadline` bounds the command from its start to its end. */
  start(command: string, deadline: Deadline): Promise<RunningCommand>;
}

export interface FileTransferProtocol {
  upload(local: string, remote: string, deadline: Deadline): Promise<void>;
  download(remote: string, local: string, deadline: Deadline): Promise<void>;
}

/** The states that a strategy moves a board between, in boot order. */
export const BOARD_STATES = ["off", "bootloader", "linux", "tee-ready"] as const;
export type BoardState = (typeof BOARD_STATES)[number];
