import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import { importScenarios, isScenario } from "../../platform/index.ts";

export interface FoundScenario {
  /** `<subject>/<file>#<export>`. */
  readonly reference: string;
  readonly clauses: readonly string[];
  /** Suite test files that run it: `suites/mediator/attacks.test.ts`. */
  readonly runBy: readonly string[];
}

const SCENARIO = ".scenario.js";
/** Every case of xtest that has a re-statement runs it, by its id. */
const RESTATEMENTS = "xtest/restatements#";
const XTEST = "suites/xtest/xtest.test.ts";

/** Every scenario of the package under `root`, sorted by reference. */
export async function findScenarios(root = packageRoot): Promise<readonly FoundScenario[]> {
  const suites = path.join(root, "dist", "suites");
  const files = (await readdir(suites, { recursive: true }))
    .map((file) => file.split(path.sep).join("/"))
    .toSorted();
  const tests = new Map<string, string>();
  for (const file of files.filter((name) => name.endsWith(".test.js"))) {
    const name = `suites/${file.replace(/\.js$/, ".ts")}`;
    tests.set(name, await readFile(path.join(suites, file), "utf8"));
  }
  const found: FoundScenario[] = [];
  for (const at of files.filter((name) => name.endsWith(SCENARIO))) {
    const [subject = "", file = ""] = at.slice(0, -SCENARIO.length).split("/");
    const loaded = (await importScenarios({ subject, file }, root)) ?? {};
    for (const [name, scenario] of Object.entries(loaded)) {
      if (!isScenario(scenario)) continue;
      const reference = `${subject}/${file}#${name}`;
      const runBy = [...tests].filter(([test, text]) => runs(test, text, reference));
      found.push({ reference, clauses: scenario.clauses, runBy: runBy.map(([test]) => test) });
    }
  }
  return found;
}

/** Whether a suite test names the scenario: whole, or its file and, as a text of its own, its name. */
function runs(test: string, text: string, reference: string): boolean {
  if (test === XTEST && reference.startsWith(RESTATEMENTS)) return true;
  const [file = "", name = ""] = reference.split("#");
  if (!text.includes(`${file}#`) && !text.includes(`"${file}"`)) return false;
  return ["#", '"', "'", "`"].some((before) =>
    ['"', "'", "`"].some((after) => text.includes(`${before}${name}${after}`)),
  );
}
