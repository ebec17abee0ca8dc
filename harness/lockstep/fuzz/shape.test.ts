import { expect, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget } from "../../base/index.ts";
import { generator } from "./arbitrary.ts";
import { programSeed } from "./batch.ts";
import { PROGRAM, type Program, STORED_STEP, STORED_PROGRAM, tidy } from "./program.ts";
import { either, list, mismatch, nat, pick, rarely, record, text } from "./shape.ts";
import { shrink } from "./shrink.ts";
import { simpler, smallest } from "./simpler.ts";

const generate = await generator(PROGRAM);

test("every program that is generated has the shape that files are checked against", () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      expect(mismatch(STORED_PROGRAM, tidy(generate(seed)))).toBeUndefined();
    }),
    { numRuns: budget(50, 2000) },
  );
});

test("one seed gives one program, and seeds of neighbours give others", () => {
  expect(generate(programSeed(1, 5))).toEqual(generate(programSeed(1, 5)));
  const seeds = new Set([0, 1, 2].flatMap((seed) => [0, 1, 2].map((i) => programSeed(seed, i))));
  expect(seeds.size).toBe(9);
});

test("whatever is simpler than a step is a step too, and taking the first ends soon", () => {
  fc.assert(
    fc.property(fc.nat(), (seed) => {
      let value: unknown = tidy(generate(seed)).steps[0];
      let turns = 0;
      for (;;) {
        const next = [...simpler(STORED_STEP, value)];
        for (const one of next) expect(mismatch(STORED_STEP, one)).toBeUndefined();
        if (next.length === 0) break;
        [value] = next;
        turns += 1;
        if (turns > 400) throw new Error("still simpler after 400 turns");
      }
    }),
    { numRuns: budget(10, 200), endOnFailure: true },
  );
});

test("the smallest value of a shape has that shape", () => {
  const shape = record({
    number: nat(7),
    names: list(pick("a", "b"), 2, 4),
    either: either([1, nat(3)], [1, text(4)]),
    seldom: rarely(3, nat(1)),
  });
  expect(smallest(shape)).toEqual({ number: 0, names: ["a", "a"], either: 0 });
  expect(mismatch(shape, smallest(shape))).toBeUndefined();
});

test("a mismatch says where and what is expected there", () => {
  const program = { machine: smallest(STORED_PROGRAM) as Program["machine"], steps: [] };
  const cases: [unknown, RegExp][] = [
    [null, /^the file: an object$/],
    [{ ...program, extra: 1 }, /^extra: no such field; there are machine, steps$/],
    [{ ...program, steps: {} }, /steps|machine/],
    [withStep({ do: "fly" }), /^steps\[0\]\.step\.do: one of open, invoke, /],
    [withStep({ do: "destroy", vm: 9 }), /^steps\[0\]\.step\.vm: one of 0, 1, 2, 3$/],
    [
      withStep({ do: "destroy", vm: 0 }, { fails: -1 }),
      /^steps\[0\]\.with\.fails: an integer from/,
    ],
    [withStep({ do: "destroy" }), /^steps\[0\]\.step\.vm/],
  ];
  for (const [value, expected] of cases) expect(mismatch(STORED_PROGRAM, value)).toMatch(expected);
});

const withStep = (step: unknown, around: unknown = {}): unknown => ({
  machine: { world: "model", seed: 0, threads: 2, guests: 4, cache: true },
  steps: [{ step, with: around }],
});

test("shrinking keeps what matters, drops the rest and stays within its attempts", () => {
  const program = tidy(generate(3));
  const needle = { step: { do: "destroy" as const, vm: 2 as const }, with: {} };
  const hay: Program = { ...program, steps: [...program.steps, needle, ...program.steps] };
  let attempts = 0;
  const found = shrink(hay, (candidate) => {
    attempts += 1;
    return candidate.steps.some(({ step }) => step.do === "destroy" && step.vm === 2);
  });
  expect(found.steps).toEqual([needle]);
  expect(found.machine).toEqual(smallestMachine(found));
  expect(attempts).toBeLessThan(300);
  const stopped = shrink(hay, () => true, { stop: () => true });
  expect(stopped).toEqual(hay);
});

const smallestMachine = ({ machine }: Program): unknown => ({
  ...machine,
  world: "model",
  seed: 0,
  threads: 2,
  guests: 4,
  cache: true,
});
