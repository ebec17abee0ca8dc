import { readdir } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import { importScenarios, isScenario } from "../../platform/index.ts";
import { availableSuites } from "./plan.ts";

const SUFFIX = ".scenario.js";

/** Every scenario by the clauses that it exercises, as text or JSON, sorted by clause. */
export async function listClauses(json: boolean): Promise<string> {
  const byClause = new Map<string, string[]>();
  for (const subject of await availableSuites()) {
    const folder = path.join(packageRoot, "dist", "suites", subject);
    for (const name of (await readdir(folder)).filter((entry) => entry.endsWith(SUFFIX))) {
      const file = name.slice(0, -SUFFIX.length);
      const loaded = (await importScenarios({ subject, file })) ?? {};
      for (const [exported, scenario] of Object.entries(loaded)) {
        if (!isScenario(scenario)) continue;
        for (const clause of scenario.clauses) {
          const scenarios = byClause.get(clause) ?? [];
          scenarios.push(`${subject}/${file}#${exported}`);
          byClause.set(clause, scenarios);
        }
      }
    }
  }
  const rows = [...byClause]
    .map(([clause, scenarios]) => ({ clause, scenarios: scenarios.toSorted(compareClauses) }))
    .toSorted((a, b) => compareClauses(a.clause, b.clause));
  if (json) return `${JSON.stringify(rows, undefined, 2)}\n`;
  return rows
    .map(({ clause, scenarios }) => `${clause.padEnd(12)} ${scenarios.join(" ")}\n`)
    .join("");
}

/** `MSG-2.2.10` after `MSG-2.2.9`. */
function compareClauses(a: string, b: string): number {
  return a.localeCompare(b, "en", { numeric: true });
}
