import { existsSync } from "node:fs";
import path from "node:path";
import { didYouMean } from "../../../base/index.ts";
import {
  type BoardConfig,
  boardDirs,
  boardFileError,
  type BoardFileProblem,
  type BoardSearch,
  checkSchema,
  readSource,
} from "../../../board/index.ts";
import { CLAUSES } from "../../clauses/index.ts";
import type { ExpectedDifference, Expectation } from "./model.ts";

const FOLDER = ["expectations", "divergences"] as const;

/** An entry as the schema lets it pass. */
interface RawEntry {
  readonly id: string;
  readonly boards?: readonly string[];
  readonly versions?: Readonly<Record<string, string>>;
  readonly cases: readonly string[];
  readonly what: ExpectedDifference;
  readonly clause: string;
  readonly reason: string;
  readonly link?: string;
  readonly owner: string;
  readonly expires: string;
  readonly covers_assertion?: boolean;
}

/**
 * What is known of a board: the files of its type and of itself in `expectations/divergences` of every
 * folder where boards are looked for. Throws BoardFileError with file, line and column for one that is
 * malformed, names a clause that there is not, or an id that another entry has.
 */
export async function loadExpectations(
  board: Pick<BoardConfig, "name" | "type">,
  search: BoardSearch,
): Promise<readonly Expectation[]> {
  const found = new Map<string, Expectation>();
  for (const dir of boardDirs(search)) {
    for (const name of new Set([board.type, board.name])) {
      const file = path.join(dir, ...FOLDER, `${path.basename(name)}.yaml`);
      if (!existsSync(file)) continue;
      for (const [one, again] of await readExpectations(file)) {
        const other = found.get(one.id);
        if (other !== undefined) throw boardFileError(again(other.where));
        found.set(one.id, one);
      }
    }
  }
  return [...found.values()].filter(
    ({ boards }) =>
      boards.length === 0 || boards.includes(board.name) || boards.includes(board.type),
  );
}

/** The entries of a file, each with the problem that it would be a second of its id. */
export async function readExpectations(
  file: string,
): Promise<readonly (readonly [Expectation, (other: string) => BoardFileProblem])[]> {
  const source = await readSource(file, {
    map: "known divergences stand under the key `divergences`",
    next: "Begin with `divergences: []`, or see docs/divergences.md.",
  });
  const problems = [...source.problems, ...(await checkSchema(source, "divergences"))];
  // A misspelt key is the cause where a required one is missing as well.
  const problem = problems.find(({ message }) => message.startsWith("unknown key")) ?? problems[0];
  if (problem !== undefined) throw boardFileError(problem);
  const { divergences } = source.data as unknown as { readonly divergences: readonly RawEntry[] };
  return divergences.map((raw, index) => {
    const at = ["divergences", index] as const;
    const wrong = (key: string, message: string, next?: string): BoardFileProblem =>
      source.problem([...at, key], message, next === undefined ? {} : { next });
    if (!CLAUSES.some(({ id }) => id === raw.clause)) {
      const guess = didYouMean(
        raw.clause,
        CLAUSES.map(({ id }) => id),
      );
      throw boardFileError(
        wrong(
          "clause",
          `there is no clause ${raw.clause}`,
          guess ?? "`lockstep run --list-clauses` lists all.",
        ),
      );
    }
    if (!isDay(raw.expires)) {
      throw boardFileError(wrong("expires", `there is no day ${raw.expires}`));
    }
    const { line, column } = source.problem(at, "");
    const { covers_assertion: covers = false, boards = [], versions = {}, ...rest } = raw;
    const where = `${file}:${line}:${column}`;
    const one: Expectation = { ...rest, boards, versions, coversAssertion: covers, where };
    return [one, (other) => wrong("id", `there is a second entry ${raw.id}, at ${other}`)] as const;
  });
}

/** 30 February has the form of a day, and is none. */
function isDay(text: string): boolean {
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}
