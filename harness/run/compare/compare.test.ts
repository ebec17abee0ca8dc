import { describe, expect, test } from "@jest/globals";
import type { CaseResult, FactsSheet, Status } from "../model.ts";
import { compareRuns, type CompareSide } from "./compare.ts";
import { describeComparison } from "./text.ts";

const FACTS: FactsSheet = {
  board: "b",
  boardType: "qemu-virt",
  platform: "qemu",
  versions: { optee: "4.5.0", xtest: "4.5.0", linux: "6.12" },
  images: {},
  packages: {},
  machine: {},
  hab: "not-applicable",
  huk: "unknown",
  rpmb: "none",
};

function one(id: string, status: Status, more: Partial<CaseResult> = {}): CaseResult {
  const reason = status === "pass" ? {} : { reason: `because ${status}` };
  return { target: "b", suite: "xtest", id, title: id, status, ...reason, ...more };
}

function side(
  cases: readonly CaseResult[],
  facts: Partial<FactsSheet> = {},
  more: Partial<CompareSide> = {},
): CompareSide {
  return {
    label: "run",
    results: { format: 1, cases },
    facts: [{ ...FACTS, ...facts }],
    incomplete: false,
    ...more,
  };
}

const ids = (changes: readonly { id: string }[]): string[] => changes.map((change) => change.id);

describe("two runs on comparable boards", () => {
  test("that are equal differ in nothing and exit with 0", () => {
    const run = side([one("a", "pass"), one("b", "fail"), one("c", "skip")]);
    const comparison = compareRuns(run, run);
    expect(comparison).toMatchObject({ unchanged: 3, exitCode: 0, incomparable: [], notes: [] });
    expect(describeComparison(comparison)).toMatch(/No worse: 0 new failures/);
  });

  test.each([
    ["pass", "fail", "newFailures", 1],
    ["pass", "crash", "newFailures", 1],
    ["pass", "timeout", "newFailures", 1],
    ["skip", "fail", "newFailures", 1],
    ["xfail", "xpass", "newFailures", 1],
    ["miss", "error", "newFailures", 1],
    ["fail", "pass", "fixed", 0],
    ["crash", "pass", "fixed", 0],
    ["fail", "xfail", "fixed", 0],
    ["pass", "miss", "missing", 6],
    ["pass", "skip", "missing", 6],
    ["fail", "skip", "missing", 6],
    ["skip", "miss", "missing", 6],
    ["fail", "crash", "changed", 0],
    ["skip", "pass", "changed", 0],
    ["miss", "pass", "changed", 0],
    ["pass", "xfail", "changed", 0],
  ] as const)("%s then %s is %s", (before, after, kind, exitCode) => {
    const comparison = compareRuns(side([one("a", before)]), side([one("a", after)]));
    expect(ids(comparison[kind])).toEqual(["a"]);
    expect(comparison).toMatchObject({ exitCode, unchanged: 0 });
    expect(comparison[kind][0]).toMatchObject({ before, after });
  });

  test("tell cases that are gone from cases that are new, and count a new failing one as a failure", () => {
    const comparison = compareRuns(
      side([one("gone", "pass"), one("gone-skip", "skip")]),
      side([one("new", "pass"), one("new-bad", "fail")]),
    );
    expect(ids(comparison.missing)).toEqual(["gone"]);
    expect(ids(comparison.changed)).toEqual(["gone-skip"]);
    expect(ids(comparison.newCases)).toEqual(["new"]);
    expect(ids(comparison.newFailures)).toEqual(["new-bad"]);
    expect(comparison.exitCode).toBe(6);
  });

  test("show a skip whose reason changed, and skips of subcases", () => {
    const before = [
      one("a", "skip", { reason: "no device" }),
      one("b", "pass", { subcases: [{ id: "b.1", status: "pass" }] }),
    ];
    const after = [
      one("a", "skip", { reason: "not built in" }),
      one("b", "pass", { subcases: [{ id: "b.1", status: "skip", reason: "no PTA" }] }),
    ];
    const comparison = compareRuns(side(before), side(after));
    expect(comparison.skipReasons).toEqual([
      expect.objectContaining({ id: "a", reasonBefore: "no device", reasonAfter: "not built in" }),
    ]);
    expect(comparison.changed).toEqual([
      expect.objectContaining({ id: "b", subcase: "b.1", before: "pass", after: "skip" }),
    ]);
    expect(comparison.exitCode).toBe(0);
    expect(describeComparison(comparison)).toContain("no device → not built in");
  });

  test("list facts that differ without deciding", () => {
    const comparison = compareRuns(
      side([one("a", "pass")]),
      side([one("a", "pass")], { versions: { ...FACTS.versions, linux: "6.13", optee: "4.5.1" } }),
    );
    expect(comparison.incomparable).toEqual([]);
    expect(comparison.targets[0]?.differences).toEqual([
      { fact: "linux", before: "6.12", after: "6.13", decisive: false },
      { fact: "optee", before: "4.5.0", after: "4.5.1", decisive: false },
    ]);
    expect(describeComparison(comparison)).toContain("linux: 6.12 before, 6.13 after");
  });
});

describe("two runs that do not speak of the same thing", () => {
  test.each([
    [{ boardType: "imx8mp-evk" }, "board type of b: qemu-virt before, imx8mp-evk after"],
    [{ platform: "hardware" }, "platform of b: qemu before, hardware after"],
    [{ rpmb: "real" }, "RPMB of b: none before, real after"],
    [{ versions: { xtest: "4.6.0" } }, "xtest of b: 4.5.0 before, 4.6.0 after"],
    [{ versions: { optee: "5.0.0" } }, "optee of b: 4.5.0 before, 5.0.0 after"],
  ] as const)("because of %j exit with 2, unless forced", (facts, reason) => {
    const [a, b] = [side([one("a", "pass")]), side([one("a", "pass")], facts)];
    expect(compareRuns(a, b)).toMatchObject({ incomparable: [reason], exitCode: 2 });
    expect(compareRuns(a, b, { force: true })).toMatchObject({
      incomparable: [reason],
      exitCode: 0,
    });
  });

  test("are not made incomparable by what one of them does not know", () => {
    const comparison = compareRuns(
      side([one("a", "pass")]),
      side([one("a", "pass")], { rpmb: "unknown", versions: {} }),
    );
    expect(comparison).toMatchObject({ incomparable: [], exitCode: 0 });
  });

  test("because no board is on both sides say which there are", () => {
    const two = [one("a", "pass"), one("a", "pass", { target: "c" })];
    const others = two.map((result) => ({ ...result, target: `other-${result.target}` }));
    expect(compareRuns(side(two), side(others))).toMatchObject({
      incomparable: ["no board is on both sides: b, c before, other-b, other-c after"],
      exitCode: 2,
    });
  });
});

test("a board that was renamed is held against its former self", () => {
  const comparison = compareRuns(
    side([one("a", "pass")]),
    side([one("a", "fail", { target: "new" })], { board: "new" }),
  );
  expect(ids(comparison.newFailures)).toEqual(["a"]);
  expect(comparison.notes).toContain("b was held against new");
});

test("a raw log is held against the board that ran what it shows, and against that suite only", () => {
  const bundle = side([
    one("xtest.1", "skip", { target: "emulated" }),
    one("xtest.1", "pass"),
    one("smc-abi.uid", "pass", { suite: "smc-abi" }),
  ]);
  const log = side([one("xtest.1", "fail", { target: "log" })], {}, { facts: [], only: "xtest" });
  const comparison = compareRuns(bundle, log);
  expect(ids(comparison.newFailures)).toEqual(["xtest.1"]);
  expect(comparison).toMatchObject({ missing: [], incomparable: [], exitCode: 1 });
  expect(compareRuns(log, bundle)).toMatchObject({ newCases: [], missing: [], exitCode: 0 });
});

test("of two boards that have as much in common with a log, the emulated one is not meant", () => {
  const emulated = { ...FACTS, board: "emulated", platform: "emulated" as const };
  const cases = [one("xtest.1", "pass", { target: "emulated" }), one("xtest.1", "pass")];
  const bundle = { ...side(cases), facts: [emulated, FACTS] };
  const log = side([one("xtest.1", "pass", { target: "log" })], {}, { facts: [], only: "xtest" });
  expect(compareRuns(bundle, log).targets).toMatchObject([{ before: "b", after: "log" }]);
});

test("what was wrong with a run as a whole is fixed where a run has nothing of it, and lost where none was", () => {
  const run = one("xtest.run", "error", { suite: "xtest" });
  const before = side([one("xtest.1", "pass", { suite: "xtest" }), run]);
  const good = compareRuns(before, side([one("xtest.1", "pass", { suite: "xtest" })]));
  expect([ids(good.fixed), good.exitCode]).toEqual([["xtest.run"], 0]);
  const none = compareRuns(before, side([one("smc-abi.1", "pass", { suite: "smc-abi" })]));
  expect(ids(none.missing)).toEqual(["xtest.1", "xtest.run"]);
});

test("an incomplete side is named, and cases out of scope are left out", () => {
  const comparison = compareRuns(
    side([one("a", "pass"), one("b", "pass")], {}, { label: "A", incomplete: true }),
    side([one("a", "pass")]),
    { scope: (result) => result.id === "a" },
  );
  expect(comparison.notes).toEqual(["A is incomplete: the run did not come to its end"]);
  expect(comparison).toMatchObject({ missing: [], unchanged: 1, exitCode: 0 });
});
