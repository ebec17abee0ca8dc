import { EXIT } from "../../base/index.ts";
import type { CaseChange, Comparison } from "./compare.ts";

const SECTIONS = [
  ["newFailures", "New failures", "new failure", "new failures"],
  ["missing", "Missing (no verdict any more)", "missing", "missing"],
  ["changed", "Changed otherwise", "changed otherwise", "changed otherwise"],
  ["skipReasons", "Skipped for another reason", "skip reason changed", "skip reasons changed"],
  ["fixed", "Fixed", "fixed", "fixed"],
  ["newCases", "New cases", "new case", "new cases"],
] as const;

/** Longest list of one kind in full; longer ones end with a count. */
const SHOWN = 200;

/** A comparison for people, lines ended by `\n`. */
export function describeComparison(comparison: Comparison): string {
  const out = [`before: ${comparison.before}`, `after:  ${comparison.after}`];
  for (const reason of comparison.incomparable) out.push(`not comparable: ${reason}`);
  for (const note of comparison.notes) out.push(`note: ${note}`);
  for (const pair of comparison.targets) {
    const others = pair.differences.filter((one) => !one.decisive);
    if (others.length === 0) continue;
    out.push(`${pair.after} differs in ${others.length} facts that do not decide:`);
    for (const one of others.slice(0, SHOWN)) {
      out.push(`  ${one.fact}: ${short(one.before)} before, ${short(one.after)} after`);
    }
  }
  for (const [key, title] of SECTIONS) {
    const changes = comparison[key];
    if (changes.length === 0) continue;
    out.push("", `${title}: ${changes.length}`);
    for (const change of changes.slice(0, SHOWN)) out.push(`  ${describeChange(change)}`);
    if (changes.length > SHOWN) out.push(`  and ${changes.length - SHOWN} more`);
  }
  out.push("", comparisonVerdict(comparison), "");
  return out.join("\n");
}

/** The outcome in one sentence: `Worse: 1 new failure, 2 missing, …, 130 unchanged.` */
export function comparisonVerdict(comparison: Comparison): string {
  const counts = SECTIONS.map(([key, , one, many]) => {
    const count = comparison[key].length;
    return `${count} ${count === 1 ? one : many}`;
  });
  const worse = comparison.newFailures.length + comparison.missing.length > 0;
  const word = comparison.exitCode === EXIT.usage ? "Not comparable" : worse ? "Worse" : "No worse";
  return `${word}: ${counts.join(", ")}, ${comparison.unchanged} unchanged.`;
}

function describeChange(change: CaseChange): string {
  const name = change.subcase === undefined ? change.id : `${change.id} (${change.subcase})`;
  const statuses = `${change.before ?? "absent"} → ${change.after ?? "absent"}`;
  const before = change.reasonBefore;
  const after = change.reasonAfter;
  const reason =
    change.before === "skip" && change.after === "skip"
      ? `${before ?? "no reason"} → ${after ?? "no reason"}`
      : (after ?? before);
  const tail = reason === undefined ? "" : `: ${reason.replaceAll(/\s+/g, " ").slice(0, 300)}`;
  return `${change.target}  ${name}  ${statuses}${tail}`;
}

/** A hash says as much in twelve digits. */
function short(value: string): string {
  return /^[0-9a-f]{64}$/.test(value) ? value.slice(0, 12) : value;
}
