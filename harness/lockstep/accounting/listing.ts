import { SHEET_TITLES, SHEETS, type SheetName } from "../clauses/index.ts";
import { type AccountedClause, isCovered } from "./account.ts";

/** How many clauses a sheet has and what they are proved by. */
export interface SheetTotals {
  readonly sheet: SheetName;
  readonly title: string;
  readonly total: number;
  readonly implemented: number;
  readonly outOfScope: number;
  /** Implemented and named by a suite's test or a scenario, so that a run shows them on a target. */
  readonly bySuites: number;
  /** Implemented and named by unit tests alone. */
  readonly byUnitTestsOnly: number;
}

export interface ListedClause {
  readonly id: string;
  readonly sheet: string;
  readonly section: string;
  readonly level?: string;
  readonly summary: string;
  readonly source: string;
  readonly condition?: string;
  readonly conduit?: string;
  readonly placement?: string;
  readonly status: "implemented" | "out-of-scope";
  readonly reason?: string;
  readonly tests: readonly { readonly file: string; readonly title: string }[];
  readonly scenarios: readonly string[];
}

/** What `lockstep run --list-clauses --json` prints. */
export interface ClauseListing {
  readonly format: 1;
  /** False where the package was installed without its unit tests: then they are not listed. */
  readonly unitTests: boolean;
  /** How many scenarios name the clauses listed. */
  readonly scenarios: number;
  /** Totals of the clauses listed. */
  readonly sheets: readonly SheetTotals[];
  readonly clauses: readonly ListedClause[];
}

const SUITES = "suites/";

/** A suite's test or a scenario names it: a run can show it. */
export function isExercised({ tests, scenarios }: AccountedClause): boolean {
  return (
    tests.some(({ file }) => file.startsWith(SUITES)) ||
    scenarios.some(({ runBy }) => runBy.length > 0)
  );
}

export function totalsOf(clauses: readonly AccountedClause[]): readonly SheetTotals[] {
  return SHEETS.map((sheet) => {
    const all = clauses.filter((clause) => clause.sheet === sheet);
    const implemented = all.filter(({ status }) => status === "implemented");
    const bySuites = implemented.filter(isExercised);
    return {
      sheet,
      title: SHEET_TITLES[sheet],
      total: all.length,
      implemented: implemented.length,
      outOfScope: all.length - implemented.length,
      bySuites: bySuites.length,
      byUnitTestsOnly: implemented.filter((one) => !isExercised(one) && isCovered(one)).length,
    };
  }).filter(({ total }) => total > 0);
}

export function listingOf(
  clauses: readonly AccountedClause[],
  { unitTests }: { readonly unitTests: boolean },
): ClauseListing {
  return {
    format: 1,
    unitTests,
    scenarios: new Set(clauses.flatMap((one) => one.scenarios.map(({ reference }) => reference)))
      .size,
    sheets: totalsOf(clauses),
    clauses: clauses.map(({ tests, scenarios, ...clause }) => ({
      ...clause,
      tests: tests.map(({ file, title }) => ({ file, title })),
      scenarios: scenarios.map(({ reference }) => reference),
    })),
  };
}

const WIDTH = 100;
const LABEL = 12;

/**
 * The listing for people: a paragraph a clause, its id at the line's beginning and again at the
 * beginning of every test's title, and the sheets' totals at the end. Lines have up to 100 columns.
 */
export function describeListing(listing: ClauseListing): string {
  const parts = listing.clauses.map((clause) => `${describeClause(clause).join("\n")}\n`);
  return `${parts.join("\n")}\n${describeTotals(listing)}`;
}

function describeClause(clause: ListedClause): string[] {
  const { id, level, summary, status, reason, source } = clause;
  const mark = level === undefined ? "" : ` [${level}]`;
  const out = status === "implemented" ? "" : " (out of scope)";
  const holds = [
    ...(clause.conduit === undefined ? [] : [`conduit ${clause.conduit}`]),
    ...(clause.placement === undefined ? [] : [`placement ${clause.placement}`]),
    ...(clause.condition === undefined ? [] : [clause.condition]),
  ];
  return [
    ...fold(`${id}${mark}${out}  ${summary}`, 2),
    ...(reason === undefined ? [] : entry("because", reason)),
    ...entry("source", source),
    ...(holds.length === 0 ? [] : entry("holds for", holds.join("; "))),
    ...[...new Set(clause.tests.map(({ file }) => file))].flatMap((file) => [
      ...entry("test", file),
      ...clause.tests
        .filter((test) => test.file === file)
        .flatMap(({ title }) => fold(" ".repeat(LABEL) + title, LABEL + 2)),
    ]),
    ...clause.scenarios.flatMap((reference) => entry("scenario", reference)),
  ];
}

const entry = (label: string, text: string): string[] =>
  fold(`  ${label.padEnd(LABEL - 2)}${text}`, LABEL + 2);

/** Breaks at spaces, so that no line is longer than it must be; later lines are indented. */
function fold(text: string, indent: number): string[] {
  const lines: string[] = [];
  let rest = text;
  while (rest.length > WIDTH) {
    const start = rest.length - rest.trimStart().length;
    const space = rest.lastIndexOf(" ", WIDTH);
    const cut = space > start ? space : rest.indexOf(" ", WIDTH);
    if (cut < 0) break;
    lines.push(rest.slice(0, cut));
    rest = " ".repeat(indent) + rest.slice(cut + 1);
  }
  return [...lines, rest];
}

function describeTotals({ scenarios, sheets, unitTests }: ClauseListing): string {
  const columns = ["clauses", "implemented", "by suites", "unit tests only", "out of scope"];
  const cells = (of: Omit<SheetTotals, "sheet" | "title">): string =>
    [of.total, of.implemented, of.bySuites, unitTests ? of.byUnitTestsOnly : "?", of.outOfScope]
      .map((value, i) => String(value).padStart((columns[i]?.length ?? 0) + 2))
      .join("");
  const sum = (key: "total" | "implemented" | "outOfScope" | "bySuites" | "byUnitTestsOnly") =>
    sheets.reduce((total, one) => total + one[key], 0);
  const all = {
    total: sum("total"),
    implemented: sum("implemented"),
    outOfScope: sum("outOfScope"),
    bySuites: sum("bySuites"),
    byUnitTestsOnly: sum("byUnitTestsOnly"),
  };
  const lines = [
    `sheet${columns.map((name) => `  ${name}`).join("")}`,
    ...sheets.map((one) => `${one.sheet.padEnd(5)}${cells(one)}  ${one.title}`),
    `all  ${cells(all)}`,
    "",
    `Scenarios that name them: ${scenarios}.`,
  ];
  if (!unitTests) {
    lines.push("", "This installation has no unit tests: only the suites' tests are listed.");
  }
  return `${lines.join("\n")}\n`;
}
