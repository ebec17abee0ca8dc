import type { FactsSheet } from "../model.ts";

/** One fact in which two sheets differ. */
export interface FactDifference {
  /** `board type`, `optee`, `image bios`, `package optee-os`. */
  readonly fact: string;
  readonly before: string;
  readonly after: string;
  /** Results under such a difference do not speak of the same thing. */
  readonly decisive: boolean;
}

/** Versions that decide which cases exist and what they expect; compared by major and minor. */
const DECISIVE_VERSIONS = new Set(["xtest", "optee"]);
const UNKNOWN = "unknown";

/**
 * Where two facts sheets differ. Decisive are board type, platform (emulated, qemu, hardware), what
 * stands behind a board's RPMB, and the major.minor versions of xtest and OP-TEE. What one side does not know
 * is never held against the other.
 */
export function factDifferences(before: FactsSheet, after: FactsSheet): FactDifference[] {
  const out: FactDifference[] = [];
  const add = (fact: string, a: string, b: string, decisive: boolean): void => {
    if (a !== b && a !== UNKNOWN && b !== UNKNOWN)
      out.push({ fact, before: a, after: b, decisive });
  };
  add("board type", before.boardType, after.boardType, true);
  add("platform", before.platform, after.platform, true);
  add("RPMB", before.rpmb, after.rpmb, before.platform !== "emulated");
  add("HAB", before.hab, after.hab, false);
  add("HUK", before.huk, after.huk, false);
  for (const [name, a, b] of both(before.versions, after.versions)) {
    add(name, a, b, DECISIVE_VERSIONS.has(name) && majorMinor(a) !== majorMinor(b));
  }
  const lists = [
    ["machine", before.machine, after.machine],
    ["image", before.images, after.images],
    ["package", before.packages, after.packages],
  ] as const;
  for (const [label, a, b] of lists) {
    for (const [name, x, y] of both(a, b)) add(`${label} ${name}`, x, y, false);
  }
  return out;
}

function both(
  a: Readonly<Record<string, string>>,
  b: Readonly<Record<string, string>>,
): [string, string, string][] {
  const names = [...new Set([...Object.keys(a), ...Object.keys(b)])].toSorted();
  return names.map((name) => [name, a[name] ?? UNKNOWN, b[name] ?? UNKNOWN]);
}

/** `4.5` of `4.5.0-rc1`; the whole text where there is no such number. */
function majorMinor(version: string): string {
  const found = /(\d+)\.(\d+)/.exec(version);
  return found === null ? version : `${found[1]}.${found[2]}`;
}
