import { constants } from "node:fs";
import { access, readdir, stat } from "node:fs/promises";
import path from "node:path";
import {
  BoardFileError,
  didYouMean,
  errorCode,
  packageRoot,
  UsageError,
} from "../../base/index.ts";
import { checkSchema } from "./check-schema.ts";
import { convert } from "./convert.ts";
import type { BoardConfig, SecretRef } from "./model.ts";
import { IMAGE_FILE_KEYS, isKeyLine, mergeRaw, type RawBoard, resolvePaths } from "./raw.ts";
import { type BoardFileProblem, type DataPath, readSource, shown, type Source } from "./source.ts";

export interface BoardSearch {
  /** Folders to look in, best first; the usual search path where absent. */
  readonly dirs?: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  readonly cwd?: string;
}

/** A board file that was found, unread. */
export interface BoardListing {
  readonly name: string;
  readonly file: string;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const SUFFIX = ".yaml";
const RECIPES = path.join(packageRoot, "boards", "images");

/** Where boards are looked for: `./boards`, the folders of LOCKSTEP_BOARDS_PATH, the package's own. */
export function boardDirs(search: BoardSearch): readonly string[] {
  if (search.dirs !== undefined) return search.dirs;
  const cwd = search.cwd ?? process.cwd();
  const own = (search.env["LOCKSTEP_BOARDS_PATH"] ?? "").split(path.delimiter);
  return [
    path.resolve(cwd, "boards"),
    ...own.filter((dir) => dir !== "").map((dir) => path.resolve(cwd, dir)),
    path.join(packageRoot, "boards"),
  ].filter((dir, index, all) => all.indexOf(dir) === index);
}

/** All boards on the search path by name; of two with one name, the first found. Reads no file. */
export async function listBoards(search: BoardSearch): Promise<BoardListing[]> {
  const found = new Map<string, BoardListing>();
  for (const dir of boardDirs(search)) {
    for (const entry of await filesIn(dir)) {
      const name = entry.slice(0, -SUFFIX.length);
      if (NAME.test(name) && !found.has(name))
        found.set(name, { name, file: path.join(dir, entry) });
    }
  }
  return [...found.values()].toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/** The board types on the search path, for templates and messages. */
export async function listBoardTypes(search: BoardSearch): Promise<BoardListing[]> {
  return listBoards({ ...search, dirs: boardDirs(search).map((dir) => path.join(dir, "types")) });
}

async function filesIn(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true });
    return entries
      .filter((entry) => !entry.isDirectory() && entry.name.endsWith(SUFFIX))
      .map((entry) => entry.name);
  } catch {
    return [];
  }
}

/** The file of a board: a path where `nameOrPath` has a slash or ends in .yaml, else a name to search for. */
export async function findBoardFile(nameOrPath: string, search: BoardSearch): Promise<string> {
  if (nameOrPath.includes("/") || nameOrPath.endsWith(SUFFIX) || nameOrPath.endsWith(".yml")) {
    return path.resolve(search.cwd ?? process.cwd(), nameOrPath);
  }
  const boards = await listBoards(search);
  const board = boards.find(({ name }) => name === nameOrPath);
  if (board !== undefined) return board.file;
  const names = boards.map(({ name }) => name);
  const guess = didYouMean(nameOrPath, names);
  throw new UsageError(
    `there is no board "${nameOrPath}"${guess === undefined ? "" : `; ${guess}`}`,
    {
      next: `Known boards: ${names.join(", ") || "none"}. A board is a file boards/NAME.yaml; \`lockstep boards new\` writes one.`,
    },
  );
}

/**
 * Loads a board: its file merged over its type's, relative paths made absolute, checked. Throws
 * UsageError for an unknown name and BoardFileError for anything wrong in the files.
 */
export async function loadBoard(nameOrPath: string, search: BoardSearch): Promise<BoardConfig> {
  const { config, problems } = await examine(await findBoardFile(nameOrPath, search), search);
  const [first, ...rest] = problems;
  if (first !== undefined) throw asError(first, rest.length);
  return config;
}

/** All that is wrong with one board file and its type; empty where it loads. Throws BoardFileError when it cannot be read. */
export async function checkBoardFile(
  file: string,
  search: BoardSearch,
): Promise<BoardFileProblem[]> {
  return (await examine(path.resolve(search.cwd ?? process.cwd(), file), search)).problems;
}

/**
 * The files that a board names and that cannot be read, each as a problem at the place that names
 * it. Empty where all are there; not part of loading, as a board may be looked at without its images.
 */
export async function missingFiles(file: string, search: BoardSearch): Promise<BoardFileProblem[]> {
  const { config, problems, place } = await examine(
    path.resolve(search.cwd ?? process.cwd(), file),
    search,
  );
  if (problems.length > 0) return problems;
  const named: [DataPath, string | undefined][] = [
    ...IMAGE_FILE_KEYS.map((key): [DataPath, string | undefined] => [
      ["images", key],
      config.images[key],
    ]),
    [["ssh", "key", "file"], fileOf(config.ssh?.key)],
    [["ssh", "host_key"], config.ssh?.hostKey],
    [["boot", "linux", "password", "file"], fileOf(config.boot?.linux.password)],
  ];
  const missing: BoardFileProblem[] = [];
  for (const [at, name] of named) {
    if (name === undefined || isKeyLine(name)) continue;
    const reason = await unreadable(name);
    if (reason === undefined) continue;
    missing.push(
      place(at, `${name}: ${reason}`, `Put the file there, or correct \`${at.join(".")}\`.`),
    );
  }
  const tas = config.bridge?.tas;
  if (tas !== undefined && !(await isFolder(tas))) {
    missing.push(place(["bridge", "tas"], `${tas}: no such folder`, "Put the .ta files there."));
  }
  return missing;
}

/** A problem that was found outside of loading, at the place where a board's files say `at`. */
export async function boardFileProblem(
  file: string,
  search: BoardSearch,
  at: DataPath,
  message: string,
  next?: string,
): Promise<BoardFileProblem> {
  return (await examine(file, search)).place(at, message, next);
}

function fileOf(ref: string | SecretRef | undefined): string | undefined {
  return typeof ref === "object" && "file" in ref ? ref.file : undefined;
}

const isFolder = async (name: string): Promise<boolean> =>
  await stat(name).then(
    (found) => found.isDirectory(),
    () => false,
  );

async function unreadable(file: string): Promise<string | undefined> {
  try {
    await access(file, constants.R_OK);
    return (await stat(file)).isDirectory() ? "is a folder, not a file" : undefined;
  } catch (error) {
    return errorCode(error) === "EACCES" ? "may not be read by you" : "no such file";
  }
}

/** A problem as the error that names its place. */
export function asError(problem: BoardFileProblem, more = 0): BoardFileError {
  const hint =
    more === 0
      ? problem.next
      : `${problem.next === undefined ? "" : `${problem.next} `}${more} more ${more === 1 ? "problem" : "problems"}: \`lockstep boards check ${shown(problem.file)}\` lists all.`;
  return new BoardFileError(problem.message, {
    where: `${shown(problem.file)}:${problem.line}:${problem.column}`,
    ...(hint !== undefined && { next: hint }),
  });
}

interface Examined {
  readonly config: BoardConfig;
  readonly problems: BoardFileProblem[];
  /** A problem in whichever file the value at a path was written. */
  readonly place: (at: DataPath, message: string, next?: string) => BoardFileProblem;
}

async function examine(file: string, search: BoardSearch): Promise<Examined> {
  const unit = await readSource(file);
  const problems = [...unit.problems, ...(await checkSchema(unit, "board"))];
  const name = path.basename(file).replace(/\.ya?ml$/, "");
  if (!NAME.test(name)) {
    problems.push(
      unit.problem([], `"${name}" cannot be a board's name`, {
        next: "Rename the file: letters, digits, `.`, `_` and `-`, at most 64.",
      }),
    );
  }
  const own = (unit.data ?? {}) as RawBoard;
  const type =
    typeof own.type === "string" ? await readType(own.type, unit, search, problems) : undefined;
  if (type !== undefined)
    problems.push(...type.problems, ...(await checkSchema(type, "board-type")));

  const place: Examined["place"] = (at, message, next) => {
    const source = type !== undefined && !unit.has(at) && type.has(at) ? type : unit;
    return source.problem(at, message, next === undefined ? {} : { next });
  };
  if (problems.length > 0) return { config: convert({}, name, file, () => {}), problems, place };
  const config = convert(merged(unit, type), name, file, (at, message, next) => {
    problems.push(place(at, message, next));
  });
  if (config.image !== undefined) {
    const known = await foldersIn(RECIPES);
    if (!known.includes(config.image)) {
      const guess = didYouMean(config.image, known);
      const message = `there is no reference image "${config.image}"`;
      problems.push(
        place(
          ["image"],
          guess === undefined ? message : `${message}; ${guess}`,
          `Known images: ${known.join(", ")}. Files of your own stand under \`images\`.`,
        ),
      );
    }
  }
  return { config, problems, place };
}

async function foldersIn(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  return entries.flatMap((entry) => (entry.isDirectory() ? [entry.name] : [])).toSorted();
}

function resolved({ file, data }: Source): RawBoard {
  return resolvePaths(data ?? {}, (relative) => path.resolve(path.dirname(file), relative));
}

function merged(unit: Source, type: Source | undefined): RawBoard {
  const top = resolved(unit);
  const base = type === undefined ? {} : resolved(type);
  const typeName = type === undefined ? top.type : path.basename(type.file, SUFFIX);
  return { ...mergeRaw<RawBoard>(base, top), type: typeName };
}

async function readType(
  wanted: string,
  unit: Source,
  search: BoardSearch,
  problems: BoardFileProblem[],
): Promise<Source | undefined> {
  const beside = path.dirname(unit.file);
  const dirs = [beside, ...boardDirs(search)].map((dir) => path.join(dir, "types"));
  const types = await listBoards({ ...search, dirs });
  const isPath = wanted.includes("/") || wanted.endsWith(SUFFIX);
  const file = isPath
    ? path.resolve(beside, wanted)
    : types.find(({ name }) => name === wanted)?.file;
  try {
    if (file !== undefined) return await readSource(file);
    const names = types.map(({ name }) => name);
    const guess = didYouMean(wanted, names);
    problems.push(
      unit.problem(
        ["type"],
        `there is no board type "${wanted}"${guess === undefined ? "" : `; ${guess}`}`,
        {
          next: `Known types: ${names.join(", ")}.`,
        },
      ),
    );
  } catch (error) {
    if (!(error instanceof BoardFileError)) throw error;
    problems.push(
      unit.problem(["type"], `the type file ${error.where ?? wanted}: ${error.message}`),
    );
  }
  return undefined;
}
