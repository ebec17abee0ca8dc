import type { BoardConfig } from "../../board/index.ts";
import type { PreparedImage } from "../../images/index.ts";
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

/** The cases that a run wants of a board: its suites, less its exclusions, by the run's filter. */
export function wantedCases(
  expected: ExpectedList,
  config: BoardConfig,
  filter: CaseFilter,
): ExpectedCase[] {
  const { suites, exclude } = config.xtest ?? { suites: undefined, exclude: [] };
  return expected.cases.filter(
    ({ id, title, suite }) =>
      (suites === undefined || suites.includes(suite)) &&
      !exclude.some((part) => part !== "" && id.includes(part)) &&
      matchesFilter(filter, `xtest.${id}`, title),
  );
}
