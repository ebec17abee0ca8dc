import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { afterEach, beforeEach, expect, test } from "@jest/globals";
import { renderAll, verifyBundle } from "../../../reports/index.ts";
import { listBoards, loadBoard } from "../../board/index.ts";
import type { Expectation } from "../../lockstep/index.ts";
import {
  BundleReader,
  BundleWriter,
  type CaseResult,
  type HexWord,
  type Trace,
  type TraceRecord,
} from "../../run/index.ts";
import type { CliContext } from "../context.ts";
import { temporaryFolder } from "../testing/run-cli.ts";
import { divergencesOf, endJudging, judgeFor, plannedExpectations } from "./judging.ts";
import type { RunPlan } from "./plan.ts";
import { RunSession } from "./session.ts";

const cleanups: (() => void)[] = [];
let root: string;
beforeEach(() => {
  root = temporaryFolder((remove) => cleanups.push(remove));
});
afterEach(() => {
  for (const remove of cleanups.splice(0)) remove();
});

const CASE = "smc-abi.a-case";
const CALLS_COUNT = "0xbf00ff00";

const registers = (a0: HexWord): HexWord[] => [a0, "0x0", "0x0", "0x0", "0x0", "0x0", "0x0", "0x0"];

/** What a platform answers to CALLS_COUNT, asked once. */
function traceOn(target: string, count: HexWord, caseId = CASE): Trace {
  const smc = { type: "smc", where: "conduit", guest: 0 } as const;
  const records: TraceRecord[] = [
    { ...smc, phase: "enter", registers: registers(CALLS_COUNT) },
    { ...smc, phase: "leave", registers: registers(count) },
    { type: "end", how: "done", value: null },
  ];
  const of = {
    target,
    caseId,
    run: 0,
    reference: "smc-abi/fast-calls#callsUid",
    conduit: "direct",
  };
  return { header: { type: "trace", format: 1, ...of, seed: 1, clauses: [] }, records };
}

const known = (id: string, right: string, expires = "2999-12-31"): Expectation => ({
  id,
  boards: [],
  versions: {},
  cases: ["smc-abi.*"],
  what: { kind: "register", call: "CALLS_COUNT", fields: { a0: { left: "0xc", right } } },
  clause: "SMC-3.CALLS_COUNT",
  reason: "this build counts otherwise",
  owner: "me",
  expires,
  coversAssertion: false,
  where: "boards/expectations/divergences/qemu-virt.yaml:2:5",
});

async function sessionWith(expectations: readonly Expectation[]): Promise<RunSession> {
  const writer = await BundleWriter.create(
    path.join(root, "run"),
    { id: "run-1", lockstep: "0", node: "v20", command: ["lockstep", "run"], seed: 1 },
    { runtimeDir: path.join(root, "rt") },
  );
  const plan: RunPlan = {
    boards: [],
    targets: new Map(),
    suites: ["smc-abi"],
    filter: { patterns: [] },
    narrowing: {},
    retries: 0,
    trace: true,
    expectations: new Map([["qemu-virt", expectations]]),
  };
  return new RunSession({ plan, writer, context: {} as CliContext, seed: 1 });
}

test("a board's cases are judged, what expectations came to are results, and all of it is in the bundle", async () => {
  const config = await loadBoard("qemu-virt", { env: {} });
  const session = await sessionWith([
    known("count", "0xe"),
    known("never", "0x99"),
    known("late", "0x77", "2020-01-01"),
  ]);
  const { writer } = session;
  const judge = judgeFor(config, session, "emulated", () => ({}));
  for (const [id, count] of [
    ["smc-abi.known", "0xe"],
    ["smc-abi.new", "0xf"],
  ] as const) {
    const trace = traceOn("qemu-virt", count, id);
    writer.trace(traceOn("emulated", "0xc", id));
    writer.trace(trace);
    const result: CaseResult = {
      target: "qemu-virt",
      suite: "smc-abi",
      id,
      title: id,
      status: "pass",
    };
    writer.result(await judge.judge(result, [trace]));
  }
  endJudging(judge, session, true);
  expect(writer.results.cases.map(({ id, status }) => [id, status])).toEqual([
    ["divergences.late", "fail"],
    ["divergences.never", "xpass"],
    ["smc-abi.known", "xfail"],
    ["smc-abi.new", "fail"],
  ]);
  expect(session.exitCode).toBe(1);
  writer.divergences(divergencesOf(session.judgements));
  await session.finish(renderAll);
  const reader = await BundleReader.open(writer.dir);
  expect(reader.divergences?.targets).toEqual([
    { target: "qemu-virt", compared: 2, equal: 0, unexplained: 1, explained: 1, notCompared: 0 },
  ]);
  expect(reader.divergences?.expectations.map(({ outcome }) => outcome)).toEqual([
    "matched",
    "stale",
    "expired",
  ]);
  expect((await verifyBundle(reader, "0")).problems).toEqual([]);
  writeFileSync(path.join(writer.dir, "divergences.json"), "{}");
  const { problems } = await verifyBundle(await BundleReader.open(writer.dir), "1");
  expect(problems[0]).toContain("divergences.json has 2 bytes");
});

test("a run that did not come to its end says nothing of what a pattern names", async () => {
  const config = await loadBoard("qemu-virt", { env: {} });
  const session = await sessionWith([known("never", "0x99")]);
  const { writer } = session;
  writer.trace(traceOn("emulated", "0xc"));
  const judge = judgeFor(config, session, "emulated", () => ({}));
  const result: CaseResult = {
    target: "qemu-virt",
    suite: "smc-abi",
    id: CASE,
    title: "A",
    status: "pass",
  };
  expect((await judge.judge(result, [traceOn("qemu-virt", "0xc")])).status).toBe("pass");
  endJudging(judge, session, false);
  expect(writer.results.cases).toEqual([]);
  await writer.abandon();
});

test("a malformed file of a board is refused before anything is started", async () => {
  const folder = path.join(root, "expectations", "divergences");
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "qemu-virt.yaml"), "divergences:\n  - id: x\n");
  const env = { LOCKSTEP_BOARDS_PATH: root };
  const boards = [await loadBoard("qemu-virt", { env })];
  await expect(plannedExpectations(boards, env)).rejects.toMatchObject({
    exitCode: 2,
    where: expect.stringContaining("qemu-virt.yaml:2:5"),
  });
  expect(await plannedExpectations([await loadBoard("emulated", { env })], env)).toEqual(new Map());
});

test("every file of known divergences that comes with lockstep loads", async () => {
  for (const { name } of await listBoards({ env: {} })) {
    const board = await loadBoard(name, { env: {} });
    const planned = await plannedExpectations([board], {});
    for (const { id, expires } of planned.get(name) ?? [])
      expect([id, expires > "2026"]).toEqual([id, true]);
  }
});
