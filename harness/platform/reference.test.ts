import { afterEach, expect, test } from "@jest/globals";
import { mkdtemp, mkdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { BoardConfig } from "../board/index.ts";
import { EmulatedTarget, loadScenario, parseReference, Skipped } from "./index.ts";

const board = (conduits: BoardConfig["conduits"]): BoardConfig => ({
  name: "emulated",
  type: "emulated",
  description: "",
  file: "",
  platform: "emulated",
  soc: "model",
  onExit: "off",
  expendable: false,
  lifeCycle: "unknown",
  conduits,
  consoles: [],
  power: { driver: "none" },
  images: {},
  characterDelayMs: 0,
});

const roots: string[] = [];
afterEach(async () => {
  for (const root of roots.splice(0)) await rm(root, { recursive: true });
});

async function packageWith(file: string, source: string): Promise<string> {
  const root = await mkdtemp(path.join(tmpdir(), "lockstep-reference-"));
  roots.push(root);
  await mkdir(path.join(root, "dist", "suites", "demo"), { recursive: true });
  await writeFile(path.join(root, "package.json"), JSON.stringify({ type: "module" }));
  await writeFile(path.join(root, "dist", "suites", "demo", `${file}.scenario.js`), source);
  return root;
}

test("a reference names a subject, a file and an export", () => {
  expect(parseReference("smc-abi/fast-calls#callsUid")).toEqual({
    subject: "smc-abi",
    file: "fast-calls",
    name: "callsUid",
  });
});

test("a reference cannot leave the suites folder or name anything but plain words", () => {
  for (const bad of [
    "",
    "a#b",
    "a/b",
    "../a/b#c",
    "a/../../b#c",
    "a/b.js#c",
    "/etc/passwd#x",
    "a//b#c",
    "a/b#c#d",
    "a/b#c-d",
    "a/b#",
    "A/b#c",
    "a/b\0#c",
    "file:a/b#c",
  ]) {
    expect(() => parseReference(bad)).toThrow(/does not name a scenario/);
  }
});

test("an absent file and an absent export are told apart", async () => {
  const root = await packageWith(
    "one",
    "export const good = { conduits: [], clauses: [], run() {} }; export const other = 5;",
  );
  await expect(loadScenario("demo/two#good", root)).rejects.toMatchObject({
    seen: expect.stringContaining("no file"),
  });
  await expect(loadScenario("demo/one#bad", root)).rejects.toMatchObject({
    seen: expect.stringContaining("good"),
  });
  await expect(loadScenario("demo/one#other", root)).rejects.toThrow(/no scenario/);
  await expect(loadScenario("demo/one#good", root)).resolves.toBeDefined();
});

test("a file that does not load is an error of that file", async () => {
  const root = await packageWith("broken", "throw new Error('at load')");
  await expect(loadScenario("demo/broken#x", root)).rejects.toMatchObject({ seen: "at load" });
});

const ECHO = `export const echo = {
  conduits: ["vm", "direct"], clauses: [],
  run: (context, args) => ({ kind: context.conduit.kind, args, seed: context.seed }),
};
export const second = {
  conduits: ["vm", "direct"], clauses: [],
  run: (context) => context.guest(1).conduit.kind,
};
`;

test("a scenario gets the first of its conduits that the board has, its arguments and the seed", async () => {
  const root = await packageWith("echo", ECHO);
  const both = new EmulatedTarget(board(["direct", "vm"]), { root, seed: 9 });
  expect(await both.run("demo/echo#echo", { x: 1 })).toEqual({
    kind: "vm",
    args: { x: 1 },
    seed: 9,
  });
  const direct = new EmulatedTarget(board(["direct"]), { root });
  expect(await direct.run("demo/echo#echo", null)).toMatchObject({ kind: "direct", seed: 1 });
});

test("what a target does not have is skipped, never passed", async () => {
  const root = await packageWith("echo", ECHO);
  const bare = new EmulatedTarget(board(["hwdom"]), { root });
  await expect(bare.run("demo/echo#echo", null)).rejects.toBeInstanceOf(Skipped);
  const direct = new EmulatedTarget(board(["direct"]), { root });
  await expect(direct.run("demo/echo#second", null)).rejects.toBeInstanceOf(Skipped);
});

test("the skip of a combination names its conduit, not those of the whole scenario", async () => {
  const root = await packageWith("echo", ECHO);
  const direct = new EmulatedTarget(board(["direct"]), { root });
  const on = { conduit: "vm", rules: "strict" } as const;
  await expect(direct.run("demo/echo#echo", null, on)).rejects.toThrow(
    /^skipped: needs conduit vm, board \S+ has direct$/,
  );
});

test("xtest cases without a re-statement are skipped as not modelled", async () => {
  const root = await packageWith("echo", ECHO);
  const target = new EmulatedTarget(board(["vm"]), { root });
  expect(await target.xtest("regression_9999")).toEqual({
    id: "regression_9999",
    title: "regression_9999",
    status: "skip",
    reason: "not modelled",
  });
});

test("the outcome of a re-statement is the worst of its subcases, and a throw is a failure", async () => {
  const root = await packageWith("echo", ECHO);
  await mkdir(path.join(root, "dist", "suites", "xtest"));
  await writeFile(
    path.join(root, "dist", "suites", "xtest", "restatements.scenario.js"),
    `const make = (run) => ({ conduits: ["vm"], clauses: [], run });
    const subcases = (...s) => make(() => ({ title: "t", subcases: s.map((status, i) => ({ id: "c." + i, status, reason: "r" + i })) }));
    export const passes = subcases("pass", "skip");
    export const skips = subcases("skip", "skip");
    export const fails = subcases("pass", "fail", "skip");
    export const empty = subcases();
    export const throws = make(() => { throw new Error("broken"); });`,
  );
  const target = new EmulatedTarget(board(["vm"]), { root });
  const status = async (id: string): Promise<unknown> => {
    const outcome = await target.xtest(id);
    return [outcome.status, outcome.reason];
  };
  expect(await status("passes")).toEqual(["pass", undefined]);
  expect(await status("skips")).toEqual(["skip", "r0"]);
  expect(await status("fails")).toEqual(["fail", "r1"]);
  expect(await status("empty")).toEqual(["pass", undefined]);
  expect(await status("throws")).toEqual(["fail", "broken"]);
});
