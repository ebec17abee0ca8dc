import type { Difference } from "./divergences.ts";

const SHOWN_FIELDS = 3;
const SHOWN_CALLS = 4;

/** Where a difference is, in words: `guest 1, leave, CALL_WITH_ARG OPEN_SESSION, behind the mediator`. */
export function placeOfDifference({ call, phase, where, guest }: Difference): string {
  return [
    ...(guest === undefined ? [] : [`guest ${guest}`]),
    ...(phase === undefined ? [] : [phase]),
    call,
    ...(where === "port" ? ["behind the mediator"] : []),
  ].join(", ");
}

/** What differs, in words; the left is what should be. */
export function whatDiffers({ kind, fields, calls = [] }: Difference): string {
  if (kind === "missing call" || kind === "extra call") {
    const shown = calls.slice(0, SHOWN_CALLS).join(", ");
    const more = calls.length > SHOWN_CALLS ? ` and ${calls.length - SHOWN_CALLS} more` : "";
    return `${kind}: ${shown}${more}`;
  }
  const shown = fields
    .slice(0, SHOWN_FIELDS)
    .map(({ field, left, right }) => `${field} is ${right}, not ${left}`);
  const more = fields.length > SHOWN_FIELDS ? ` and ${fields.length - SHOWN_FIELDS} more` : "";
  return `${shown.join(", ")}${more}`;
}

/** A difference in one line, with the clause that it touches. */
export function describeDifference(difference: Difference): string {
  const [clause] = difference.clauses;
  const tail = clause === undefined ? "" : ` [${clause}]`;
  return `${placeOfDifference(difference)}: ${whatDiffers(difference)}${tail}`;
}
