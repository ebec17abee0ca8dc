import { expect, test } from "@jest/globals";
import { firstDifference } from "./compare.ts";
import { judge, type Verdict } from "./judge.ts";
import type { ProgramRecord } from "./recorder.ts";
import type { SideResult } from "./run.ts";

const ABOUT = { board: "b", rules: "strict", seed: 1, program: 0 };
const CALLS_REVISION = 0xbf00_ff03;

const registers = (x0: number): `0x${string}`[] => [
  `0x${x0.toString(16)}`,
  ...Array.from({ length: 7 }, () => "0x0" as const),
];

/** CALLS_REVISION that gives `major`. */
function revision(major: number): ProgramRecord[] {
  const smc = { type: "smc", where: "conduit", guest: 0 } as const;
  return [
    { ...smc, phase: "enter", registers: registers(CALLS_REVISION) },
    { ...smc, phase: "leave", registers: registers(major) },
  ];
}

const memory = (crc: number): ProgramRecord => ({
  type: "memory",
  step: 0,
  guest: 0,
  pages: [crc],
});
const thrown: ProgramRecord = { type: "thrown", what: "RangeError" };

const side = (records: ProgramRecord[]): SideResult =>
  ({ records: [...records, { type: "end", how: "done" }] }) as unknown as SideResult;

/** The verdict where everything that differs in registers is known. */
function judged(model: ProgramRecord[], real: ProgramRecord[]): Verdict | undefined {
  const [left, right] = [side(model), side(real)];
  const both = {
    model: left,
    real: right,
    difference: firstDifference(left.records, right.records),
  };
  return judge(both, ABOUT, () => ({ expectation: "known", reason: "so it is" }));
}

test("what is known explains the memory that follows from it, and nothing before it", () => {
  const known = judged([...revision(2), memory(1)], [...revision(3), memory(2)]);
  expect(known).toMatchObject({ title: "", explained: [{ expectation: "known" }] });
  const before = judged([memory(1), ...revision(2)], [memory(2), ...revision(3)]);
  expect(before?.title).toMatch(/^memory of a guest differs/);
});

test("what the mediator throws is told, whatever was known before it", () => {
  const verdict = judged(revision(2), [...revision(3), thrown]);
  expect(verdict?.title).toMatch(/^the mediator throws: nothing .* RangeError on the board$/);
});
