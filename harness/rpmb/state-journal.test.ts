import { createHash } from "node:crypto";
import { expect, jest, test } from "@jest/globals";
import * as fc from "fast-check";
import { budget, Random } from "../base/index.ts";
import { EmmcRpmb, RPMB_RESULT, RpmbStateError } from "./index.ts";
import { encodeState, loadState, StateJournal } from "./state-journal.ts";
import { ask, configRequest, keyRequest, TEST_CID, writeRequest } from "./testing/host.ts";
import { CrashDisk, type Fate } from "./testing/crash-disk.ts";

jest.setTimeout(120_000);

/** A part that takes writes of 32 blocks, which reach into three pages. */
const blank = (): EmmcRpmb =>
  new EmmcRpmb({ cid: TEST_CID, sizeMultiplier: 1, enhancedReliableWrite: true });

function open(bytes: Uint8Array): { part: EmmcRpmb; disk: CrashDisk } {
  const disk = new CrashDisk(bytes);
  const loaded = loadState(bytes, disk.where);
  return { part: EmmcRpmb.from(loaded.snapshot, new StateJournal(disk, loaded)), disk };
}

/** Everything that a part keeps, as one text. */
function stateOf(part: EmmcRpmb): string {
  const { key, writeCounter, secureWp, data } = part.snapshot();
  const name = key === undefined ? "none" : key.export().toString("hex");
  const digest = createHash("sha256").update(data).digest("hex");
  return [name, writeCounter, secureWp.enable, secureWp.config, digest].join(" ");
}

type Operation = (part: EmmcRpmb) => void;

const ok = (part: EmmcRpmb, request: Uint8Array): void => {
  expect(ask(part, request).result).toBe(RPMB_RESULT.OK);
};
const program: Operation = (part) => ok(part, keyRequest());
const write =
  (address: number, ...fills: number[]): Operation =>
  (part) =>
    ok(part, writeRequest(part.writeCounter, address, fills));
const configure =
  (address: number, value: number): Operation =>
  (part) =>
    ok(part, configRequest({ address, value, writeCounter: part.writeCounter }));
const thirtyTwo = (from: number): Operation =>
  write(from, ...Array.from({ length: 32 }, (_, index) => index + 1));

/** All that changes a part, neighbours in one page and across pages among it. */
const HISTORY: readonly [string, Operation][] = [
  ["the key", program],
  ["a block", write(5, 1)],
  ["its neighbour", write(6, 2)],
  ["the same block", write(5, 3)],
  ["two blocks across pages", write(15, 4, 5)],
  ["the configuration", configure(1, 1)],
  ["32 blocks across three pages", thirtyTwo(10)],
  ["the last block", write(511, 6)],
  ["an earlier state", (part) => part.restore(blank().snapshot())],
  ["the key again", program],
];

/** For every write that is not kept yet, what may become of it, in all combinations. */
function fatesOf(disk: CrashDisk, random: Random): Fate[][] {
  const none: Fate[][] = [[]];
  return disk.pending.reduce((sets, { bytes }) => {
    const fates = fatesOfOne(bytes.length, random);
    return sets.flatMap((set) => fates.map((one) => [...set, one]));
  }, none);
}

function fatesOfOne(length: number, random: Random): Fate[] {
  const places = [1, 512, 4063, 4080, 4096, length - 1].slice(0, budget(3, 6));
  const some = Array.from({ length: budget(2, 12) }, () => 1 + random.below(length - 1));
  const prefixes = [...new Set([...places, ...some])].filter((one) => one < length);
  const torn = [512, 4096].flatMap((size) =>
    Array.from({ length: budget(2, 6) }, (): Fate => ({ kind: "torn", size, random })),
  );
  const prefix = prefixes.map((one): Fate => ({ kind: "prefix", length: one }));
  return [{ kind: "lost" }, { kind: "whole" }, ...prefix, ...torn];
}

function oneOf<T>(list: readonly T[], random: Random): T {
  const one = list[random.below(list.length)];
  if (one === undefined) throw new Error("nothing to choose from");
  return one;
}

test.each(HISTORY.map(([name], index) => [name, index] as const))(
  "a machine that fails at any moment of writing %s: the part is as before or as after, and what was answered is not lost",
  (_name, index) => {
    const random = new Random(index + 1);
    const start = open(encodeState(blank().snapshot()));
    for (const [, run] of HISTORY.slice(0, index)) run(start.part);
    const { part, disk } = start;
    const before = stateOf(part);
    const seen = new Set<string>();
    disk.onStep = () => {
      for (const fates of fatesOf(disk, random)) seen.add(stateOf(open(disk.image(fates)).part));
    };
    HISTORY[index]?.[1](part);
    disk.onStep = () => {};
    const after = stateOf(part);
    expect(after).not.toBe(before);
    expect([...seen].toSorted()).toEqual([before, after].toSorted());
    // From the moment it was answered there is only one.
    for (const fates of fatesOf(disk, random)) {
      expect(stateOf(open(disk.image(fates)).part) === after).toBe(true);
    }
  },
);

test("failures upon failures, the file opened and used in between: no state that was answered is lost, none appears that never was", () => {
  const step = fc.record({
    operation: fc.nat(HISTORY.length - 3),
    /** How many steps of the disk the machine lives; most operations have three. */
    lives: fc.integer({ min: 0, max: 5 }),
  });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 12 }), fc.nat(0xffff), (steps, seed) => {
      const random = new Random(seed);
      let { part, disk } = open(encodeState(blank().snapshot()));
      ok(part, keyRequest());
      for (const { operation, lives } of steps) {
        const before = stateOf(part);
        let left = lives;
        let failed: Uint8Array | undefined;
        disk.onStep = () => {
          left -= 1;
          if (left === 0) failed = disk.image(oneOf(fatesOf(disk, random), random));
        };
        HISTORY[1 + operation]?.[1](part);
        disk.onStep = () => {};
        const after = stateOf(part);
        if (failed !== undefined) {
          ({ part, disk } = open(failed));
          expect([before, after]).toContain(stateOf(part));
        }
        if (!part.keyProgrammed) ok(part, keyRequest());
      }
    }),
    { numRuns: budget(25, 1500) },
  );
});

test("a disk that lies about what it has kept: the part is as it was at some moment, or the file is refused", () => {
  const random = new Random(5);
  let refused = 0;
  for (let round = 0; round < budget(60, 1500); round += 1) {
    const { part, disk } = open(encodeState(blank().snapshot()));
    const states = new Set([stateOf(part)]);
    disk.honest = false;
    for (const [, run] of HISTORY.slice(0, 1 + random.below(8))) {
      run(part);
      states.add(stateOf(part));
    }
    const kinds: Fate[] = [
      { kind: "lost" },
      { kind: "whole" },
      { kind: "torn", size: 512, random },
    ];
    const bytes = disk.image(disk.pending.map(() => oneOf(kinds, random)));
    try {
      expect([...states]).toContain(stateOf(open(bytes).part));
    } catch (error) {
      if (!(error instanceof RpmbStateError)) throw error;
      refused += 1;
    }
  }
  expect(refused).toBeGreaterThan(0);
});

test("a disk that fails: the request is not answered, nor is any later one, and the file holds the part as before or as after", () => {
  for (let fails = 1; fails <= 3; fails += 1) {
    const { part, disk } = open(encodeState(blank().snapshot()));
    ok(part, keyRequest());
    const before = stateOf(part);
    let left = fails;
    disk.onStep = () => {
      left -= 1;
      if (left === 0) throw new RpmbStateError("no space left", disk.where);
    };
    expect(() => write(1, 1)(part)).toThrow(RpmbStateError);
    disk.onStep = () => {};
    expect(() => ask(part, keyRequest())).toThrow("no space left");
    expect(() => part.erase()).toThrow("no space left");
    const { part: later } = open(disk.image([{ kind: "whole" }, { kind: "whole" }]));
    expect([0, 1]).toContain(later.writeCounter);
    expect(stateOf(later) === before).toBe(later.writeCounter === 0);
    part.close();
    expect(() => ask(part, keyRequest())).toThrow("the part was closed");
  }
});
