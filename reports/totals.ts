import type { RunTotals } from "../harness/run/index.ts";

/**
 * What a whole run of a suite came to, e.g. `139 cases, 0 failed, 39397 subtests (recorded range 39396
 * to 39397)`. Subtests vary from run to run, so they stand in events and reports, never in results.
 */
export function describeTotals(totals: RunTotals): string {
  const { cases, failed, skipped, subtests } = totals;
  const filtered = skipped === 0 ? "" : `, ${skipped} filtered out`;
  const counted = subtests === undefined ? "" : `, ${describeSubtests(subtests)}`;
  return `${cases} cases, ${failed} failed${filtered}${counted}`;
}

function describeSubtests({ seen, min, max }: NonNullable<RunTotals["subtests"]>): string {
  if (min === undefined || max === undefined) return `${seen} subtests (no range recorded)`;
  const range = `recorded range ${min} to ${max}`;
  return `${seen} subtests (${seen < min || seen > max ? "outside the " : ""}${range})`;
}
