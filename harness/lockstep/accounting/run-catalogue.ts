import type { ClauseCatalogue } from "../../run/index.ts";
import { SHEET_TITLES, SHEETS } from "../clauses/index.ts";
import { accountFor } from "./account.ts";
import { findTests } from "./titles.ts";

/** The catalogue as a bundle keeps it: what a run's results are held against. */
export async function runCatalogue(root?: string): Promise<ClauseCatalogue> {
  const { tests, unitTests } = await findTests(root);
  const own = tests.filter(({ file }) => !file.startsWith("suites/"));
  return {
    format: 1,
    unitTests,
    sheets: SHEETS.map((name) => ({ name, title: SHEET_TITLES[name] })),
    clauses: accountFor(own, []).clauses.map(
      ({ id, sheet, level, summary, source, status, reason, tests: named }) => ({
        id,
        sheet,
        ...(level === undefined ? {} : { level }),
        summary,
        source,
        status,
        ...(reason === undefined ? {} : { reason }),
        unitTests: named.length,
      }),
    ),
  };
}
