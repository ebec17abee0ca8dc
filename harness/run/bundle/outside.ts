import { lstatSync, readFileSync } from "node:fs";
import { messageOf, UsageError } from "../../base/index.ts";
import { type Check, ShapeError } from "./check.ts";

export function exists(file: string): boolean {
  return lstatSync(file, { throwIfNoEntry: false }) !== undefined;
}

/** Refuses links, devices and pipes: a bundle from elsewhere could make us read or hang on anything. */
export function requirePlainFile(file: string): { readonly size: number } {
  const stat = lstatSync(file);
  if (!stat.isFile()) throw new UsageError("is not a plain file", { where: file });
  return stat;
}

/** Throws UsageError for what is not a plain file of at most `max` bytes that holds what `check` takes. */
export function readJson<T>(file: string, max: number, check: Check<T>): T {
  const { size } = requirePlainFile(file);
  if (size > max) {
    throw new UsageError(`is larger than ${max / 1024 / 1024} MiB`, { where: file });
  }
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`cannot be read: ${messageOf(error)}`, { where: file, cause: error });
  }
  return parse(text, file, check);
}

/** JSON that `check` takes; `where` names it in the UsageError for anything else. */
export function parse<T>(text: string, where: string, check: Check<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`is damaged: ${messageOf(error)}`, {
      where,
      next: "The bundle was changed after it was written, or copied only in part; take it from its origin again",
      cause: error,
    });
  }
  const format = (value as { format?: unknown } | null)?.format;
  if (typeof format === "number" && format > 1) {
    throw new UsageError(`was written in bundle format ${format}, by a newer lockstep`, {
      where,
      expected: "format 1",
      next: "Read it with that version or a later one",
    });
  }
  try {
    return check(value, "");
  } catch (error) {
    if (!(error instanceof ShapeError)) throw error;
    throw new UsageError(`is not what lockstep writes at ${error.at || "its top"}`, {
      where,
      expected: error.expected,
      seen: error.seen,
      cause: error,
    });
  }
}
