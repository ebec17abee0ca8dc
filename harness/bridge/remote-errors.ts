import {
  BoardFileError,
  DeadlineError,
  type ErrorDetails,
  InfrastructureError,
  InternalError,
  InterruptedError,
  LockstepError,
  messageOf,
  TargetCrashError,
  UsageError,
} from "../base/index.ts";

/** Errors whose class tells who must act; it is kept between threads. */
const CLASSES = {
  BoardFileError,
  DeadlineError,
  InfrastructureError,
  InternalError,
  InterruptedError,
  RangeError,
  TargetCrashError,
  UsageError,
} as const;
type Name = keyof typeof CLASSES;

/** An error as data that another thread can be given. */
export interface SentError extends Pick<ErrorDetails, "expected" | "seen" | "where" | "next"> {
  readonly name: string;
  readonly message: string;
}

/** What the other thread needs to have the same error. */
export function sendError(error: unknown): SentError {
  const message = messageOf(error);
  if (!(error instanceof LockstepError)) {
    return { name: error instanceof Error ? error.name : "Error", message };
  }
  const { name, expected, seen, where, next } = error;
  const details = Object.entries({ expected, seen, where, next });
  const known = Object.fromEntries(details.filter(([, value]) => value !== undefined));
  return { name, message, ...known };
}

/** The error that `sendError` took apart: of the same class where that is ours, else an `Error`. */
export function receiveError({ name, message, ...details }: SentError): Error {
  if (!isKnown(name)) return new Error(message);
  if (name === "RangeError") return new RangeError(message);
  return new CLASSES[name](message, details);
}

const isKnown = (name: string): name is Name => Object.hasOwn(CLASSES, name);
