import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { silentProgress } from "../harness/base/index.ts";
import { prepareImage, type PreparedImage } from "../harness/images/index.ts";
import { BundleReader, readTimeline } from "../harness/run/index.ts";
import { cli } from "./cli.ts";
import { withHandQemu } from "./hand-qemu.ts";

const BOARD = "qemu-virt";
const CASES = 139;

export interface XtestTimes {
  /** Seconds from starting xtest to its end. */
  readonly byHand: number;
  readonly harness: number;
  readonly ratio: number;
}

/** Times the whole of xtest by hand (QEMU, ssh, nothing else) and through `lockstep run`. */
export async function benchFullXtest(): Promise<XtestTimes> {
  const abort = new AbortController().signal;
  const image = await prepareImage(BOARD, {
    env: process.env,
    progress: silentProgress,
    abort,
  });
  const byHand = await handSeconds(image);
  const harness = await harnessSeconds(abort);
  return { byHand, harness, ratio: harness / byHand };
}

async function handSeconds(image: PreparedImage): Promise<number> {
  return await withHandQemu(image, async (ssh) => {
    const started = performance.now();
    const output = await ssh("xtest");
    const seconds = (performance.now() - started) / 1000;
    if (!output.includes(`${CASES} test cases of which 0 failed`)) {
      throw new Error(`xtest by hand ended with: ${output.slice(-400)}`);
    }
    return seconds;
  });
}

async function harnessSeconds(abort: AbortSignal): Promise<number> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-bench-"));
  try {
    const out = path.join(scratch, "bundle");
    const args = ["run", "--board", BOARD, "--suite", "xtest", "--json", "--out", out];
    const run = await cli(args, abort);
    if (run.exitCode !== 0) throw new Error(`lockstep ${args.join(" ")} exited ${run.exitCode}`);
    const timeline = await readTimeline(await BundleReader.open(out));
    const times = run.document.cases.flatMap(({ target, id }) => {
      const time = target === BOARD ? timeline.case(target, id) : undefined;
      return time?.end === undefined ? [] : [{ start: time.start, end: time.end }];
    });
    const first = Math.min(...times.map(({ start }) => start));
    return (Math.max(...times.map(({ end }) => end)) - first) / 1000;
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}
