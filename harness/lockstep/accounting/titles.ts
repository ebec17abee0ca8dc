import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { packageRoot } from "../../base/index.ts";
import { corpusFiles, corpusFolderOf, corpusTitle } from "../fuzz/corpus.ts";
import { readStored } from "../fuzz/stored.ts";

/** A test whose title begins with the clauses that it proves. */
export interface NamedTest {
  /** As the source tree has it: `harness/mediator/walk.test.ts`. */
  readonly file: string;
  /** The whole title, ids included; `%s` and `${…}` as written. */
  readonly title: string;
  readonly clauses: readonly string[];
}

export interface FoundTests {
  /** The harness' own tests are there; an installed package may come without. */
  readonly unitTests: boolean;
  /** By file, then in the file's order. */
  readonly tests: readonly NamedTest[];
}

const ID = String.raw`(?:MED|SMC|MSG|TEE|RPMB)-\d[\w.]*\w|(?:MED|SMC|MSG|TEE|RPMB)-\d`;
const PREFIX = new RegExp(`^((?:${ID})(?:, (?:${ID}))*): `);
const LITERAL = new RegExp(
  String.raw`(\w*)\(?\s*(["'\x60])((?:${ID})(?:, (?:${ID}))*: (?:\\.|(?!\2)[^\\])*)\2`,
  "g",
);
/** `test.each([["MSG-4.SUCCESS", 0], …])("%s: …")`: a row for each clause. */
const TABLE =
  /(\w*)\.each\(\[((?:(?!\.each\()[^])*?)\]\)\(\s*(["'\x60])(%s: (?:\\.|(?!\3)[^\\])*)\3/g;
const ROW_ID = new RegExp(String.raw`\[\s*["'\x60](${ID})["'\x60]`, "g");
/** Replays every program of the corpus, a case each. */
const CORPUS_TEST = "suites/fuzz/corpus.test.js";
const NOT_RUN = new Set(["skip", "todo", "failing"]);

/** The ids that a test's title begins with: `"SMC-2.OK, SMC-4.1.9: …"`. None is an empty list. */
export function clausesInTitle(title: string): readonly string[] {
  return PREFIX.exec(title)?.[1]?.split(", ") ?? [];
}

/** The titles in a test file's text that name clauses; skipped tests are left out. */
export function titlesIn(source: string): readonly Omit<NamedTest, "file">[] {
  const single = [...source.matchAll(LITERAL)]
    .filter(([, caller = ""]) => !NOT_RUN.has(caller))
    .map(([, , , title = ""]) => title);
  const rows = [...source.matchAll(TABLE)]
    .filter(([, caller = ""]) => !NOT_RUN.has(caller))
    .flatMap(([, , table = "", , title = ""]) =>
      [...table.matchAll(ROW_ID)].map(([, id = ""]) => title.replace("%s", id)),
    );
  return [...single, ...rows]
    .map((text) => text.replaceAll(/\\(["'`\\])/g, "$1"))
    .map((title) => ({ title, clauses: clausesInTitle(title) }));
}

/** The cases of the corpus: their titles stand in the programs, not in the test file. */
function corpusTitles(root: string): readonly Omit<NamedTest, "file">[] {
  const folder = corpusFolderOf(root);
  return corpusFiles(folder)
    .map((name) => corpusTitle(name, readStored(path.join(folder, `${name}.json`))))
    .map((title) => ({ title, clauses: clausesInTitle(title) }))
    .filter(({ clauses }) => clauses.length > 0);
}

/** The tests of the package under `root` that name clauses, read from its compiled test files. */
export async function findTests(root = packageRoot): Promise<FoundTests> {
  const dist = path.join(root, "dist");
  const files = (await readdir(dist, { recursive: true }))
    .map((file) => file.split(path.sep).join("/"))
    .filter((file) => /^(?:harness|suites|reports|ci)\/.*\.test\.js$/.test(file))
    .toSorted();
  const tests: NamedTest[] = [];
  for (const file of files) {
    const source = await readFile(path.join(dist, file), "utf8");
    for (const found of file === CORPUS_TEST ? corpusTitles(root) : titlesIn(source)) {
      tests.push({ file: file.replace(/\.js$/, ".ts"), ...found });
    }
  }
  return { unitTests: files.some((file) => !file.startsWith("suites/")), tests };
}
