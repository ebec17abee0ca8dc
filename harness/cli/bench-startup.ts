import { spawnSync } from "node:child_process";
import path from "node:path";
import { InternalError, packageRoot } from "../base/index.ts";

export interface StartupFigures {
  /** Median of `lockstep --version` over median of `node -e 0`; the bar is 2.5. */
  readonly ratio: number;
  readonly versionMs: number;
  readonly nodeMs: number;
  readonly rounds: number;
}

/** Times `lockstep --version` against `node -e 0`, in turns so that both see the same machine. */
export function benchStartup(rounds = 15): StartupFigures {
  const main = path.join(packageRoot, "dist", "harness", "cli", "main.js");
  const version: number[] = [];
  const node: number[] = [];
  // The first round warms the page cache and is not counted.
  for (let round = -1; round < rounds; round += 1) {
    const nodeMs = timed(["-e", "0"]);
    const versionMs = timed([main, "--version"]);
    if (round < 0) continue;
    node.push(nodeMs);
    version.push(versionMs);
  }
  const [versionMs, nodeMs] = [median(version), median(node)];
  return { ratio: versionMs / nodeMs, versionMs, nodeMs, rounds };
}

function timed(args: readonly string[]): number {
  const start = performance.now();
  const { status } = spawnSync(process.execPath, args, { stdio: "ignore" });
  if (status !== 0) throw new InternalError(`node ${args.join(" ")} ended with ${status}`);
  return performance.now() - start;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
