import {
  DeadlineError,
  InfrastructureError,
  InterruptedError,
  LockstepError,
  messageOf,
  TargetCrashError,
} from "../../base/index.ts";
import { type Console, quoteLines } from "../console/console.ts";

/** `error` with the board, the stage and the console's last lines in it; the kind of error stays. */
export function stageError(
  board: string,
  stage: string,
  error: unknown,
  console: Console,
): LockstepError {
  const given = error instanceof LockstepError ? error : undefined;
  if (given instanceof InterruptedError) return given;
  const lines = console.lastLines();
  const details = {
    where: given?.where ?? `console ${console.name}`,
    expected: given?.expected,
    seen: given?.seen ?? quoteLines(lines),
    next: given?.next ?? (lines.length === 0 ? SILENT : undefined),
    cause: error,
  };
  const clean = Object.fromEntries(
    Object.entries(details).filter(([, value]) => value !== undefined),
  );
  const way = `board ${board} did not reach ${stage}`;
  const reason = messageOf(error);
  if (given instanceof DeadlineError) return new DeadlineError(`${way} in time: ${reason}`, clean);
  if (given instanceof TargetCrashError) return new TargetCrashError(`${way}: ${reason}`, clean);
  if (given !== undefined && !(given instanceof InfrastructureError)) return given;
  return new InfrastructureError(`${way}: ${reason}`, clean);
}

const SILENT =
  "The console was silent: check the board's power, the console's device and baud rate, and that no jumper keeps the board in another boot mode.";
