import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { BundleReader, BundleWriter, type FactsSheet } from "../harness/run/index.ts";
import { renderAll } from "./render.ts";
import { renderSummary } from "./summary.ts";
import { QEMU_FACTS } from "./testing/sample-bundle.ts";

let root: string;

beforeEach(() => {
  root = mkdtempSync(path.join(tmpdir(), "lockstep-storage-"));
});
afterEach(() => {
  rmSync(root, { recursive: true, force: true });
});

/** Summary and page of a run with one storage case on RPMB. */
async function reported(facts: Partial<FactsSheet>): Promise<{ summary: string; page: string }> {
  const dir = path.join(root, "out");
  const writer = await BundleWriter.create(dir, {
    id: "r",
    lockstep: "1",
    node: "22",
    command: ["lockstep"],
    seed: 1,
    boards: [],
  });
  writer.facts({ ...QEMU_FACTS, ...facts });
  writer.result({
    target: "qemu-virt",
    suite: "xtest",
    id: "xtest.regression_6001",
    title: "Test TEE_CreatePersistentObject",
    status: "pass",
    subcases: [{ id: "regression_6001.3", title: "Storage id: 80000100", status: "pass" }],
  });
  await writer.finish({ exitCode: 0, render: async (reader) => await renderAll(reader) });
  const reader = await BundleReader.open(dir);
  const page = readFileSync(path.join(dir, "report.html"), "utf8");
  return { summary: renderSummary(reader, { color: false }), page };
}

test("a storage result without proof of what was behind it is shown as such, and still counts as a pass", async () => {
  const { summary, page } = await reported({ rpmb: "unknown" });
  expect(summary).toMatch(/^Passed: qemu-virt: 1 pass\./);
  expect(summary).toContain(
    "\nStorage backend unproven:\n  1 × qemu-virt: what stands behind RPMB is not known: nothing that was seen tells what (xtest.regression_6001)\n",
  );
  expect(page).toMatch(
    /<h2>Storage backend unproven<\/h2>.*<b>qemu-virt<\/b>: what stands behind RPMB is not known.*regression_6001/s,
  );
});

test("a sheet that says what was behind it, and how that is known, leaves nothing to say; the counter stands there", async () => {
  const { summary, page } = await reported({
    rpmb: "real",
    rpmbEvidence: {
      how: ["tee-supplicant has /dev/mmcblk2rpmb open"],
      counter: { before: 7, after: 12, authentic: false },
    },
  });
  expect(summary).not.toContain("unproven");
  expect(page).not.toContain("Storage backend unproven");
  expect(page).toMatch(
    /RPMB: how that is known<\/th><td>tee-supplicant has \/dev\/mmcblk2rpmb open</,
  );
  expect(page).toMatch(/RPMB write counter<\/th><td>7 before, 12 after, as the part says</);
});
