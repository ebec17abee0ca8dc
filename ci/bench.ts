import { benchConsole } from "../harness/board/index.ts";
import { benchStartup } from "../harness/cli/index.ts";
import { benchParser } from "../harness/xtest/index.ts";
import { benchFullXtest } from "./bench-xtest.ts";

// `npm run bench`: every figure is a ratio against a peer that is measured in the same run, in turns.
// One JSON document on stdout; exit code 1 where a ratio misses its bar.

interface Figure {
  readonly ratio: number;
}

type Entry =
  | (Figure & { readonly bar: string; readonly holds: boolean })
  | { readonly skipped: string };

function atMost(limit: number, figure: Figure): Entry {
  return { ...figure, bar: `<= ${limit}`, holds: figure.ratio <= limit };
}

function atLeast(limit: number, figure: Figure): Entry {
  return { ...figure, bar: `>= ${limit}`, holds: figure.ratio >= limit };
}

async function main(): Promise<number> {
  const results: Record<string, Entry> = {};
  const measure = (name: string, entry: Entry): void => {
    results[name] = entry;
    const text = "skipped" in entry ? `skipped: ${entry.skipped}` : entry.ratio.toFixed(3);
    process.stderr.write(`${name}: ${text}\n`);
  };
  measure("startup", atMost(2.5, benchStartup()));
  measure("xtestParser", atLeast(0.4, await benchParser()));
  const consoles = await benchConsole();
  if (consoles === undefined) {
    measure("console", { skipped: "python3 with its pty module is not installed" });
  } else {
    measure("consoleRoundTrip", atMost(1.3, consoles.roundTrip));
    measure("consoleBulk", atLeast(0.95, consoles.bulk));
  }
  const boards = (process.env["LOCKSTEP_BOARDS"] ?? "").split(/[\s,]+/);
  measure(
    "fullXtest",
    boards.includes("qemu-virt")
      ? atMost(1.03, await benchFullXtest())
      : { skipped: "two whole runs of xtest; LOCKSTEP_BOARDS does not name qemu-virt" },
  );
  process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  return Object.values(results).every((one) => "skipped" in one || one.holds) ? 0 : 1;
}

process.exit(await main());
