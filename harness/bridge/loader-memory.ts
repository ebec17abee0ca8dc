import { BoardFileError, type Deadline } from "../base/index.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";
import type { RamWindow } from "./ram-window.ts";

/** A range of physical addresses, `to` not included, and what it is. */
interface Area {
  readonly from: number;
  readonly to: number;
  readonly what: string;
}

interface LoaderMemory {
  readonly banks: readonly Area[];
  readonly used: readonly Area[];
}

/** What `bdinfo` says twice with the same words is what it means: a bad line changes words. */
const ATTEMPTS = 8;
const ENOUGH = 2;
/** U-Boot's stack grows down from what it prints; more than it ever needs. */
const STACK = 1024 * 1024;

const HEX = "0x([0-9a-fA-F]{1,16})";
const BANK_START = new RegExp(`^-> start +=[ ]*${HEX}$`);
const BANK_SIZE = new RegExp(`^-> size +=[ ]*${HEX}$`);
/** What lies at the low end of U-Boot's own memory, of which everything up to the bank's end is its. */
const OWN = new RegExp(`^(relocaddr|sp start|irq_sp|fdt_blob|TLB addr) +=[ ]*${HEX}$`);
const RESERVED = new RegExp(`^ *reserved\\[\\d+\\]\\s+\\[${HEX}-${HEX}\\]`);

/**
 * Holds the RAM that a board file calls free against what the boot loader says about memory (`bdinfo`):
 * its DRAM, itself, and what it reserves. A boot loader that cannot say is believed. Throws
 * BoardFileError before anything has been written.
 */
export async function mustBeFree(
  prompt: LoaderPrompt,
  { free, where }: RamWindow,
  deadline: Deadline,
): Promise<void> {
  const { banks, used } = loaderMemory(await agreed(prompt, deadline));
  const window: Area = { from: free.base, to: free.base + free.size, what: "bridge.free_ram" };
  const bad = used.find((area) => area.from < window.to && window.from < area.to);
  if (bad !== undefined) {
    throw new BoardFileError(`bridge.free_ram overlaps ${bad.what}`, {
      where,
      expected: `RAM outside of ${shown(bad)}`,
      seen: shown(window),
      next: "Choose RAM that `bdinfo` at the boot loader's prompt shows as DRAM and does not show as used.",
    });
  }
  const inside = banks.some(({ from, to }) => from <= window.from && window.to <= to);
  if (banks.length === 0 || inside) return;
  throw new BoardFileError("bridge.free_ram is not the board's RAM", {
    where,
    expected: banks.map(shown).join(" or "),
    seen: shown(window),
    next: "Correct bridge.free_ram: `bdinfo` at the boot loader's prompt shows the DRAM.",
  });
}

/** The lines of `bdinfo` that came at least twice, or all where the first two times agree. */
async function agreed(prompt: LoaderPrompt, deadline: Deadline): Promise<readonly string[]> {
  const seen = new Map<string, number>();
  let before: string | undefined;
  for (let turn = 0; turn < ATTEMPTS; turn += 1) {
    const lines = (await prompt.run("bdinfo", deadline)).map((line) => line.trimEnd());
    const text = lines.join("\n");
    if (text === before) return lines;
    before = text;
    for (const line of new Set(lines)) seen.set(line, (seen.get(line) ?? 0) + 1);
  }
  return [...seen].filter(([, count]) => count >= ENOUGH).map(([line]) => line);
}

/** What the lines of `bdinfo` say, in any of the forms that U-Boot has had since 2018. */
export function loaderMemory(lines: readonly string[]): LoaderMemory {
  const banks: Area[] = [];
  const used: Area[] = [];
  const own: number[] = [];
  let start: number | undefined;
  for (const line of lines) {
    const [, begin] = BANK_START.exec(line) ?? [];
    const [, size] = BANK_SIZE.exec(line) ?? [];
    const [, , at] = OWN.exec(line) ?? [];
    const [, from, last] = RESERVED.exec(line) ?? [];
    if (begin !== undefined) start = Number.parseInt(begin, 16);
    else if (size !== undefined && start !== undefined) {
      const length = Number.parseInt(size, 16);
      if (length > 0) banks.push({ from: start, to: start + length, what: "DRAM" });
      start = undefined;
    } else if (at !== undefined) own.push(Number.parseInt(at, 16));
    else if (from !== undefined && last !== undefined) {
      const area = { from: Number.parseInt(from, 16), to: Number.parseInt(last, 16) + 1 };
      used.push({ ...area, what: "what the boot loader reserves" });
    }
  }
  for (const bank of banks) {
    const lowest = Math.min(...own.filter((at) => at >= bank.from && at < bank.to));
    if (!Number.isFinite(lowest)) continue;
    const from = Math.max(bank.from, lowest - STACK);
    used.push({ from, to: bank.to, what: "the boot loader itself" });
  }
  return { banks, used };
}

const shown = ({ from, to }: Area): string => `0x${from.toString(16)} to 0x${to.toString(16)}`;
