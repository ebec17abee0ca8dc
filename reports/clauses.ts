import {
  accountClauses,
  type ClauseAccount,
  type ClauseVerdict,
  type BundleReader,
  type SheetInRun,
} from "../harness/run/index.ts";

/** What a clause came to, in words. */
export const VERDICT_WORDS: Readonly<Record<ClauseVerdict, string>> = {
  passed: "passed",
  failed: "failed",
  known: "known divergence",
  "unit-tests": "unit tests only",
  none: "not reached",
  "out-of-scope": "out of scope",
};

/** Counts of a sheet in the order of their columns. */
export const COUNTS: readonly (readonly [keyof Omit<SheetInRun, "sheet">, string])[] = [
  ["total", "clauses"],
  ["passed", VERDICT_WORDS.passed],
  ["failed", VERDICT_WORDS.failed],
  ["known", VERDICT_WORDS.known],
  ["unitTestsOnly", VERDICT_WORDS["unit-tests"]],
  ["none", VERDICT_WORDS.none],
  ["outOfScope", VERDICT_WORDS["out-of-scope"]],
];

/** A bundle's clauses held against its cases; undefined where the bundle has no clauses. */
export function clausesOf(
  reader: Pick<BundleReader, "catalogue" | "results">,
): ClauseAccount | undefined {
  const { catalogue } = reader;
  return catalogue && accountClauses(catalogue, reader.results.cases);
}

/**
 * Columns that say something: `known divergence` and `not reached` only where there are such, unit
 * tests where there were any to count.
 */
export function usedCounts(sheets: readonly SheetInRun[]): typeof COUNTS {
  const optional = new Set(["known", "none", "unitTestsOnly"]);
  return COUNTS.filter(([key]) => !optional.has(key) || sheets.some((sheet) => sheet[key] > 0));
}

/** The counts of every sheet as lines of a table, its head first. */
export function sheetLines(sheets: readonly SheetInRun[]): readonly string[] {
  const used = usedCounts(sheets);
  const row = (name: string, cells: readonly string[]): string =>
    `  ${name.padEnd(3)}${cells.map((cell, i) => cell.padStart((used[i]?.[1].length ?? 0) + 2)).join("")}`;
  return [
    row(
      "",
      used.map(([, title]) => title),
    ),
    ...sheets.map((sheet) =>
      row(
        sheet.sheet,
        used.map(([key]) => String(sheet[key])),
      ),
    ),
  ];
}
