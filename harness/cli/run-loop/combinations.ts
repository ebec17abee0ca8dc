import { readdir } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import {
  combinationsOf,
  combinationName,
  importScenarios,
  isScenario,
} from "../../platform/index.ts";
import type { SuiteSetup } from "../../run/index.ts";

const SUFFIX = ".scenario.js";

/** The combinations of every scenario under these suites that lists several, for a suite's setup. */
export async function listedCombinations(
  suites: readonly string[],
): Promise<NonNullable<SuiteSetup["combinations"]>> {
  const groups = new Map<string, { on: ReturnType<typeof combinationsOf>; of: string[] }>();
  for (const subject of suites) {
    const names = await readdir(path.join(packageRoot, "dist", "suites", subject));
    for (const name of names.filter((entry) => entry.endsWith(SUFFIX)).toSorted()) {
      const file = name.slice(0, -SUFFIX.length);
      const loaded = (await importScenarios({ subject, file })) ?? {};
      for (const [exported, scenario] of Object.entries(loaded)) {
        if (!isScenario(scenario)) continue;
        const on = combinationsOf(scenario);
        if (on.length < 2) continue;
        const key = on.map(combinationName).join(" ");
        const group = groups.get(key) ?? { on, of: [] };
        groups.set(key, group);
        group.of.push(`${subject}/${file}#${exported}`);
      }
    }
  }
  return [...groups.values()];
}
