import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, jest, test } from "@jest/globals";
import { packageRoot } from "../../base/index.ts";
import { lockstep } from "../testing/run-cli.ts";

jest.setTimeout(300_000);

const folder = mkdtempSync(path.join(tmpdir(), "lockstep-examples-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const example = (name: string): string =>
  path.join(packageRoot, "dist", "docs", "examples", `${name}.js`);

interface Document {
  readonly cases: readonly { id: string; target: string; suite: string; status: string }[];
  readonly facts: readonly { board: string; machine: Record<string, string> }[];
}

async function runOn(name: string, ...options: string[]): Promise<Document> {
  const out = path.join(folder, name);
  const args = ["run", "--target", example(name), "--json", "--out", out, ...options];
  const run = await lockstep(args, { limitMs: 300_000 });
  return JSON.parse(run.stdout.toString()) as Document;
}

const statuses = ({ cases }: Document, target: string, suite: string): Record<string, string> =>
  Object.fromEntries(
    cases
      .filter((one) => one.target === target && one.suite === suite)
      .map((o) => [o.id, o.status]),
  );

const STRICT = ["--conduit", "vm", "--rules", "strict"];

test("docs/examples/direct-mapped: the suites run on a mediator of one's own and find what it lacks", async () => {
  const document = await runOn("direct-mapped", ...STRICT, "--suite", "mediator", "normal-world");
  const { facts } = document;
  expect(facts.find(({ board }) => board === "direct-mapped")?.machine).toEqual({
    "secure world": "Lockstep's",
    mediator: "direct-mapped",
  });
  const of = (target: string, suite: string): Set<string> =>
    new Set(Object.values(statuses(document, target, suite)));
  expect(of("emulated", "mediator").has("fail")).toBe(false);
  // Guests work behind it, and it is no mediator.
  expect(Object.keys(statuses(document, "direct-mapped", "normal-world"))).not.toEqual([]);
  expect(of("direct-mapped", "normal-world").has("pass")).toBe(true);
  expect(of("direct-mapped", "mediator")).toEqual(new Set(["pass", "fail", "skip"]));
});

test("docs/examples/other-build: the suites run on a secure world of one's own", async () => {
  const suites = ["smc-abi", "mediator", "fuzz", "rpmb"];
  const document = await runOn("other-build", ...STRICT, "--suite", ...suites);
  for (const suite of ["smc-abi", "mediator"]) {
    const all = Object.entries(statuses(document, "three-threads", suite));
    expect(all.length).toBeGreaterThan(5);
    expect(all.filter(([, status]) => status !== "pass" && status !== "skip")).toEqual([]);
  }
  // What never reaches a secure world of one's own is no pass of its.
  for (const suite of ["fuzz", "rpmb"]) {
    const seen = new Set(Object.values(statuses(document, "three-threads", suite)));
    expect(seen).toEqual(new Set(["skip"]));
  }
});

test.each([
  ["export const name = 'x';", "it has no object as default export"],
  ["export default { name: 'My TEE', createMediator() {} };", "`name` is not lower-case"],
  ["export default { name: 'x' };", "neither a secure world nor a mediator"],
  ["export default { name: 'x', createMediator: 1 };", "`createMediator` is not a function"],
  ["export default { name: 'x', conduits: ['smc'], createMediator() {} };", "`conduits` is not"],
  ["export default { name: 'emulated', createMediator() {} };", "two columns of this run"],
  ["import './missing.js';", "cannot be loaded"],
])("a module %j is refused before anything is created", async (source, text) => {
  const file = path.join(folder, "bad.mjs");
  writeFileSync(file, source);
  const run = await lockstep(["run", "--target", file], { cwd: folder });
  expect(run.stderr).toContain(text);
  expect(run.code).toBe(2);
});

test("a target file that is not there is named, and nothing of ours is", async () => {
  const run = await lockstep(["run", "--target", "absent.mjs"], { cwd: folder });
  expect(run.code).toBe(2);
  expect(run.stderr).toMatch(/absent\.mjs cannot be loaded\. seen: no such file\./);
  expect(run.stderr).not.toMatch(/own-target|imported from/);
});
