import { didYouMean } from "../../base/index.ts";
import {
  type BoardConfig,
  type BoardFileProblem,
  boardFileProblem,
  type BoardSearch,
} from "../../board/index.ts";
import { findPrepared, type PreparedImage } from "../../images/index.ts";
import { type CaseFilter, matchesFilter } from "../../run/index.ts";
import { type ExpectedCase, expectedFor, type ExpectedList } from "../../xtest/index.ts";

const XTEST_PACKAGE = "optee-test-qemu";

/**
 * The recorded list for what is on a board: of the image's own version of xtest where there is one,
 * else the newest, and `exact` is false.
 */
export async function expectedOn(
  prepared: PreparedImage | undefined,
): Promise<{ readonly list: ExpectedList; readonly exact: boolean }> {
  return await expectedFor(prepared?.packages[XTEST_PACKAGE]);
}

export interface WantedCases {
  readonly run: readonly ExpectedCase[];
  /** Left out by the board's `xtest.exclude`: to be reported as skipped. */
  readonly excluded: readonly ExpectedCase[];
}

/** The cases of a board's suites that the run's filter selects, and those of them that it leaves out. */
export function wantedCases(
  expected: ExpectedList,
  config: BoardConfig,
  filter: CaseFilter,
): WantedCases {
  const suites = config.xtest?.suites;
  const exclude = config.xtest?.exclude ?? [];
  const selected = expected.cases.filter(
    ({ id, title, suite }) =>
      (suites === undefined || suites.includes(suite)) &&
      matchesFilter(filter, `xtest.${id}`, title),
  );
  return {
    run: selected.filter(({ id }) => !exclude.includes(id)),
    excluded: selected.filter(({ id }) => exclude.includes(id)),
  };
}

/**
 * What a board's `xtest` section names that its xtest does not have: a suite, or a case to exclude.
 * Nothing where the board's image is not made yet, and with it its xtest not known.
 */
export async function selectionProblems(
  config: BoardConfig,
  search: BoardSearch,
): Promise<BoardFileProblem[]> {
  const { file, image, xtest } = config;
  if (xtest === undefined) return [];
  const prepared = image === undefined ? undefined : await findPrepared(image, search.env);
  if (image !== undefined && prepared === undefined) return [];
  const { list } = await expectedOn(prepared);
  const suites = [...new Set(list.cases.map(({ suite }) => suite))];
  const ids = list.cases.map(({ id }) => id);
  const about = [
    ["suites", xtest.suites, suites, `Known suites: ${suites.join(", ")}.`],
    ["exclude", xtest.exclude, ids, "Name cases by their full id, e.g. regression_1006."],
  ] as const;
  const problems: BoardFileProblem[] = [];
  for (const [key, named, known, next] of about) {
    for (const [index, one] of named.entries()) {
      if (known.includes(one)) continue;
      const guess = didYouMean(one, known);
      const message = `xtest ${list.xtest} has no ${key === "suites" ? "suite" : "case"} "${one}"`;
      const text = guess === undefined ? message : `${message}; ${guess}`;
      problems.push(await boardFileProblem(file, search, ["xtest", key, index], text, next));
    }
  }
  return problems;
}
