import type { BoardConfig } from "../../board/index.ts";
import type { PreparedImage } from "../../images/index.ts";
import { type CaseFilter, matchesFilter } from "../../run/index.ts";
import {
  bundledVersions,
  type ExpectedCase,
  type ExpectedList,
  loadExpected,
} from "../../xtest/index.ts";
import { InternalError } from "../../base/index.ts";

const XTEST_PACKAGE = "optee-test-qemu";

/**
 * The recorded list for what is on a board: of the image's own version of xtest where there is one,
 * else of the newest version that is recorded.
 */
export async function expectedFor(prepared: PreparedImage | undefined): Promise<ExpectedList> {
  const versions = await bundledVersions();
  const packaged = prepared?.packages[XTEST_PACKAGE];
  const exact = versions.find((version) => packaged?.startsWith(version) === true);
  const version = exact ?? versions[0];
  if (version === undefined) throw new InternalError("no list of xtest cases comes with lockstep");
  return await loadExpected(version);
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
