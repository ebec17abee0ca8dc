import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { packageRoot } from "../harness/base/index.ts";
import { type Counts, show } from "./stages.ts";

/** Runs one Jest project of our own tests and counts what it reports. */
export async function jest(
  project: string,
  abort: AbortSignal,
  env: Record<string, string> = {},
): Promise<Counts> {
  const scratch = await mkdtemp(path.join(tmpdir(), "lockstep-jest-"));
  try {
    const outputFile = path.join(scratch, "result.json");
    const bin = path.join(packageRoot, "node_modules", "jest", "bin", "jest.js");
    const { exitCode } = await show(
      process.execPath,
      [
        "--no-warnings",
        "--experimental-vm-modules",
        bin,
        "--selectProjects",
        project,
        "--json",
        // A handle that a test left open must cost neither the count nor the lane's time.
        "--forceExit",
        `--outputFile=${outputFile}`,
        // Boards are run one at a time; most unit tests wait for programs that they started.
        ...(project === "unit" ? ["--maxWorkers=3"] : ["--runInBand"]),
      ],
      abort,
      { env, quiet: true },
    );
    const report = JSON.parse(await readFile(outputFile, "utf8")) as JestReport;
    const suites = report.numRuntimeErrorTestSuites;
    const failed = report.numFailedTests + suites;
    return {
      passed: report.numPassedTests,
      failed: exitCode !== 0 && failed === 0 ? 1 : failed,
      skipped: report.numPendingTests,
    };
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

interface JestReport {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numRuntimeErrorTestSuites: number;
}
