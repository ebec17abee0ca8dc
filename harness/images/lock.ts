import { spawn } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { InfrastructureError, InterruptedError, makeFolder } from "../base/index.ts";

/** Exit code of flock(1) when somebody else holds the lock; chosen here. */
const HELD = 75;

/**
 * Runs `work` while holding an exclusive lock on `file`, waiting for it if another process has it.
 * The lock is the kernel's (flock), held by a small child that ends when this process does, however
 * it dies: no stale lock can remain. `onWait` is told who holds it, where known.
 */
export async function withLock<T>(
  file: string,
  options: { abort: AbortSignal; onWait: (holder: string) => void },
  work: () => Promise<T>,
): Promise<T> {
  makeFolder(path.dirname(file));
  const release =
    (await acquire(file, ["--nonblock"], options.abort)) ??
    (await waitFor(file, options.abort, options.onWait));
  try {
    await writeFile(`${file}.holder`, `process ${process.pid}`).catch(() => {});
    return await work();
  } finally {
    await release();
  }
}

async function waitFor(
  file: string,
  abort: AbortSignal,
  onWait: (holder: string) => void,
): Promise<() => Promise<void>> {
  onWait(await readFile(`${file}.holder`, "utf8").catch(() => "another process"));
  const release = await acquire(file, [], abort);
  if (release !== undefined) return release;
  throw new InfrastructureError("the image lock could not be taken", { where: file });
}

async function acquire(
  file: string,
  flags: readonly string[],
  abort: AbortSignal,
): Promise<(() => Promise<void>) | undefined> {
  if (abort.aborted) throw new InterruptedError("stopped while waiting for another build");
  return await new Promise((resolve, reject) => {
    const child = spawn(
      "flock",
      [...flags, "--conflict-exit-code", String(HELD), file, "sh", "-c", "echo held; exec cat"],
      { stdio: ["pipe", "pipe", "ignore"], detached: true },
    );
    const ended = new Promise<void>((done) => {
      child.once("close", () => {
        done();
      });
    });
    const onAbort = (): void => {
      child.kill();
    };
    abort.addEventListener("abort", onAbort, { once: true });
    // A child that ended early breaks the pipe; its close event says what happened.
    child.stdin.on("error", () => {});
    child.once("error", (error) => {
      abort.removeEventListener("abort", onAbort);
      reject(
        new InfrastructureError("flock cannot be started", {
          next: "Install the package util-linux",
          cause: error,
        }),
      );
    });
    child.once("close", (code) => {
      abort.removeEventListener("abort", onAbort);
      if (abort.aborted) reject(new InterruptedError("stopped while waiting for another build"));
      else if (code === HELD) resolve(undefined);
      else reject(new InfrastructureError(`flock ended with ${code}`, { where: file }));
    });
    child.stdout.once("data", () => {
      abort.removeEventListener("abort", onAbort);
      resolve(async () => {
        child.stdin.end();
        await ended;
      });
    });
  });
}
