import type { Difference } from "../../../run/index.ts";
import type { ExpectedDifference, Expectation } from "./model.ts";

const patterns = new Map<string, RegExp>();

/** Whether a text is meant: `*` stands for any characters. */
function matchesText(glob: string, text: string): boolean {
  let pattern = patterns.get(glob);
  if (pattern === undefined) {
    const parts = glob.split("*").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    pattern = new RegExp(`^${parts.join(".*")}$`, "s");
    patterns.set(glob, pattern);
  }
  return glob === text || pattern.test(text);
}

export const coversCase = ({ cases }: Pick<Expectation, "cases">, caseId: string): boolean =>
  cases.some((glob) => matchesText(glob, caseId));

/**
 * Whether an expectation names this difference: the same kind, call and place, every field that
 * differs with both its values, every call that one side lacks.
 */
export function namesDifference(expected: ExpectedDifference, difference: Difference): boolean {
  const { kind, call, phase, where, guest, fields = {}, calls } = expected;
  if (kind !== difference.kind || call !== difference.call) return false;
  if (phase !== undefined && phase !== difference.phase) return false;
  if (where !== undefined && where !== difference.where) return false;
  if (guest !== undefined && guest !== difference.guest) return false;
  const named = difference.fields.every(({ field, left, right }) => {
    const one = Object.hasOwn(fields, field) ? fields[field] : undefined;
    return one !== undefined && matchesText(one.left, left) && matchesText(one.right, right);
  });
  if (!named) return false;
  if (difference.calls === undefined) return true;
  // An entry that lists no calls would cover whatever else is missing there.
  return (
    calls !== undefined &&
    calls.length === difference.calls.length &&
    calls.every((one, index) => one === difference.calls?.[index])
  );
}
