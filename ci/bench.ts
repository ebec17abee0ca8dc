import { mkdtempSync, rmSync } from "node:fs";
import path from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { benchConsole } from "../harness/board/index.ts";
import { benchStartup } from "../harness/cli/index.ts";
import { runCampaign } from "../harness/lockstep/index.ts";
import { benchPageList } from "../harness/mediator/index.ts";
import { benchBufferCount, benchVmCount, benchVmMemory } from "../harness/platform/index.ts";
import { benchBatch } from "../harness/provision/index.ts";
import { benchRpmb, benchRpmbFile } from "../harness/rpmb/index.ts";
import { benchParser } from "../harness/xtest/index.ts";
import { benchAgent } from "./bench-agent.ts";
import { benchBridge, benchScenarios } from "./bench-bridge.ts";
import { benchEmulatedInvoke, benchInvokeAgainstReal } from "./bench-invoke.ts";
import { benchFullXtest } from "./bench-xtest.ts";

// `npm run bench`: every figure is a ratio against a peer that is measured in the same run, in turns.
// One JSON document on stdout; exit code 1 where a ratio misses its bar.

interface Figure {
  readonly ratio: number;
}

type Entry =
  | (Figure & { readonly bar: string; readonly holds: boolean })
  | { readonly skipped: string; readonly emulated?: unknown }
  /** Without a peer to be held against. */
  | { readonly figures: Readonly<Record<string, number>> };

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
    process.stderr.write(`${name}: ${shown(entry)}\n`);
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
  measure("rpmbFrames", atLeast(0.6, benchRpmb()));
  measureRpmbFile(measure);
  measure("rpmbKeyBatch", atLeast(0.25, await benchBatch()));
  measure("pageList", atLeast(0.3, benchPageList()));
  measure("callCostByVms", atMost(1.3, benchVmCount()));
  measure("callCostByBuffers", atMost(1.3, benchBufferCount()));
  measure("vmMemory", atMost(1, benchVmMemory(collector())));
  measure("fuzzMillionSmcsPerMinute", atLeast(1, await benchFuzz()));
  const boards = (process.env["LOCKSTEP_BOARDS"] ?? "").split(/[\s,]+/);
  await measureInvoke(boards, measure);
  await measureBridge(boards, measure);
  measure(
    "fullXtest",
    boards.includes("qemu-virt")
      ? atMost(1.03, await benchFullXtest())
      : { skipped: "two whole runs of xtest; LOCKSTEP_BOARDS does not name qemu-virt" },
  );
  process.stdout.write(`${JSON.stringify(results, undefined, 2)}\n`);
  return Object.values(results).every((one) => !("holds" in one) || one.holds) ? 0 : 1;
}

function shown(entry: Entry): string {
  if ("skipped" in entry) return `skipped: ${entry.skipped}`;
  if ("ratio" in entry) return entry.ratio.toFixed(3);
  const figures = Object.entries(entry.figures);
  return figures.map(([name, value]) => `${name} ${Number(value.toPrecision(3))}`).join(", ");
}

/**
 * The part with its state in a file: beside the package, since the system's folder for temporary
 * files is often in memory, where keeping costs nothing. Without a bar, as it is the disk's speed and
 * what else uses it that decide.
 */
function measureRpmbFile(measure: (name: string, entry: Entry) => void): void {
  const folder = mkdtempSync(path.resolve(".bench-"));
  try {
    for (const [name, sync] of [
      ["rpmbFramesInFile", true],
      ["rpmbFramesInFileUnsynced", false],
    ] as const) {
      const { ratio, framesPerSecond } = benchRpmbFile(folder, sync);
      measure(name, { figures: { ratio, framesPerSecond } });
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Mediated invocations, against the same on real OP-TEE where its board may be used. */
async function measureInvoke(
  boards: readonly string[],
  measure: (name: string, entry: Entry) => void,
): Promise<void> {
  const names = { registered: "mediatedInvokeRegistered", temporary: "mediatedInvokeTemporary" };
  if (boards.includes("qemu-virt")) {
    const compared = await benchInvokeAgainstReal();
    measure(names.registered, atLeast(100, compared.registered));
    measure(names.temporary, atLeast(100, compared.temporary));
    return;
  }
  const alone = await benchEmulatedInvoke();
  const skipped = "needs real OP-TEE; LOCKSTEP_BOARDS does not name qemu-virt";
  measure(names.registered, { skipped, emulated: alone.registered });
  measure(names.temporary, { skipped, emulated: alone.temporary });
}

/** SMCs, memory and scenarios of boards that stand at their boot loader, where they may be used. */
async function measureBridge(
  boards: readonly string[],
  measure: (name: string, entry: Entry) => void,
): Promise<void> {
  const names = {
    sharedRam: "smcSharedRam",
    console: "smcConsole",
    memory: "bridgedMemory",
    agent: "smcAgent",
    agentWireSmc: "agentSmcOf115200Baud",
    agentWireMemory: "agentMemoryOf115200Baud",
    agentMemory: "agentMemory",
  };
  if (boards.includes("qemu-virt")) {
    const { sharedRam, console: overConsole, memory } = await benchBridge();
    measure(names.sharedRam, atLeast(0.7, sharedRam));
    measure(names.console, atLeast(0.8, overConsole));
    measure(names.memory, { figures: memory });
    const agent = await benchAgent();
    // No wire is as fast as a pty, and the loop by hand takes any bytes for an answer: no bar.
    measure(names.agent, { figures: agent.smc });
    measure(names.agentWireSmc, atLeast(0.8, agent.wireSmc));
    measure(names.agentWireMemory, atLeast(0.8, agent.wireMemory));
    measure(names.agentMemory, { figures: agent.memory });
  } else {
    const skipped = "needs real OP-TEE; LOCKSTEP_BOARDS does not name qemu-virt";
    for (const name of Object.values(names)) measure(name, { skipped });
  }
  measure(
    "bridgedScenarios",
    boards.includes("qemu-virt-hyp")
      ? { figures: { ...(await benchScenarios()) } }
      : { skipped: "needs real OP-TEE; LOCKSTEP_BOARDS does not name qemu-virt-hyp" },
  );
}

/**
 * Half a minute of a campaign after its warm-up: millions of SMCs in a minute of two cores, by
 * processor time, so that what else the machine does costs nothing.
 */
async function benchFuzz(): Promise<
  Figure & { readonly smcs: number; readonly cpuSeconds: number }
> {
  const started = performance.now();
  let before: { readonly smcs: number; readonly cpu: NodeJS.CpuUsage } | undefined;
  const { batch } = await runCampaign({
    rules: "strict",
    seed: 1,
    timeMs: 40_000,
    jobs: 2,
    onProgress: ({ smcs }) => {
      if (performance.now() - started > 10_000) before ??= { smcs, cpu: process.cpuUsage() };
    },
  });
  const { user, system } = process.cpuUsage(before?.cpu);
  const cpuSeconds = (user + system) / 1e6;
  const smcs = batch.smcs - (before?.smcs ?? 0);
  return { ratio: ((smcs / (cpuSeconds / 2)) * 60) / 1e6, smcs, cpuSeconds };
}

/** The engine's garbage collector, which is hidden unless asked for. */
function collector(): () => void {
  setFlagsFromString("--expose-gc");
  return runInNewContext("gc") as () => void;
}

process.exit(await main());
