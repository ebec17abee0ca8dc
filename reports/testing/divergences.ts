import type { Difference, Divergences } from "../../harness/run/index.ts";

/** Divergences of one board with something of everything in them, all texts `text`. */
export function divergencesOf(text: string, clause = text): Divergences {
  const context = [
    { record: 1, text },
    { record: 2, text, here: true as const },
  ];
  const cause: Difference = {
    kind: "register",
    call: text,
    phase: "leave",
    where: "port",
    guest: 1,
    fields: [{ field: text, left: text, right: `${text}!`, leftRaw: text, rightRaw: `${text}?` }],
    leftRecord: 2,
    rightRecord: 2,
    left: context,
    right: context,
    clauses: [clause],
  };
  const extra: Difference = { ...cause, kind: "extra call", fields: [], calls: [text, text] };
  const run = { target: text, caseId: text, reference: text, conduit: text, echoes: 3 };
  return {
    format: 1,
    targets: [
      { target: text, compared: 4, equal: 1, unexplained: 2, explained: 1, notCompared: 1 },
    ],
    runs: [
      { ...run, run: 0, explained: [], cause, entry: text, expired: text },
      { ...run, run: 1, explained: [], cause: extra, entry: text },
      { ...run, run: 2, explained: [{ expectation: text, reason: text, difference: cause }] },
    ],
    notCompared: [{ target: text, caseId: text, reason: text }],
    expectations: [
      {
        target: text,
        id: text,
        outcome: "stale",
        cases: 1,
        reason: text,
        owner: text,
        expires: text,
        where: text,
      },
    ],
  };
}
