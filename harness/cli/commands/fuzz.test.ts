import { readdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, jest, test } from "@jest/globals";
import { silentProgress } from "../../base/index.ts";
import { type CampaignResult, corpusFolder, readStored } from "../../lockstep/index.ts";
import type { CliContext } from "../context.ts";
import { makeStyle } from "../style.ts";
import { lockstep, temporaryFolder } from "../testing/run-cli.ts";
import { conclude } from "./fuzz.ts";

// Worker threads load the whole model first, on a machine that may be busy.
jest.setTimeout(120_000);

const cleanups: (() => void)[] = [];
let root: string;
beforeEach(() => {
  root = temporaryFolder((remove) => cleanups.push(remove));
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

const corpus = (name: string): string => path.join(corpusFolder, `${name}.json`);
const fuzz = (...args: string[]) => lockstep(["fuzz", ...args], { cwd: root, limitMs: 110_000 });

test("a campaign that finds nothing exits 0; its document does not depend on the workers", async () => {
  const documents = [];
  for (const jobs of ["1", "2"]) {
    const { code, stdout } = await fuzz("--seed", "4", "--runs", "20", "--jobs", jobs, "--json");
    expect(code).toBe(0);
    const { time, ...rest } = JSON.parse(stdout.toString()) as Record<string, unknown>;
    expect(time).toBeDefined();
    documents.push(rest);
  }
  expect(documents[1]).toEqual(documents[0]);
  expect(documents[0]).toMatchObject({ rules: "strict", seed: 4, programs: 20, findings: [] });
  expect(readdirSync(root)).toEqual([]);
});

test("known defects of xen are listed with their clauses and do not count", async () => {
  const { code, stdout } = await fuzz("--rules", "xen", "--seed", "4", "--runs", "20");
  expect(code).toBe(0);
  expect(stdout.toString()).toMatch(/rules xen, seed 4: 20 programs, \d+ SMCs \(\d+ a minute/);
  expect(stdout.toString()).toMatch(/known defect MED-068: quota-exact \(\d+ programs/);
  expect(stdout.toString()).toMatch(/\napart from known defects, no invariant is broken\n$/);
});

test("Ctrl-C ends with the summary so far and 130, and leaves nothing half-written", async () => {
  const { code, stdout, stderr } = await lockstep(["fuzz", "--seed", "1", "--time", "10m"], {
    cwd: root,
    with: (child) => {
      child.stderr?.once("data", () => setTimeout(() => child.kill("SIGINT"), 500));
    },
  });
  expect(code).toBe(130);
  expect(stdout.toString()).toMatch(/rules strict, seed 1: \d+ programs/);
  expect(stderr).toMatch(/the figures are those so far/);
  expect(readdirSync(root)).toEqual([]);
});

test("a replay prints its trace and what breaks; the rules are the file's unless others are asked for", async () => {
  const file = corpus("med-131-wedged-call");
  const xen = await fuzz("--replay", file);
  expect(xen.code).toBe(0);
  expect(xen.stdout.toString()).toMatch(/VIOLATION no-stuck-call/);
  expect(xen.stdout.toString()).toMatch(/broken in step 1: no-stuck-call, known defect .*MED-131/);
  const strict = await fuzz("--replay", file, "--rules", "strict", "--json");
  expect(strict.code).toBe(0);
  expect(JSON.parse(strict.stdout.toString())).toMatchObject({ rules: "strict", violations: [] });
});

test.each([
  [
    ["--board", "qemu-virt"],
    /"qemu-virt" cannot be fuzzed.* one normal world\. Take --board qemu-virt-hyp/,
  ],
  [["--board", "qemu-xen"], /"qemu-xen" cannot be fuzzed.* the mediator of xen in front of/],
  [["--runs", "0"], /Write a whole number from 1/],
  [["--jobs", "100000"], /Write a whole number from 1 to 256/],
  [["--time", "0s"], /Write a time above 0/],
  [["--time", "60"], /Write a time with its unit/],
  [["--seed", "-1"], /Write a whole number from 0/],
  [["--time", "soon"], /Write a time with its unit/],
  [["--rules", "lax"], /strict, xen, kvm/],
  [["--replay", "missing.json"], /missing\.json: cannot be read/],
])("%j is a usage error of one paragraph", async (args, expected) => {
  const { code, stdout, stderr } = await fuzz(...args);
  expect(code).toBe(2);
  expect(stderr).toMatch(expected);
  expect(stderr).not.toMatch(/\n {4}at /);
  expect(stdout.toString()).toBe("");
});

test("a hostile replay file is refused with the place of the error", async () => {
  const file = path.join(root, "hostile.json");
  const { program } = readStored(corpus("med-131-wedged-call"));
  const bad = {
    format: "lockstep-fuzz-program/1",
    rules: "xen",
    program: { ...program, steps: 7 },
  };
  writeFileSync(file, JSON.stringify(bad));
  const { code, stderr } = await fuzz("--replay", file);
  expect(code).toBe(2);
  expect(stderr).toMatch(/hostile\.json: is not a program: expected at program\.steps: a list/);
});

test("a violation exits 1 and is saved with the command that replays it", async () => {
  const out: string[] = [];
  let exit = 0;
  const context: CliContext = {
    env: {},
    cwd: root,
    out: (text) => out.push(text),
    err: () => {},
    progress: silentProgress,
    abort: new AbortController().signal,
    setExit: (code) => {
      exit = code;
    },
    streams: process,
    style: { out: makeStyle(false), err: makeStyle(false) },
  };
  const result: CampaignResult = {
    rules: "strict",
    seed: 4,
    batch: {
      programs: 1,
      steps: 1,
      smcs: 1,
      created: 1,
      refused: 0,
      deaths: 1,
      coverage: { clauses: [], ids: [] },
      findings: [],
    },
    findings: [
      { invariant: "quotas", program: 0, step: 3, seen: "17 calls", count: 2, excusedBy: [] },
    ],
    seconds: 1,
    cpuSeconds: 1,
    interrupted: false,
  };
  await conclude(context, { out: "found" }, result);
  expect(exit).toBe(1);
  const text = out.join("");
  expect(text).toMatch(/VIOLATION quotas: calls, buffers and pages stay within/);
  expect(text).toMatch(/seen: 17 calls \(2 programs, first program 0, step 3\)/);
  const [, file = ""] = /lockstep fuzz --rules strict --replay (\S+)/.exec(text) ?? [];
  expect(file).toBe(path.join("found", "strict-quotas.json"));
  const stored = readStored(path.join(root, file));
  expect(stored).toMatchObject({ rules: "strict", found: { invariant: "quotas" } });
  const { code } = await fuzz("--replay", file);
  expect(code).toBe(0);
});
