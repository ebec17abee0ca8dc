import { cpSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../../base/index.ts";
import {
  BundleWriter,
  type CaseResult,
  type Comparison,
  type HexWord,
  resultsText,
  sortedResults,
} from "../../run/index.ts";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

const LOG = path.join(packageRoot, "harness/xtest/testdata/xtest-4.5.0-qemu-virt.console.raw");

const cleanups: (() => void)[] = [];
let root: string;
beforeEach(() => {
  root = temporaryFolder((remove) => cleanups.push(remove));
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

/** The least that is a bundle. */
function bundle(name: string, cases: readonly CaseResult[], boardType = "qemu-virt"): string {
  const dir = path.join(root, name);
  mkdirSync(dir);
  const facts = {
    board: "b",
    boardType,
    platform: "qemu",
    versions: {},
    images: {},
    packages: {},
    machine: {},
    hab: "unknown",
    huk: "unknown",
    rpmb: "unknown",
  };
  const info = {
    format: 1,
    id: name,
    lockstep: "0",
    node: "v20",
    command: [],
    seed: 1,
    startedAt: "",
    state: "complete",
    problems: [],
    facts: [facts],
    streams: [],
    redactions: [],
  };
  writeFileSync(path.join(dir, "run.json"), JSON.stringify(info));
  writeFileSync(path.join(dir, "results.json"), resultsText(sortedResults(cases)));
  return dir;
}

const CASE: CaseResult = { target: "b", suite: "s", id: "s.a", title: "A", status: "pass" };
const FAILED: CaseResult = { ...CASE, status: "fail", reason: "wrong\u001b[2Jness" };

test("bundles are compared, and the exit code says whether anything is worse", async () => {
  const [good, bad, none] = [bundle("good", [CASE]), bundle("bad", [FAILED]), bundle("none", [])];
  const same = await lockstep(["compare", good, good]);
  expect([same.code, same.stderr]).toEqual([0, ""]);
  expect(same.stdout.toString()).toContain("No worse: 0 new failures");

  const worse = await lockstep(["compare", good, bad]);
  expect(worse.code).toBe(1);
  expect(worse.stdout.toString()).toMatch(/New failures: 1\n {2}b {2}s\.a {2}pass → fail: wrong/);
  // What a board printed does not drive the terminal.
  expect(worse.stdout.toString()).not.toContain("\u001b[2J");

  expect((await lockstep(["compare", bad, good])).code).toBe(0);
  expect((await lockstep(["compare", good, none])).code).toBe(2);
});

test("runs of different board types are refused with the reason, unless forced", async () => {
  const [a, b] = [bundle("a", [CASE]), bundle("b", [CASE], "imx8mp-evk")];
  const refused = await lockstep(["compare", a, b]);
  expect(refused.code).toBe(2);
  expect(refused.stdout.toString()).toContain(
    "not comparable: board type of b: qemu-virt before, imx8mp-evk after",
  );
  expect(refused.stderr).toContain("--force");
  expect((await lockstep(["compare", a, b, "--force"])).code).toBe(0);
});

test("--json prints the whole comparison and nothing else", async () => {
  const { code, stdout, stderr } = await lockstep([
    "compare",
    bundle("good", [CASE]),
    bundle("bad", [FAILED]),
    "--json",
  ]);
  const comparison = JSON.parse(stdout.toString()) as Comparison;
  expect([code, stderr, comparison.newFailures.length]).toEqual([1, "", 1]);
  expect(comparison.exitCode).toBe(1);
});

test("a bundle is held against a raw console log", async () => {
  const cases = ["regression_1001", "regression_1002"].map((id): CaseResult => ({
    ...CASE,
    suite: "xtest",
    id: `xtest.${id}`,
    title: id,
  }));
  const dir = bundle("xtest", cases);
  const { code, stdout } = await lockstep(["compare", dir, LOG, "--json"]);
  const comparison = JSON.parse(stdout.toString()) as Comparison;
  expect(code).toBe(0);
  expect(comparison).toMatchObject({ newFailures: [], missing: [], unchanged: 2 });
  expect(comparison.newCases.length).toBe(137);
  expect(comparison.notes).toContainEqual(expect.stringContaining("no facts sheet"));
});

test.each([
  [["compare", "nope", "nope"], /there is no such bundle or log/],
  [["compare", "-", "-"], /only one side/],
  [["compare", "."], /missing required argument "B"/],
])("%j is a usage error", async (args, message) => {
  const { code, stderr } = await lockstep(args, { cwd: root });
  expect(code).toBe(2);
  expect(stderr).toMatch(message);
});

test("a folder that is no bundle, and a log without xtest, are named", async () => {
  const good = bundle("good", [CASE]);
  const folder = await lockstep(["compare", good, root]);
  expect([folder.code, folder.stderr]).toEqual([
    2,
    expect.stringContaining(`${root}: not a bundle of lockstep`),
  ]);
  const log = path.join(root, "log.raw");
  writeFileSync(log, Buffer.from([0, 1, 2, 255, 10]));
  const binary = await lockstep(["compare", good, log]);
  expect([binary.code, binary.stderr]).toEqual([2, expect.stringContaining(log)]);
});

/** The least that is a bundle, with the trace of its case: one call, answered with `count`. */
async function traced(name: string, count: HexWord): Promise<string> {
  const dir = bundle(name, [CASE]);
  const zeros: HexWord[] = ["0x0", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0"];
  const smc = { type: "smc", where: "conduit", guest: 0 } as const;
  const header = { type: "trace", format: 1, target: "b", caseId: "s.a", run: 0 } as const;
  const whose = { reference: "own/file#scenario", conduit: "direct", seed: 1, clauses: [] };
  const place = path.join(root, `${name}-writer`);
  const writer = await BundleWriter.create(
    place,
    { id: name, lockstep: "0", node: "v20", command: [], seed: 1 },
    { runtimeDir: path.join(root, "rt") },
  );
  writer.trace({
    header: { ...header, ...whose },
    records: [
      { ...smc, phase: "enter", registers: ["0xbf00ff00", ...zeros] },
      { ...smc, phase: "leave", registers: [count, ...zeros] },
      { type: "end", how: "done", value: null },
    ],
  });
  await writer.finish({ exitCode: 0 });
  for (const part of ["traces", "traces.json"]) {
    cpSync(path.join(place, part), path.join(dir, part), { recursive: true });
  }
  return dir;
}

test("traces that both bundles have are compared, and a divergence is exit code 1", async () => {
  const [before, same, other] = [
    await traced("t1", "0xc"),
    await traced("t2", "0xc"),
    await traced("t3", "0xe"),
  ];
  const equal = await lockstep(["compare", before, same]);
  expect(equal.stdout.toString()).toContain("Traces: 1 runs compared, 0 diverge.");
  expect(equal.code).toBe(0);
  const diverged = await lockstep(["compare", before, other]);
  expect(diverged.stdout.toString()).toContain(
    "b  s.a: guest 0, leave, CALLS_COUNT: a0 is 0xe, not 0xc [SMC-3.CALLS_COUNT]",
  );
  expect(diverged.code).toBe(1);
  const json = await lockstep(["compare", before, other, "--json"]);
  const { traces } = JSON.parse(json.stdout.toString()) as { traces: { compared: number } };
  expect(traces).toMatchObject({ compared: 1, divergences: [{ caseId: "s.a", echoes: 0 }] });
});

test("a trace is printed in canonical form, and one that there is not, or not any more, is an error", async () => {
  const dir = await traced("t4", "0xc");
  const printed = await lockstep(["report", "trace", dir, "--filter", "^s\\."]);
  expect(printed.stdout.toString()).toBe(
    [
      "s.a run 0 on b [direct]: own/file#scenario",
      "     1  g0 > CALLS_COUNT",
      "     2  g0 < CALLS_COUNT a0=0xc",
      "     3  end end=done value=null",
      "",
      "",
    ].join("\n"),
  );
  expect(printed.code).toBe(0);
  for (const args of [
    ["--filter", "nothing"],
    ["--board", "other"],
    ["--filter", "("],
  ]) {
    const none = await lockstep(["report", "trace", dir, ...args]);
    expect(none.code).toBe(2);
    if (args[1] !== "(") expect(none.stderr).toContain("traces of 1 cases on b");
  }
  const whole = await traced("t5", "0xc");
  rmSync(path.join(dir, "traces", "b", "s.a.jsonl.gz"));
  for (const args of [
    ["report", "trace", dir],
    ["compare", whole, dir],
  ]) {
    const { code, stderr } = await lockstep(args);
    expect([code, stderr]).toEqual([
      2,
      expect.stringContaining("the trace of s.a on b is damaged"),
    ]);
  }
  const bare = await lockstep(["report", "trace", bundle("t6", [CASE])]);
  expect([bare.code, bare.stderr]).toEqual([2, expect.stringContaining("has no traces")]);
});
