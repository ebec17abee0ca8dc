import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../../base/index.ts";
import { type CaseResult, type Comparison, resultsText, sortedResults } from "../../run/index.ts";
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
