import { readdirSync } from "node:fs";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import type { StoredProgram } from "./stored.ts";

/** Where the programs are that every run replays. */
export const corpusFolder: string = corpusFolderOf(packageRoot);

/** The same of the package under `root`. */
export function corpusFolderOf(root: string): string {
  return path.join(root, "suites", "fuzz", "corpus");
}

/** Title of the case that replays the program `name`: the clauses it is about, its name, its sentence. */
export function corpusTitle(
  name: string,
  { about = name, clauses = [] }: Pick<StoredProgram, "about" | "clauses">,
): string {
  return `${clauses.length === 0 ? "" : `${clauses.join(", ")}: `}${name}: ${about}`;
}

/** Names of the programs of the corpus, without `.json`, sorted. */
export function corpusFiles(folder: string = corpusFolder): string[] {
  return readdirSync(folder)
    .filter((name) => name.endsWith(".json"))
    .map((name) => name.slice(0, -".json".length))
    .toSorted();
}
