import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { InfrastructureError, packageRoot } from "../base/index.ts";
import { acquireBoardLock } from "./lock.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let runtimeDir: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  runtimeDir = mkdtempSync(path.join(tmpdir(), "lockstep-lock-"));
});

afterEach(() => {
  for (const child of children.splice(0)) child.kill("SIGKILL");
  rmSync(runtimeDir, { recursive: true, force: true });
});

const MODULE = path.join(packageRoot, "dist", "harness", "run", "lock.js");

/** A process that takes the lock, tells `held` or `refused`, and keeps it until it is killed. */
function holder(board: string): ChildProcess {
  const source = `
    const { acquireBoardLock } = await import(${JSON.stringify(MODULE)});
    try {
      await acquireBoardLock(${JSON.stringify(board)}, {
        runtimeDir: ${JSON.stringify(runtimeDir)}, command: "lockstep run --board x",
      });
      console.log("held");
      setInterval(() => {}, 1000);
    } catch (error) {
      console.log("refused");
    }`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  children.push(child);
  return child;
}

async function firstWord(child: ChildProcess): Promise<string> {
  if (child.stdout === null) throw new Error("no stdout");
  const [chunk] = (await once(child.stdout, "data")) as [Buffer];
  return chunk.toString("utf8").trim();
}

test("a second run on the same board is refused and told who holds it", async () => {
  const child = holder("imx8mp");
  expect(await firstWord(child)).toBe("held");
  const refused = acquireBoardLock("imx8mp", { runtimeDir });
  await expect(refused).rejects.toThrow(InfrastructureError);
  await expect(refused).rejects.toThrow(/board imx8mp is in use by another run/);
  await expect(refused).rejects.toMatchObject({
    exitCode: 3,
    seen: expect.stringMatching(
      new RegExp(`process ${child.pid} \\(lockstep run --board x\\) has held it since \\d{4}-`),
    ),
  });
});

test("another board is free meanwhile", async () => {
  expect(await firstWord(holder("one"))).toBe("held");
  const lock = await acquireBoardLock("two", { runtimeDir });
  await lock.release();
});

test("a holder that is killed leaves no lock behind", async () => {
  const child = holder("imx8mp");
  expect(await firstWord(child)).toBe("held");
  child.kill("SIGKILL");
  await once(child, "exit");
  const lock = await acquireBoardLock("imx8mp", { runtimeDir });
  await lock.release();
});

test("a released lock can be taken again, and releasing twice does no harm", async () => {
  const lock = await acquireBoardLock("imx8mp", { runtimeDir });
  await expect(acquireBoardLock("imx8mp", { runtimeDir })).rejects.toThrow(InfrastructureError);
  await lock.release();
  await lock.release();
  const again = await acquireBoardLock("imx8mp", { runtimeDir });
  await again.release();
});

test("of many processes that want a board at once exactly one gets it", async () => {
  const words = await Promise.all(Array.from({ length: 8 }, () => firstWord(holder("wanted"))));
  expect(words.toSorted()).toEqual(["held", ...Array.from({ length: 7 }, () => "refused")]);
});

test("a note of a process that is gone, or whose id was given to another, is no lock", async () => {
  const first = await acquireBoardLock("imx8mp", { runtimeDir });
  const note = path.join(runtimeDir, readdirSync(runtimeDir)[0] ?? "");
  await first.release();
  for (const content of [
    "garbage",
    "{}",
    JSON.stringify({ pid: 2 ** 22 + 1, start: "1", command: "x", since: "y" }),
    // Process 1 lives, but did not start then.
    JSON.stringify({ pid: 1, start: "999999999999", command: "x", since: "y" }),
  ]) {
    writeFileSync(note, content);
    const lock = await acquireBoardLock("imx8mp", { runtimeDir });
    await lock.release();
  }
});

test("where no note can be written the lock holds all the same", async () => {
  const nowhere = "/proc/nowhere";
  const lock = await acquireBoardLock("imx8mp", { runtimeDir: nowhere });
  await expect(acquireBoardLock("imx8mp", { runtimeDir: nowhere })).rejects.toMatchObject({
    seen: "a living process holds its lock",
  });
  await lock.release();
});
