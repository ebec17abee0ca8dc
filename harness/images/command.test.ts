import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { expect, jest, test } from "@jest/globals";
import { InfrastructureError, InterruptedError } from "../base/index.ts";
import { mustRun, run } from "./command.ts";

// Programs are started here; a loaded machine takes its time.
jest.setTimeout(60_000);

const options = { env: process.env, abort: new AbortController().signal };

test("output, exit code, lines and log of a program are kept apart", async () => {
  const dir = await mkdtemp(path.join(tmpdir(), "lockstep-command-"));
  try {
    const lines: string[] = [];
    const log = path.join(dir, "log");
    const result = await run("sh", ["-c", "echo one; echo two >&2; exit 3"], {
      ...options,
      log,
      onLine: (line) => lines.push(line),
    });
    expect(result).toEqual({ exitCode: 3, stdout: "one\n", stderr: "two\n" });
    expect(lines.toSorted((a, b) => a.localeCompare(b))).toEqual(["one", "two"]);
    expect(await readFile(log, "utf8")).toContain("one\n");
  } finally {
    await rm(dir, { recursive: true });
  }
});

test("a program that is not there, and one that fails, are infrastructure errors", async () => {
  await expect(run("lockstep-no-such-program", [], options)).rejects.toThrow(
    "lockstep-no-such-program cannot be started",
  );
  const error = await mustRun(
    "making tea",
    "sh",
    ["-c", "echo no water >&2; exit 2"],
    options,
  ).catch((reason: unknown) => reason);
  expect(error).toBeInstanceOf(InfrastructureError);
  expect(error).toMatchObject({
    message: "making tea failed: sh ended with 2",
    seen: "no water",
  });
});

test("a full disk in a program's output is told as such", async () => {
  const script = "echo 'cc: write error: No space left on device' >&2; exit 1";
  await expect(mustRun("building", "sh", ["-c", script], options)).rejects.toMatchObject({
    next: expect.stringContaining("LOCKSTEP_CACHE") as unknown,
  });
});

test("an abort ends the program with all that it started", async () => {
  const abort = new AbortController();
  const pids: number[] = [];
  const script = "sleep 600 & echo $!; sleep 600";
  const running = run("sh", ["-c", script], {
    env: process.env,
    abort: abort.signal,
    onLine: (line) => {
      pids.push(Number(line));
      abort.abort();
    },
  });
  await expect(running).rejects.toThrow(InterruptedError);
  const [pid = 0] = pids;
  expect(pid).toBeGreaterThan(1);
  expect(await isGone(pid)).toBe(true);
});

/** True once no process, or only a zombie, has this id. */
async function isGone(pid: number): Promise<boolean> {
  const stat = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => undefined);
  return stat === undefined || / [ZX] /.test(stat);
}
