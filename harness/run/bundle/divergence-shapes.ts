import {
  type ContextLine,
  type Difference,
  DIFFERENCE_KINDS,
  type Divergences,
  type ExpectationOutcome,
  type FieldDifference,
  type NotCompared,
  type RunDivergence,
  type TargetDivergences,
} from "../divergences.ts";
import { type Check, count, list, object, oneOf, text } from "./check.ts";

const fieldDifference: Check<FieldDifference> = object({
  field: text,
  left: text,
  right: text,
  leftRaw: text,
  rightRaw: text,
});

const contextLine: Check<ContextLine> = object({ record: count, text }, { here: oneOf([true]) });

const difference: Check<Difference> = object(
  {
    kind: oneOf(DIFFERENCE_KINDS),
    call: text,
    fields: list(fieldDifference),
    leftRecord: count,
    rightRecord: count,
    left: list(contextLine),
    right: list(contextLine),
    clauses: list(text),
  },
  {
    phase: oneOf(["enter", "leave"]),
    where: oneOf(["conduit", "port"]),
    guest: count,
    calls: list(text),
  },
);

const runDivergence: Check<RunDivergence> = object(
  {
    target: text,
    caseId: text,
    run: count,
    reference: text,
    conduit: text,
    explained: list(object({ expectation: text, reason: text, difference })),
    echoes: count,
  },
  { resultsOnly: oneOf([true]), cause: difference, entry: text, expired: text },
);

const targetDivergences: Check<TargetDivergences> = object({
  target: text,
  compared: count,
  equal: count,
  unexplained: count,
  explained: count,
  notCompared: count,
});

const notCompared: Check<NotCompared> = object({ target: text, caseId: text, reason: text });

const expectationOutcome: Check<ExpectationOutcome> = object(
  {
    target: text,
    id: text,
    outcome: oneOf(["matched", "stale", "expired", "untested"]),
    cases: count,
    reason: text,
    owner: text,
    expires: text,
    where: text,
  },
  { link: text },
);

export const divergences: Check<Divergences> = object({
  format: oneOf([1]),
  targets: list(targetDivergences),
  runs: list(runDivergence),
  notCompared: list(notCompared),
  expectations: list(expectationOutcome),
});
