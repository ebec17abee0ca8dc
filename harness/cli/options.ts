import { InvalidArgumentError } from "commander";
import { UsageError } from "../base/index.ts";
import type { CliContext } from "./context.ts";

/**
 * The board to work on: the one named, else LOCKSTEP_BOARD. Throws UsageError where there is neither,
 * with `example` as a command line that names one.
 */
export function boardName(
  given: string | undefined,
  context: CliContext,
  command: string,
  example = `${command} qemu-virt`,
): string {
  const name = given ?? context.env["LOCKSTEP_BOARD"];
  if (name !== undefined && name !== "") return name;
  throw new UsageError(`\`${command}\` needs a board`, {
    next: `Name one, e.g. \`lockstep ${example}\`, or set LOCKSTEP_BOARD; \`lockstep boards\` lists them.`,
  });
}

const UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Option parser for a time with its unit: `500ms`, `60s`, `5m`; the value is in milliseconds. */
export function parseDuration(text: string): number {
  const [, count, unit = ""] = /^(\d{1,9}(?:\.\d{1,3})?)(ms|s|m|h)$/.exec(text) ?? [];
  const scale = UNITS[unit];
  if (count === undefined || scale === undefined) {
    throw new InvalidArgumentError("Write a time with its unit, e.g. 500ms, 60s or 5m.");
  }
  return Math.round(Number(count) * scale);
}
