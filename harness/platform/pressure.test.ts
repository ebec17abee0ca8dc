import { expect, jest, test } from "@jest/globals";
import { isDeepStrictEqual } from "node:util";
import { messageOf } from "../base/index.ts";
import { loadBoard } from "../board/index.ts";
import type { StressReport } from "../run/index.ts";
import {
  combinationName,
  combinationsOf,
  EmulatedTarget,
  type EmulatedTargetOptions,
  importScenarios,
  isScenario,
} from "./index.ts";

jest.setTimeout(120_000);

const FILES = [
  { subject: "normal-world", file: "sessions" },
  { subject: "normal-world", file: "parameters" },
  { subject: "mediator", file: "guests" },
  { subject: "mediator", file: "side-by-side" },
] as const;

interface Outcome {
  /** Reference and combination to what the scenario gave, or to the error that it ended with. */
  readonly results: ReadonlyMap<string, unknown>;
  readonly stress: StressReport | undefined;
}

/** Every scenario of `files` once for each conduit that it has, under the first rules. */
async function runAll(
  options: EmulatedTargetOptions,
  files: readonly (typeof FILES)[number][] = FILES,
): Promise<Outcome> {
  const target = new EmulatedTarget(await loadBoard("emulated", { env: {} }), options);
  const results = new Map<string, unknown>();
  for (const { subject, file } of files) {
    for (const [name, scenario] of Object.entries(
      (await importScenarios({ subject, file })) ?? {},
    )) {
      if (!isScenario(scenario)) continue;
      const seen = new Set<string>();
      for (const on of combinationsOf(scenario)) {
        if (seen.has(on.conduit)) continue;
        seen.add(on.conduit);
        const reference = `${subject}/${file}#${name}`;
        const result = await target.run(reference, null, on).catch(messageOf);
        results.set(`${reference} ${combinationName(on)}`, result);
      }
    }
  }
  return { results, stress: target.stress };
}

/** What of `after` is not as in `before`. */
const differences = (before: Outcome, after: Outcome): string[] =>
  [...before.results.keys()].filter(
    (key) => !isDeepStrictEqual(before.results.get(key), after.results.get(key)),
  );

let undisturbed: Promise<Outcome> | undefined;
const calm = (): Promise<Outcome> => (undisturbed ??= runAll({}));

test("no scenario notices that pages of its VMs come, go and move, and all of that happens", async () => {
  const under = await runAll({ stress: "memory" });
  expect(differences(await calm(), under)).toEqual([]);
  const { machines = 0, vms = 0, operations } = under.stress ?? {};
  expect(machines).toBe(under.results.size);
  expect(vms).toBeGreaterThan(20);
  for (const counts of Object.values(operations ?? {})) {
    expect(counts.attempts).toBeGreaterThan(500);
    expect(counts.completions).toBeGreaterThan(500);
    expect(counts.completions).toBeLessThanOrEqual(counts.attempts);
  }
  expect(operations?.migration.waits).toBeGreaterThan(100);
});

const pressure = async (seed: number): Promise<StressReport | undefined> =>
  (await runAll({ stress: "memory", seed }, [FILES[2]])).stress;

test("the same seed puts on the same pressure, another seed another", async () => {
  const one = await pressure(5);
  expect(await pressure(5)).toEqual(one);
  expect(await pressure(6)).not.toEqual(one);
});

/** A frame table that forgets pins which were taken for these reasons. */
const forgetting =
  (forgotten: (reason: string) => boolean): NonNullable<EmulatedTargetOptions["prepare"]> =>
  ({ mediator }) => {
    if (mediator === undefined) return;
    const { frames } = mediator;
    const pins = (frame: number): number =>
      frames
        .records()
        .filter(({ reason }) => !forgotten(reason))
        .reduce((sum, record) => sum + [...record.frames()].filter((f) => f === frame).length, 0);
    Object.defineProperty(frames, "pins", { value: pins });
  };

test.each([
  ["any", () => true],
  ["temporary memory", (reason: string) => reason.startsWith("temporary")],
  ["registered memory", (reason: string) => reason.startsWith("regist")],
  ["memory that the secure world asked for", (reason: string) => reason.startsWith("rpc ")],
] as const)(
  "a mediator whose pins for %s do not count fails under pressure",
  async (_, forgotten) => {
    const without = await calm();
    let found: string[] = [];
    for (let seed = 1; seed <= 8 && found.length === 0; seed += 1) {
      found = differences(
        without,
        await runAll({ stress: "memory", seed, prepare: forgetting(forgotten) }),
      );
    }
    expect(found).not.toEqual([]);
  },
);

test("without pressure nobody misses the pins but the scenario that takes pages itself", async () => {
  const forgetful = await runAll({ prepare: forgetting(() => true) });
  expect(differences(await calm(), forgetful)).toEqual([
    "mediator/side-by-side#takenWhileShared vm, strict",
  ]);
});
