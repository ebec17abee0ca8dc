import { EXIT, type ExitCode } from "./exit-codes.ts";

/** What a person needs in order to act on an error. Every field is one plain sentence or value. */
export interface ErrorDetails {
  readonly expected?: string;
  readonly seen?: string;
  /** File with line and column, board, console offset: the place to look at. */
  readonly where?: string;
  /** What to do next, as an instruction. */
  readonly next?: string;
  readonly cause?: unknown;
}

/** Base of every error that Lockstep throws on purpose; the subclass says who must act. */
export abstract class LockstepError extends Error {
  abstract readonly exitCode: ExitCode;
  readonly expected: string | undefined;
  readonly seen: string | undefined;
  readonly where: string | undefined;
  readonly next: string | undefined;

  constructor(message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.expected = details.expected;
    this.seen = details.seen;
    this.where = details.where;
    this.next = details.next;
  }
}

/** The caller must change the command line, a filter or a configuration value. */
export class UsageError extends LockstepError {
  readonly exitCode = EXIT.usage;
}

/** Somebody must mend a board file or a board type. */
export class BoardFileError extends LockstepError {
  readonly exitCode = EXIT.usage;
}

/** The lab must act: power, cabling, network, a missing tool, a full disk, a held lock. */
export class InfrastructureError extends LockstepError {
  readonly exitCode = EXIT.infrastructure;
}

/** Something did not happen by its deadline. */
export class DeadlineError extends LockstepError {
  readonly exitCode = EXIT.timeout;
}

/** The software on the target crashed or reset. */
export class TargetCrashError extends LockstepError {
  readonly exitCode = EXIT.crashed;
}

/** Two platforms differ, or a case failed: the developer of the software under test must look. */
export class DivergenceError extends LockstepError {
  readonly exitCode = EXIT.failed;
}

/** Lockstep itself is wrong. */
export class InternalError extends LockstepError {
  readonly exitCode = EXIT.internal;
}

/** The user asked to stop (SIGINT, SIGTERM). */
export class InterruptedError extends LockstepError {
  readonly exitCode = EXIT.interrupted;
}

/** The exit code for anything thrown; what is not ours counts as an internal error. */
export function exitCodeOf(error: unknown): ExitCode {
  return error instanceof LockstepError ? error.exitCode : EXIT.internal;
}

/** The one-paragraph text a user sees. Never a stack trace: that is for `--debug`. */
export function describeError(error: unknown): string {
  if (!(error instanceof LockstepError)) {
    const text = error instanceof Error ? error.message : String(error);
    return `internal error: ${text}. This is a defect of lockstep; run again with --debug and report the output.`;
  }
  const parts = [error.where === undefined ? error.message : `${error.where}: ${error.message}`];
  if (error.expected !== undefined) parts.push(`expected: ${error.expected}`);
  if (error.seen !== undefined) parts.push(`seen: ${error.seen}`);
  if (error.next !== undefined) parts.push(error.next);
  return parts.map((part) => (/[.!?:)]$/.test(part) ? part : `${part}.`)).join(" ");
}

/** The message of anything thrown, for embedding in another message. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The system's code of anything thrown, e.g. `ENOENT`; undefined where it carries none. */
export function errorCode(error: unknown): string | undefined {
  const code =
    typeof error === "object" && error !== null && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}
