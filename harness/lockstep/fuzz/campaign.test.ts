import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { runCampaign } from "./campaign.ts";
import { corpusFiles, corpusFolder } from "./corpus.ts";
import { replay } from "./replay.ts";
import { readStored, STORED_FORMAT, type StoredProgram, writeStored } from "./stored.ts";

/** Worker threads load the whole model first, on a machine that may be busy. */
const PATIENCE_MS = 120_000;

const folder = mkdtempSync(path.join(tmpdir(), "lockstep-fuzz-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test(
  "what a campaign finds does not depend on the number of workers",
  async () => {
    const [one, three] = [
      await runCampaign({ rules: "xen", seed: 3, runs: 50, jobs: 1 }),
      await runCampaign({ rules: "xen", seed: 3, runs: 50, jobs: 3 }),
    ];
    const same = ({ batch, findings }: typeof one): unknown => ({ batch, findings });
    expect(same(three)).toEqual(same(one));
    expect(one.batch.programs).toBe(50);
    expect(one.findings.length).toBeGreaterThan(3);
    expect(one.findings.every(({ excusedBy }) => excusedBy.length > 0)).toBe(true);
  },
  PATIENCE_MS,
);

test(
  "an interrupted campaign starts no further program and says that it was interrupted",
  async () => {
    const controller = new AbortController();
    const result = await runCampaign({
      rules: "strict",
      seed: 1,
      jobs: 2,
      abort: controller.signal,
      onProgress: () => controller.abort(),
    });
    expect(result.interrupted).toBe(true);
    expect(result.batch.programs).toBeGreaterThan(0);
    expect(result.batch.programs).toBeLessThan(200);
  },
  PATIENCE_MS,
);

const minimal: StoredProgram = {
  format: STORED_FORMAT,
  rules: "strict",
  program: {
    machine: { world: "model", seed: 0, threads: 2, guests: 4, cache: true },
    steps: [{ step: { do: "destroy", vm: 0 }, with: {} }],
  },
};

test("a program survives being written and read, under a name of its own", () => {
  const first = writeStored(folder, "strict-quotas", minimal);
  const second = writeStored(folder, "strict-quotas", minimal);
  expect(readStored(first)).toEqual(minimal);
  expect([first, second].map((file) => path.basename(file))).toEqual([
    "strict-quotas.json",
    "strict-quotas-2.json",
  ]);
  expect(readdirSync(folder).filter((name) => name.endsWith(".tmp"))).toEqual([]);
});

test.each([
  ["no JSON", "{", /is not JSON/],
  ["a list", "[]", /expected at the file: an object/],
  ["another format", JSON.stringify({ ...minimal, format: "x" }), /format: one of/],
  ["an unknown field", JSON.stringify({ ...minimal, shell: "rm" }), /shell: no such field/],
  [
    "a step that is none",
    JSON.stringify({ ...minimal, program: { ...minimal.program, steps: [{}] } }),
    /program\.steps\[0\]\.step/,
  ],
  [
    "too many steps",
    JSON.stringify({ ...minimal, program: { ...minimal.program, steps: Array(5000).fill(0) } }),
    /program\.steps: a list of 0 to 4096 entries/,
  ],
  ["a prototype", `{"__proto__":{"x":1},${JSON.stringify(minimal).slice(1)}`, /__proto__/],
])("a replay file that is %s is refused with the place of the error", (_name, bytes, expected) => {
  const file = path.join(folder, "hostile.json");
  writeFileSync(file, bytes);
  expect(() => readStored(file)).toThrow(expected);
  expect(() => readStored(path.join(folder, "nothing.json"))).toThrow("cannot be read");
  expect(() => readStored(folder)).toThrow("is not a file");
});

test("a replay tells every SMC, the mediator's decisions and the violation, the same each time", () => {
  const { program } = readStored(path.join(corpusFolder, "med-131-wedged-call.json"));
  const traces = [0, 1].map(() => {
    const lines: string[] = [];
    expect(replay(program, "xen", (line) => lines.push(line)).length).toBeGreaterThan(0);
    return lines;
  });
  expect(traces[0]).toEqual(traces[1]);
  const text = (traces[0] ?? []).join("\n");
  expect(text).toMatch(/VM 1 CALL_WITH_ARG .*\(OPEN_SESSION\)/);
  expect(text).toMatch(/secure world: <- RPC_ALLOC/);
  expect(text).toMatch(/mediator: MED-131/);
  expect(text).toMatch(/VIOLATION no-stuck-call/);
  expect(replay(program, "strict")).toEqual([]);
});

test("the corpus has a program for each defect of the Xen mediator that breaks an invariant", () => {
  const covered = new Set(
    corpusFiles().flatMap(
      (name) => readStored(path.join(corpusFolder, `${name}.json`)).clauses ?? [],
    ),
  );
  for (const clause of [
    "MED-046",
    "MED-052",
    "MED-067",
    "MED-068",
    "MED-085",
    "MED-086",
    "MED-090",
    "MED-106",
    "MED-107",
    "MED-123",
    "MED-124",
    "MED-131",
    "MED-135",
    "MED-141",
    "MED-147",
    "MED-166",
  ]) {
    expect([...covered]).toContain(clause);
  }
});
