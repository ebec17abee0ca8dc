import { expect, test } from "@jest/globals";
import { readSheet } from "../clauses/table.ts";
import { accountFor, isCovered } from "./account.ts";

const CATALOGUE = readSheet("SMC", "## 1 | os\nA | a |\nB | b |\nC | c |\nD | d |");

test("each clause gets its tests and scenarios; a scenario counts once a suite test runs it", () => {
  const named = { file: "harness/x.test.ts", title: "t", clauses: ["SMC-1.A", "SMC-1.Z"] };
  const run = { reference: "s/f#run", clauses: ["SMC-1.B"], runBy: ["suites/s/f.test.ts"] };
  const idle = { reference: "s/f#idle", clauses: ["SMC-1.C", "SMC-1.Y"], runBy: [] };
  const { clauses, strays } = accountFor([named], [run, idle], CATALOGUE);
  expect(clauses.map(({ id, tests, scenarios }) => [id, tests, scenarios])).toEqual([
    ["SMC-1.A", [named], []],
    ["SMC-1.B", [], [run]],
    ["SMC-1.C", [], [idle]],
    ["SMC-1.D", [], []],
  ]);
  expect(clauses.map(isCovered)).toEqual([true, true, false, false]);
  expect(strays).toEqual([
    { id: "SMC-1.Z", where: "harness/x.test.ts: t" },
    { id: "SMC-1.Y", where: "s/f#idle" },
  ]);
});
