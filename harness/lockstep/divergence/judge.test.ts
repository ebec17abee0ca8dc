import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { afterAll, expect, test } from "@jest/globals";
import { OPTEE_SMC } from "../../optee-abi/index.ts";
import type { CaseResult, Trace, TraceHeader } from "../../run/index.ts";
import { loadExpectations } from "./expectations/load.ts";
import type { Expectation } from "./expectations/model.ts";
import { DivergenceJudge, type JudgeOptions } from "./judge.ts";
import { EMULATED_NAMES, type Op, REAL_NAMES, traceOf } from "./testing/traces.ts";

const root = mkdtempSync(path.join(tmpdir(), "lockstep-entry-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const CASE = "smc-abi.a-case";
const count = (answer: number): Op => ({
  op: "fast",
  fid: OPTEE_SMC.CALLS_COUNT,
  answer: [answer],
});
const result: CaseResult = {
  target: "qemu-virt",
  suite: "smc-abi",
  id: CASE,
  title: "A case",
  status: "pass",
};
const board = (answers: readonly number[], header: Partial<TraceHeader> = {}): Trace =>
  traceOf(
    answers.map((one) => count(one)),
    REAL_NAMES,
    { target: "qemu-virt", ...header },
  );
const emulated = (answers: readonly number[], header: Partial<TraceHeader> = {}): Trace =>
  traceOf(
    answers.map((one) => count(one)),
    EMULATED_NAMES,
    header,
  );

const COUNT: Expectation = {
  id: "count",
  boards: [],
  versions: {},
  cases: [CASE],
  what: {
    kind: "register",
    call: "CALLS_COUNT",
    phase: "leave",
    fields: { a0: { left: "0xc", right: "0xe" } },
  },
  clause: "SMC-3.CALLS_COUNT",
  reason: "this build counts more",
  owner: "me",
  expires: "2027-01-31",
  coversAssertion: false,
  where: "file:1:1",
};

function judgeWith(
  expectations: readonly Expectation[],
  options: Partial<JudgeOptions> = {},
): DivergenceJudge {
  return new DivergenceJudge({
    target: "qemu-virt",
    expectations,
    versions: () => ({ optee: "4.5.0" }),
    today: "2026-11-20",
    reference: async () => [emulated([12])],
    resultsOnly: async () => false,
    ...options,
  });
}
const all = (): boolean => true;
const longer = async (): Promise<Trace[]> => [emulated([12, 1])];
const judgedOn = (today: string): DivergenceJudge => judgeWith([COUNT], { today });

test("what is equal stays as it is", async () => {
  const judge = judgeWith([]);
  expect(await judge.judge(result, [board([12])])).toEqual(result);
  const { totals, runs } = judge.finish(all);
  expect(totals).toEqual({
    target: "qemu-virt",
    compared: 1,
    equal: 1,
    unexplained: 0,
    explained: 0,
    notCompared: 0,
  });
  expect(runs).toEqual([]);
});

test("an unexplained divergence fails a case that passed, and says what its own failure did not", async () => {
  const judge = judgeWith([]);
  const passed = await judge.judge(result, [board([14])]);
  expect(passed).toMatchObject({ status: "fail", clauses: ["SMC-3.CALLS_COUNT"] });
  expect(passed.reason).toBe(
    "differs from the emulated platform: guest 0, leave, CALLS_COUNT: a0 is 0xe, not 0xc [SMC-3.CALLS_COUNT]",
  );
  const failed = await judge.judge({ ...result, status: "fail", reason: "expected 12" }, [
    board([14]),
  ]);
  expect(failed.reason).toMatch(/^expected 12\ndiffers from the emulated platform/);
  expect(judge.finish(all).runs[0]?.entry).toContain(
    'fields:\n        "a0": { left: "0xc", right: "0xe" }',
  );
});

test("the entry that a report offers is the one that explains it, once a person has said why", async () => {
  const judge = judgeWith([]);
  await judge.judge(result, [board([14])]);
  const entry = judge.finish(all).runs[0]?.entry ?? "";
  const folder = path.join(root, "expectations", "divergences");
  mkdirSync(folder, { recursive: true });
  const load = async (text: string): Promise<readonly Expectation[]> => {
    writeFileSync(path.join(folder, "qemu-virt.yaml"), `divergences:\n${text}`);
    return await loadExpectations(
      { name: "qemu-virt", type: "qemu-virt" },
      { dirs: [root], env: {} },
    );
  };
  await expect(load(entry)).rejects.toThrow();
  const expectations = await load(
    entry.replace("reason: ", "reason: because it is so").replace("owner: ", "owner: me"),
  );
  const again = await judgeWith(expectations).judge(result, [board([14])]);
  expect(again.status).toBe("xfail");
});

test("a known divergence makes the case an expected failure, with its id and reason", async () => {
  const judge = judgeWith([COUNT]);
  const judged = await judge.judge(result, [board([14])]);
  expect(judged).toMatchObject({ status: "xfail", reason: "count: this build counts more" });
  const { expectations, totals } = judge.finish(all);
  expect(expectations).toMatchObject([{ id: "count", outcome: "matched", cases: 1 }]);
  expect(totals).toMatchObject({ explained: 1, unexplained: 0 });
});

test("it covers the difference that it names and no other", async () => {
  const other = await judgeWith([COUNT]).judge(result, [board([15])]);
  expect(other.status).toBe("fail");
  const second = await judgeWith([COUNT], { reference: longer }).judge(result, [board([14, 2])]);
  expect(second).toMatchObject({ status: "fail" });
  expect(second.reason).toContain("a0 is 0x2, not 0x1");
  const elsewhere = judgeWith([{ ...COUNT, cases: ["smc-abi.another"] }]);
  expect((await elsewhere.judge(result, [board([14])])).status).toBe("fail");
});

test("it holds for the versions that it names, and not where they are not known", async () => {
  const entry = { ...COUNT, versions: { optee: ">=4.5 <4.6" } };
  const statusOn = async (versions: Record<string, string>): Promise<string> =>
    (await judgeWith([entry], { versions: () => versions }).judge(result, [board([14])])).status;
  expect(await statusOn({ optee: "4.5.0" })).toBe("xfail");
  expect(await statusOn({ optee: "4.6.0" })).toBe("fail");
  expect(await statusOn({})).toBe("fail");
});

test("a case that failed its own assertions stays failed unless the entry covers that", async () => {
  const failed: CaseResult = { ...result, status: "fail", reason: "expected 12" };
  expect(await judgeWith([COUNT]).judge(failed, [board([14])])).toEqual(failed);
  const covering = judgeWith([{ ...COUNT, coversAssertion: true }]);
  expect((await covering.judge(failed, [board([14])])).status).toBe("xfail");
  const crashed: CaseResult = { ...failed, status: "crash" };
  expect((await covering.judge(crashed, [board([14])])).status).toBe("crash");
});

test("an expired entry explains nothing any more, from the day after its last", async () => {
  expect((await judgedOn("2027-01-31").judge(result, [board([14])])).status).toBe("xfail");
  const late = judgedOn("2027-02-01");
  const judged = await late.judge(result, [board([14])]);
  expect(judged.status).toBe("fail");
  expect(judged.reason).toContain("(expectation count has expired)");
  const { expectations, runs } = late.finish(all);
  expect(expectations).toMatchObject([{ outcome: "expired" }]);
  expect(runs[0]?.expired).toBe("count");
});

test("an entry whose cases were all compared and that matched nothing is stale", async () => {
  const judge = judgeWith([COUNT, { ...COUNT, id: "all", cases: ["smc-abi.*"] }]);
  await judge.judge(result, [board([12])]);
  expect(judge.finish(all).expectations.map(({ outcome }) => outcome)).toEqual(["stale", "stale"]);
  // Of a suite that did not run as a whole, a pattern may have cases that were not seen.
  expect(judge.finish(() => false).expectations.map(({ outcome }) => outcome)).toEqual([
    "stale",
    "untested",
  ]);
});

test.each<[string, CaseResult, readonly Trace[]]>([
  ["skipped", { ...result, status: "skip", reason: "no conduit" }, []],
  ["lost to the laboratory", { ...result, status: "error", infrastructure: true }, [board([12])]],
  ["crashed", { ...result, status: "crash", reason: "gone" }, [board([12])]],
  ["run on another conduit", result, [board([12], { conduit: "hwdom" })]],
  ["run more often than the reference", result, [board([12]), board([12], { run: 1 })]],
])("an entry whose case was %s is not tested, and says nothing", async (_why, one, traces) => {
  const judge = judgeWith([COUNT]);
  await judge.judge(one, traces);
  expect(judge.finish(all).expectations).toMatchObject([{ outcome: "untested" }]);
});

test("what has no counterpart is said to be not compared", async () => {
  const judge = judgeWith([], { reference: async () => [] });
  expect((await judge.judge(result, [board([12])])).status).toBe("pass");
  const { totals, notCompared } = judge.finish(all);
  expect(totals).toMatchObject({ compared: 0, notCompared: 1 });
  expect(notCompared).toEqual([
    { target: "qemu-virt", caseId: CASE, reason: "the emulated platform has no trace of it" },
  ]);
});

const more = async (): Promise<Trace[]> => [emulated([12]), emulated([12], { run: 1 })];

test("a case that passed without a trace, or with fewer runs than its counterpart, is not compared either", async () => {
  const judge = judgeWith([COUNT], { reference: more });
  expect((await judge.judge(result, [])).status).toBe("pass");
  expect((await judge.judge({ ...result, id: "smc-abi.b" }, [board([12])])).status).toBe("pass");
  const { totals, notCompared, expectations } = judge.finish(all);
  expect(totals).toMatchObject({ compared: 1, equal: 1, notCompared: 2 });
  expect(notCompared.map(({ caseId, reason }) => [caseId, reason])).toEqual([
    [CASE, "there is no trace of it"],
    ["smc-abi.b", "the emulated platform has more runs of it"],
  ]);
  expect(expectations).toMatchObject([{ outcome: "untested" }]);
});

const cut = (trace: Trace): Trace => {
  const end = trace.records.at(-1);
  if (end?.type !== "end") throw new Error("a trace without an end");
  return { ...trace, records: [...trace.records.slice(0, -1), { ...end, dropped: 7 }] };
};

test("of a trace that was too long to be kept only the end is compared, and it does not count as equal", async () => {
  const judge = judgeWith([]);
  expect((await judge.judge(result, [cut(board([14]))])).status).toBe("pass");
  const { totals, notCompared } = judge.finish(all);
  expect(totals).toMatchObject({ compared: 0, equal: 0, notCompared: 1 });
  expect(notCompared[0]?.reason).toMatch(/too long/);
});

test("of a scenario whose way is its platform's own only the results are compared", async () => {
  const judge = judgeWith([], { resultsOnly: async () => true });
  expect((await judge.judge(result, [board([14])])).status).toBe("pass");
});
