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

/** The files about a board: those of its type and of itself in every folder where boards are looked for. */
function filesAbout(
  { type, name }: Pick<BoardConfig, "name" | "type">,
  search: BoardSearch,
): string[] {
  return boardDirs(search).flatMap((dir) =>
    [...new Set([type, name])]
      .map((one) => path.join(dir, ...FOLDER, `${path.basename(one)}.yaml`))
      .filter((file) => existsSync(file)),
  );
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
  const { entries, problems } = await examine(filesAbout(board, search));
  const [problem] = problems;
  if (problem !== undefined) throw boardFileError(problem);
  return entries
    .map(([one]) => one)
    .filter(
      ({ boards }) =>
        boards.length === 0 || boards.includes(board.name) || boards.includes(board.type),
    );
}

/** All that is wrong in the files about a board, and entries whose last day is before `today` (ISO, UTC). */
export async function checkExpectations(
  board: Pick<BoardConfig, "name" | "type">,
  search: BoardSearch,
  today: string,
): Promise<{
  readonly problems: readonly BoardFileProblem[];
  readonly expired: readonly BoardFileProblem[];
}> {
  const { entries, problems } = await examine(filesAbout(board, search));
  const expired = entries.flatMap(([{ id, expires, owner }, wrong]) =>
    expires < today
      ? [
          wrong(
            "expires",
            `known divergence ${id} expired on ${expires}`,
            `Look at it again and set another date, or remove it (owner: ${owner}).`,
          ),
        ]
      : [],
  );
  return { problems, expired };
}

/** Makes a problem at a key of an entry. */
type Wrong = (key: string, message: string, next?: string) => BoardFileProblem;
type Entry = readonly [Expectation, Wrong];

async function examine(files: readonly string[]): Promise<{
  readonly entries: readonly Entry[];
  readonly problems: readonly BoardFileProblem[];
}> {
  const read = await Promise.all(files.map(readExpectations));
  const entries = read.flatMap((one) => one.entries);
  const known = new Map<string, Expectation>();
  const second = entries.flatMap(([one, wrong]) => {
    const other = known.get(one.id);
    if (other === undefined) known.set(one.id, one);
    return other === undefined
      ? []
      : [wrong("id", `there is a second entry ${one.id}, at ${other.where}`)];
  });
  return { entries, problems: [...read.flatMap(({ problems }) => problems), ...second] };
}

const isMisspelt = ({ message }: BoardFileProblem): boolean => message.startsWith("unknown key");

/** The entries of a file, or all that is wrong in it. */
async function readExpectations(
  file: string,
): Promise<{ readonly entries: readonly Entry[]; readonly problems: readonly BoardFileProblem[] }> {
  const source = await readSource(file, {
    map: "known divergences stand under the key `divergences`",
    next: "Begin with `divergences: []`, or see docs/divergences.md.",
  });
  const malformed = [...source.problems, ...(await checkSchema(source, "divergences"))];
  if (malformed.length > 0) {
    // A misspelt key is the cause where a required one is missing as well.
    const problems = malformed.toSorted((a, b) => Number(isMisspelt(b)) - Number(isMisspelt(a)));
    return { entries: [], problems };
  }
  const { divergences } = source.data as unknown as { readonly divergences: readonly RawEntry[] };
  const problems: BoardFileProblem[] = [];
  const entries = divergences.map((raw, index): Entry => {
    const at = ["divergences", index] as const;
    const wrong: Wrong = (key, message, next) =>
      source.problem([...at, key], message, next === undefined ? {} : { next });
    if (!CLAUSES.some(({ id }) => id === raw.clause)) {
      const ids = CLAUSES.map(({ id }) => id);
      const next = didYouMean(raw.clause, ids) ?? "`lockstep run --list-clauses` lists all.";
      problems.push(wrong("clause", `there is no clause ${raw.clause}`, next));
    }
    if (!isDay(raw.expires)) {
      problems.push(wrong("expires", `there is no day ${raw.expires}`));
    }
    const { line, column } = source.problem(at, "");
    const { covers_assertion: covers = false, boards = [], versions = {}, ...rest } = raw;
    const where = `${file}:${line}:${column}`;
    return [{ ...rest, boards, versions, coversAssertion: covers, where }, wrong];
  });
  return { entries, problems };
}

/** 30 February has the form of a day, and is none. */
function isDay(text: string): boolean {
  const time = Date.parse(`${text}T00:00:00Z`);
  return !Number.isNaN(time) && new Date(time).toISOString().startsWith(text);
}
