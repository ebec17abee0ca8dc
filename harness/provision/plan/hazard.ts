import type { Situation } from "./situation.ts";

/**
 * - `stop`: performing would fail or be wrong; it is refused.
 * - `danger`: it works, and something is lost for good.
 * - `caution`: look before.
 * - `note`: good to know.
 */
export const SEVERITIES = ["stop", "danger", "caution", "note"] as const;
export type Severity = (typeof SEVERITIES)[number];

/** One thing that can go wrong on this part, on this route, in this life-cycle state. */
export interface Hazard {
  readonly id: string;
  readonly severity: Severity;
  readonly what: string;
  readonly mend: string;
  /** Clauses of the RPMB sheet that it rests on. */
  readonly sources: readonly string[];
}

/** A hazard that may apply; `find` says nothing where it does not. */
export interface HazardRule {
  readonly id: string;
  readonly sources: readonly string[];
  readonly find: (situation: Situation) => Omit<Hazard, "id" | "sources"> | undefined;
}
