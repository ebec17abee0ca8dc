import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, describe, expect, jest, test } from "@jest/globals";
import { packageRoot, Random } from "../../base/index.ts";
import { BundleReader } from "./reader.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let root: string;
let dir: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-survival-"));
  dir = path.join(root, "out");
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

const MODULE = path.join(packageRoot, "dist", "harness", "run", "index.js");

/** A run that writes as fast as it can and tells on stdout how it ended. */
function writerSource(folder: string, cases: number): string {
  return `
    const { BundleWriter } = await import(${JSON.stringify(MODULE)});
    const settings = { runtimeDir: ${JSON.stringify(path.join(root, "rt"))}, flushMs: 1 };
    let warned;
    const writer = await BundleWriter.create(${JSON.stringify(folder)},
      { id: "run-1", lockstep: "0", node: "0", command: [], seed: 1 },
      { ...settings, onFailure: (error) => { warned = error.message; } });
    console.log("started");
    try {
      for (let i = 0; i < ${cases}; i++) {
        const offsets = { normal: i * 1000 };
        writer.event({ type: "case-start", target: "b", id: "s." + i, offsets });
        writer.raw("b", "normal", Buffer.alloc(1000, "x"));
        if (i % 50 === 0) writer.problem("problem " + i);
        if (i % 10 === 0) {
          const header = { type: "trace", format: 1, target: "b", caseId: "s." + i, run: 0,
            reference: "s/a#b", conduit: "vm", seed: 1, clauses: [] };
          writer.trace({ header, records: [{ type: "end", how: "done", value: i }] });
        }
        writer.event({ type: "case-end", target: "b", id: "s." + i, status: "pass", offsets });
        writer.result({ target: "b", suite: "s", id: "s." + i, title: "t", status: "pass" });
        if (i % 10 === 0) await new Promise((resolve) => setTimeout(resolve, 1));
      }
      await writer.finish({ exitCode: 0 });
      console.log(JSON.stringify({ finished: true }));
    } catch (error) {
      const { name, message, where, next } = error;
      console.log(JSON.stringify({ finished: false, name, message, where, next, warned }));
    }`;
}

function start(source: string): ChildProcess {
  return spawn(process.execPath, ["--input-type=module", "-e", source], {
    stdio: ["ignore", "pipe", "inherit"],
  });
}

test("killed at any moment, a run leaves a readable bundle that says it is incomplete", async () => {
  const random = new Random(20260105);
  for (let round = 0; round < 8; round++) {
    rmSync(dir, { recursive: true, force: true });
    const child = start(writerSource(dir, 1_000_000));
    if (child.stdout === null) throw new Error("no stdout");
    await once(child.stdout, "data");
    await new Promise((resolve) => setTimeout(resolve, random.below(120)));
    child.kill("SIGKILL");
    await once(child, "exit");
    const reader = await BundleReader.open(dir);
    expect(reader.info.state).toBe("running");
    expect(reader.incomplete).toBe(true);
    let ended = 0;
    for await (const event of reader.events()) if (event.type === "case-end") ended += 1;
    const passed = reader.results.cases.filter((one) => one.status === "pass").length;
    // A result follows its case-end at once: at most one was lost between the two.
    expect(ended - passed).toBeGreaterThanOrEqual(0);
    expect(ended - passed).toBeLessThanOrEqual(1);
    for (const { id, status } of reader.results.cases) {
      const traces = await reader.traces("b", id);
      if (status !== "pass" || Number(id.slice(2)) % 10 !== 0) continue;
      expect(traces[0]?.records).toEqual([
        { type: "end", how: "done", value: Number(id.slice(2)) },
      ]);
    }
    const missed = reader.results.cases.filter((one) => one.status === "miss").length;
    expect(missed).toBeLessThanOrEqual(1);
  }
});

interface Ending {
  readonly finished: boolean;
  readonly name?: string;
  readonly message?: string;
  readonly where?: string;
  readonly next?: string;
  readonly warned?: string;
}

/** Runs the writer under a shell prefix and returns what it printed last. */
function runUnder(shell: string, source: string): Ending {
  const run = spawnSync(
    "sh",
    ["-c", `${shell} exec "$0" --input-type=module -e "$1"`, process.execPath, source],
    { encoding: "utf8" },
  );
  const last = run.stdout.trim().split("\n").at(-1) ?? "";
  return JSON.parse(last) as Ending;
}

describe("a disk that takes no more", () => {
  test("ends the run with an error of the lab, and the bundle stays incomplete (file size limit)", async () => {
    // 200 blocks of 512 bytes: the first file to reach 100 kB fails with EFBIG.
    const ending = runUnder("ulimit -f 200;", writerSource(dir, 2000));
    expect(ending).toMatchObject({
      finished: false,
      name: "InfrastructureError",
      message: "cannot write the bundle: the file size limit is reached (ulimit -f)",
      where: dir,
      warned: "cannot write the bundle: the file size limit is reached (ulimit -f)",
    });
    const reader = await BundleReader.open(dir);
    expect(reader.info.state).toBe("running");
    expect(reader.results.cases.length).toBeGreaterThan(0);
  });

  const mount = mountCommand();
  (mount === undefined ? test.skip : test)(
    `says that the disk is full and what to do (a small tmpfs${mount === undefined ? "; skipped: mounting one is not allowed here" : ""})`,
    () => {
      mkdirSync(dir);
      const inner = path.join(dir, "bundle");
      const list = path.join(root, "left");
      const source = `${writerSource(inner, 2000)}
        const { cpSync } = await import("node:fs");
        cpSync(${JSON.stringify(inner)}, ${JSON.stringify(list)}, { recursive: true });`;
      const script = `mount -t tmpfs -o size=256k tmpfs ${dir} && exec "$0" --input-type=module -e "$1"`;
      const [program = "", ...args] = mount ?? [];
      const run = spawnSync(program, [...args, "sh", "-c", script, process.execPath, source], {
        encoding: "utf8",
      });
      const last = run.stdout.trim().split("\n").at(-1) ?? "";
      expect(JSON.parse(last)).toMatchObject({
        finished: false,
        name: "InfrastructureError",
        message: "cannot write the bundle: the disk is full",
        where: inner,
        next: expect.stringMatching(/Free space there or choose another folder with --out/),
      });
      // No half-written temporary file, no results.json that could be taken for the whole.
      expect(readdirSync(list).toSorted()).toEqual([
        "console-normal.raw",
        "events.jsonl",
        "run.json",
        "traces",
      ]);
    },
  );
});

/** How this machine lets us mount a tmpfs of our own in a namespace of our own, if it does. */
function mountCommand(): string[] | undefined {
  return [
    ["unshare", "--mount"],
    ["unshare", "--mount", "--map-root-user"],
  ].find(([program = "", ...args]) => {
    const probe = spawnSync(program, [...args, "mount", "-t", "tmpfs", "tmpfs", tmpdir()]);
    return probe.status === 0;
  });
}
