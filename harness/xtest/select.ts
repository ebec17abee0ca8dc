import { didYouMean, UsageError } from "../base/index.ts";
import type { ExpectedCase, ExpectedList } from "./expected/model.ts";

/** Which cases to run. */
export interface XtestSelection {
  /** xtest's `-l`, 0 to 15. */
  readonly level: number;
  /** xtest's `-t`, e.g. `regression` and `pkcs11`. */
  readonly suites: readonly string[];
  /** Full case ids, with or without `xtest.` before them, or patterns over them; all where absent. */
  readonly only?: readonly (string | RegExp)[];
  /** As xtest's `-x`: every case whose id contains one of these is left out. */
  readonly exclude?: readonly string[];
}

/**
 * The rule by which xtest picks cases from its arguments after the options (host/xtest/adbg 4.5):
 * each argument matches as a substring, the last match decides, and a list that begins with `-x`
 * starts from all cases.
 */
export function xtestRuns(args: readonly string[], id: string): boolean {
  let match = args.length === 0 || args[0] === "-x";
  for (let i = 0; i < args.length; i++) {
    const arg = args[i] ?? "";
    if (arg === "-x") {
      const excluded = args[++i];
      if (excluded !== undefined && id.includes(excluded)) match = false;
    } else if (id.includes(arg)) match = true;
  }
  return match;
}

/** The cases of the selected suites, in run order. Throws UsageError for a suite without cases. */
export function suiteCases(expected: ExpectedList, suites: readonly string[]): ExpectedCase[] {
  const known = [...new Set(expected.cases.map((one) => one.suite))];
  for (const suite of suites) {
    if (known.includes(suite)) continue;
    const guess = didYouMean(suite, known);
    throw new UsageError(
      `xtest ${expected.xtest} has no recorded suite "${suite}"${guess === undefined ? "" : `; ${guess}`}`,
      { expected: known.join(", "), where: expected.file },
    );
  }
  return expected.cases.filter((one) => suites.includes(one.suite));
}

/** The selected cases in run order. Throws UsageError where a filter matches nothing. */
export function selectCases(expected: ExpectedList, selection: XtestSelection): ExpectedCase[] {
  const cases = suiteCases(expected, selection.suites);
  const ids = cases.map((one) => one.id);
  const tests = selection.only?.map((filter) => {
    if (typeof filter === "string") {
      const id = filter.replace(/^xtest\./, "");
      if (ids.includes(id)) return (one: string): boolean => one === id;
      const guess = didYouMean(id, ids);
      throw new UsageError(`no case "${id}"${guess === undefined ? "" : `; ${guess}`}`, {
        next: "A case is selected by its full id, e.g. regression_1004",
      });
    }
    const test = (one: string): boolean => {
      filter.lastIndex = 0;
      return filter.test(one);
    };
    if (!ids.some(test)) throw new UsageError(`the filter ${String(filter)} matches no case`);
    return test;
  });
  const selected = cases.filter(
    ({ id }) =>
      (tests === undefined || tests.some((test) => test(id))) &&
      !(selection.exclude ?? []).some((part) => part !== "" && id.includes(part)),
  );
  if (selected.length === 0) {
    throw new UsageError("no case is left to run: the exclusions take away all that is selected");
  }
  return selected;
}

/** One start of xtest. */
export interface Invocation {
  readonly suites: readonly string[];
  /** Arguments after the options; empty for a whole run. */
  readonly args: readonly string[];
  /** The cases that it runs, exactly. */
  readonly ids: readonly string[];
}

/**
 * The fewest starts of xtest that run `ids` and nothing else of `cases`: suites as a whole where
 * all of them is wanted, else full ids or exclusions, whichever is shorter. Since ids match as
 * substrings every proposal is checked against xtest's own rule before it is taken.
 */
export function planInvocations(
  cases: readonly ExpectedCase[],
  ids: readonly string[],
  maxArgs = Number.POSITIVE_INFINITY,
): Invocation[] {
  const wanted = new Set(ids);
  const suites = [...new Set(cases.filter((one) => wanted.has(one.id)).map((one) => one.suite))];
  const universe = cases.filter((one) => suites.includes(one.suite)).map((one) => one.id);
  const picked = universe.filter((id) => wanted.has(id));
  if (picked.length === 0) return [];
  const others = universe.filter((id) => !wanted.has(id));
  const collateral = others.filter((id) => xtestRuns(picked, id));
  const proposals = [
    others.flatMap((id) => ["-x", id]),
    [...picked, ...collateral.flatMap((id) => ["-x", id])],
  ]
    .filter((args) => universe.every((id) => xtestRuns(args, id) === wanted.has(id)))
    .toSorted((a, b) => length(a) - length(b));
  const args = proposals[0];
  if (args !== undefined && (length(args) <= maxArgs || picked.length === 1)) {
    return [{ suites, args, ids: picked }];
  }
  const half = Math.ceil(picked.length / 2);
  return [picked.slice(0, half), picked.slice(half)].flatMap((part) =>
    planInvocations(cases, part, maxArgs),
  );
}

function length(args: readonly string[]): number {
  return args.reduce((sum, arg) => sum + arg.length + 1, 0);
}

/** The command line of a start; arguments that a shell could read differently are quoted. */
export function xtestCommand(level: number, { suites, args }: Omit<Invocation, "ids">): string {
  const words = ["xtest", "-l", String(level), "-t", suites.join("+"), ...args];
  return words
    .map((word) => (/^[\w.+-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`))
    .join(" ");
}
