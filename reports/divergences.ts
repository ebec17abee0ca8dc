import {
  describeDifference,
  type Difference,
  type Divergences,
  type ExpectationOutcome,
  type RunDivergence,
  type TargetDivergences,
} from "../harness/run/index.ts";
import { oneLine, printable } from "./text.ts";

const plural = (count: number, word: string): string => `${count} ${word}${count === 1 ? "" : "s"}`;

/** `106 runs of scenarios compared: 104 equal, 1 explained, 1 unexplained; 3 cases not compared`. */
export function describeTarget(one: TargetDivergences): string {
  const left = one.notCompared === 0 ? "" : `; ${plural(one.notCompared, "case")} not compared`;
  return (
    `${plural(one.compared, "run")} of scenarios compared: ${one.equal} equal, ` +
    `${one.explained} explained, ${one.unexplained} unexplained${left}`
  );
}

/** First causes that are one: same place, same difference. */
export interface CauseGroup {
  readonly target: string;
  readonly cause: Difference;
  readonly runs: readonly RunDivergence[];
}

/** Unexplained divergences by first cause, the most frequent first. */
export function byCause({ runs }: Divergences): readonly CauseGroup[] {
  const groups = new Map<string, { target: string; cause: Difference; runs: RunDivergence[] }>();
  for (const run of runs) {
    const { target, cause } = run;
    if (cause === undefined) continue;
    const { kind, call, phase, where, fields, calls } = cause;
    const values = fields.map(({ field, left, right }) => [field, left, right]);
    const key = JSON.stringify([target, kind, call, phase, where, values, calls]);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { target, cause, runs: [run] });
    else group.runs.push(run);
  }
  return [...groups.values()].toSorted((a, b) => b.runs.length - a.runs.length);
}

/** What an expectation came to, where somebody must act. */
export function describeOutcome({ outcome, id, expires }: ExpectationOutcome): string | undefined {
  if (outcome === "stale") return `expectation ${id} is no longer true`;
  if (outcome === "expired") return `expectation ${id} expired on ${expires}`;
  return undefined;
}

const SHOWN = 20;

/** Lines of the summary on a terminal; none where nothing was compared. */
export function divergenceLines(found: Divergences | undefined): readonly string[] {
  if (found === undefined) return [];
  const groups = byCause(found);
  const lines = found.targets.map((one) => `  ${printable(one.target)}: ${describeTarget(one)}`);
  for (const { target, cause, runs } of groups.slice(0, SHOWN)) {
    const [first] = runs;
    lines.push(
      `  ${runs.length} × ${target}: ${oneLine(printable(describeDifference(cause))).slice(0, 400)} (${first?.caseId ?? ""}${runs.length > 1 ? ", …" : ""})`,
    );
  }
  if (groups.length > SHOWN) lines.push(`  and ${groups.length - SHOWN} more, in the report`);
  for (const one of found.expectations) {
    const text = describeOutcome(one);
    if (text !== undefined) lines.push(`  ${printable(one.target)}: ${printable(text)}`);
  }
  return lines;
}
