import { readdirSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";

/** Where the programs are that every run replays. */
export const corpusFolder: string = path.join(packageRoot, "suites", "fuzz", "corpus");

/** Names of the programs of the corpus, without `.json`, sorted. */
export function corpusFiles(): string[] {
  return readdirSync(corpusFolder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .toSorted();
}
