import { loadExpected } from "./load.ts";
import type { ExpectedCase } from "./model.ts";

/** The cases recorded for a version of xtest, in run order. Throws UsageError for an unknown one. */
export async function xtestCases(version: string): Promise<readonly ExpectedCase[]> {
  return (await loadExpected(version)).cases;
}

/** Case ids such as `regression_1001`, in run order. Throws UsageError for an unknown version. */
export async function xtestCaseIds(version: string): Promise<readonly string[]> {
  return (await xtestCases(version)).map((one) => one.id);
}
