import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { BundleReader, readTimeline } from "../harness/run/index.ts";
import { renderSummary } from "./summary.ts";
import { describeTotals } from "./totals.ts";
import { writeSampleBundle } from "./testing/sample-bundle.ts";

// Real files and processes on a machine that may be busy with boards.
jest.setTimeout(120_000);

let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-summary-"));
});

afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

async function sample(broken: boolean): Promise<BundleReader> {
  const dir = path.join(root, "out");
  const runtimeDir = path.join(root, "rt");
  await writeSampleBundle({ dir, runtimeDir, broken, cases: 30 });
  return await BundleReader.open(dir);
}

test("a good run: verdict, counts for each target and suite, skips by reason, where the bundle is", async () => {
  const reader = await sample(false);
  const { totals } = await readTimeline(reader);
  expect(renderSummary(reader, { color: false, cwd: root, totals })).toBe(
    [
      "Passed: qemu-virt: 30 pass. emulated: 4 pass, 30 skip.",
      "  emulated smc-abi  4 pass",
      "  emulated xtest    30 skip",
      "  qemu-virt xtest   30 pass",
      "  xtest on qemu-virt: 30 cases, 0 failed, 39397 subtests (recorded range 39300 to 39500)",
      "",
      "Skipped: 30",
      "  30 × emulated: not modelled (xtest.regression_1001, xtest.regression_1002, xtest.regression_1003, …)",
      "",
      "Clauses:",
      "       clauses  passed  failed  unit tests only  not reached  out of scope",
      "  MED        2       0       0                1            0             1",
      "  SMC        2       1       0                0            1             0",
      "",
      "Bundle: out",
      "Report: out/report.html",
      "",
    ].join("\n"),
  );
});

test("a bad run: everything that did not pass, with its reason and place", async () => {
  const text = renderSummary(await sample(true), { color: false });
  expect(text).toMatch(/^Target crashed: /);
  for (const line of [
    "  fail  qemu-virt  xtest.regression_1004",
    "      expected TEEC_SUCCESS, got 0xffff000c (regression_1000.c:642)",
    "  crash  qemu-virt  xtest.regression_1006",
    "  infrastructure error  qemu-virt  xtest.regression_1013",
    "Never seen: 1",
    "  xpass  qemu-virt  xtest.regression_1025",
    "Known divergences: 1",
    `Bundle: ${path.join(root, "out")}`,
  ]) {
    expect(text.split("\n")).toContain(line);
  }
  expect(text).not.toContain("\u001b");
});

test("without clauses in the bundle nothing is said of them", async () => {
  const reader = await sample(false);
  rmSync(path.join(reader.dir, "clauses.json"));
  expect(renderSummary(await BundleReader.open(reader.dir), { color: false })).not.toContain(
    "Clauses",
  );
});

test("colour is used only when it is asked for", async () => {
  const reader = await sample(true);
  expect(renderSummary(reader, { color: true })).toContain("\u001b[31m");
});

test("what a board printed cannot drive the terminal", async () => {
  const reader = await sample(false);
  const info = { ...reader.info, problems: ["seen: \u001b[2J\u0007\nnext"] };
  const { dir, results, catalogue } = reader;
  const text = renderSummary({ dir, info, results, catalogue }, { color: false });
  expect(text).toContain("problem: seen: \u241b[2J\u2407 / next");
});

test.each([
  [{ seen: 39_397, min: 39_396, max: 39_397 }, "39397 subtests (recorded range 39396 to 39397)"],
  [{ seen: 0, min: 39_396, max: 39_397 }, "0 subtests (outside the recorded range 39396 to 39397)"],
  [{ seen: 12 }, "12 subtests (no range recorded)"],
])("totals say how %j stands to what was recorded", (subtests, text) => {
  const run = { target: "b", suite: "xtest", cases: 139, failed: 0, skipped: 0, subtests };
  expect(describeTotals(run)).toBe(`139 cases, 0 failed, ${text}`);
});

test("totals of a filtered run have no subtests and say what was left out", () => {
  const run = { target: "b", suite: "xtest", cases: 2, failed: 1, skipped: 137 };
  expect(describeTotals(run)).toBe("2 cases, 1 failed, 137 filtered out");
});
