import { readFile, stat } from "node:fs/promises";
import path from "node:path";
import type { Document, Node, YAMLMap } from "yaml";
import { BoardFileError, errorCode, messageOf } from "../../base/index.ts";

/** One thing that is wrong with a board or type file; `line` and `column` count from 1. */
export interface BoardFileProblem {
  readonly file: string;
  readonly line: number;
  readonly column: number;
  readonly message: string;
  readonly next?: string;
}

/** Keys and indices from the top of a document to a value. */
export type DataPath = readonly (string | number)[];

/** A board or type file as parsed YAML that still knows where everything stood. */
export interface Source {
  readonly file: string;
  /** Undefined where the text is not YAML or not a map; `problems` then says why. */
  readonly data: Readonly<Record<string, unknown>> | undefined;
  readonly problems: readonly BoardFileProblem[];
  has(at: DataPath): boolean;
  /** A problem at the value at `at`, or at its key, or at the nearest parent that exists. */
  problem(
    at: DataPath,
    message: string,
    options?: { onKey?: boolean; next?: string },
  ): BoardFileProblem;
}

/** Board files are a few kilobytes; anything of this size is something else. */
const MAX_BYTES = 1 << 20;
/** Enough for every honest file; an alias bomb needs far more. */
const MAX_ALIASES = 100;

const BOARD_FILE = {
  map: "a board file is a map of keys",
  next: "Begin with `type: qemu-virt`, or see docs/board-files.md.",
};

/**
 * Reads and parses one file; what is wrong inside it becomes `problems`. Throws BoardFileError
 * when the file itself cannot be read.
 */
export async function readSource(
  file: string,
  expected: { readonly map: string; readonly next: string } = BOARD_FILE,
): Promise<Source> {
  const text = await readText(file);
  const yaml = await import("yaml");
  const lines = new yaml.LineCounter();
  const document = yaml.parseDocument(text, {
    lineCounter: lines,
    prettyErrors: false,
    uniqueKeys: true,
    stringKeys: true,
    version: "1.2",
    schema: "core",
  });
  const at = (offset: number, message: string, next?: string): BoardFileProblem => {
    const { line, col } = lines.linePos(offset);
    return {
      file,
      line: Math.max(1, line),
      column: Math.max(1, col),
      message,
      ...(next === undefined ? {} : { next }),
    };
  };
  const locate = locator(yaml.isMap, yaml.isSeq, document);
  const source = (data: Source["data"], problems: readonly BoardFileProblem[]): Source => ({
    file,
    data,
    problems,
    has: (target) => locate(target, false).exact,
    problem: (target, message, options = {}) =>
      at(locate(target, options.onKey ?? false).offset, message, options.next),
  });

  const syntax = [...document.errors, ...document.warnings].map((error) =>
    at(error.pos[0], `not valid YAML: ${firstLine(error.message)}`),
  );
  if (syntax.length > 0) return source(undefined, syntax);
  if (!yaml.isMap(document.contents)) {
    const seen = document.contents === null ? "the file is empty" : "the file is not a map";
    return source(undefined, [at(0, `${seen}; ${expected.map}`, expected.next)]);
  }
  try {
    const data = document.toJS({ maxAliasCount: MAX_ALIASES }) as Record<string, unknown>;
    return source(data, []);
  } catch (error) {
    return source(undefined, [at(0, `cannot be read as data: ${messageOf(error)}`)]);
  }
}

async function readText(file: string): Promise<string> {
  try {
    const info = await stat(file);
    if (!info.isFile()) {
      throw new BoardFileError("is not a file", { where: shown(file), next: "Name a YAML file." });
    }
    if (info.size > MAX_BYTES) {
      throw new BoardFileError(`has ${info.size} bytes; a board file has at most ${MAX_BYTES}`, {
        where: shown(file),
        next: "Check that this is the file you meant.",
      });
    }
    return await readFile(file, "utf8");
  } catch (error) {
    if (error instanceof BoardFileError) throw error;
    const reasons: Record<string, [string, string]> = {
      ENOENT: [
        "no such file",
        "Check the path; `lockstep boards` lists the boards that are known.",
      ],
      ENOTDIR: ["no such file", "Check the path; a part of it is a file, not a folder."],
      EACCES: ["may not be read by you", `Make it readable, e.g. \`chmod u+r ${shown(file)}\`.`],
    };
    const [message, next] = reasons[errorCode(error) ?? ""] ?? [
      `cannot be read: ${messageOf(error)}`,
      "Check the file and its disk.",
    ];
    throw new BoardFileError(message, { where: shown(file), next, cause: error });
  }
}

/** The path as a person would type it: relative to the working folder where it lies below it. */
export function shown(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative === "" || relative.startsWith("..") ? file : relative;
}

function firstLine(text: string): string {
  return (text.split("\n", 1)[0] ?? "").replace(/[.:]$/, "");
}

function start(node: unknown, fallback: number): number {
  return (node as Node | null)?.range?.[0] ?? fallback;
}

function locator(
  isMap: (node: unknown) => node is YAMLMap,
  isSeq: (node: unknown) => node is { items: unknown[] } & Node,
  document: Document,
): (at: DataPath, onKey: boolean) => { offset: number; exact: boolean } {
  return (at, onKey) => {
    let node: unknown = document.contents;
    let offset = start(node, 0);
    for (const [depth, step] of at.entries()) {
      const last = depth === at.length - 1;
      if (isMap(node)) {
        const pair = node.items.find(({ key }) => String(key) === String(step));
        if (pair === undefined) return { offset, exact: false };
        const keyOffset = start(pair.key, offset);
        offset = last && onKey ? keyOffset : start(pair.value, keyOffset);
        node = pair.value;
      } else if (isSeq(node) && typeof step === "number" && step < node.items.length) {
        node = node.items[step];
        offset = start(node, offset);
      } else {
        return { offset, exact: false };
      }
    }
    return { offset, exact: true };
  };
}
