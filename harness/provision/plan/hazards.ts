import { type Hazard, type HazardRule, SEVERITIES } from "./hazard.ts";
import { COUNTER_LINE, PART_HAZARDS } from "./hazards-part.ts";
import { ROUTE_HAZARDS } from "./hazards-route.ts";
import type { Situation } from "./situation.ts";

export const HAZARD_RULES: readonly HazardRule[] = [
  ...PART_HAZARDS,
  ...ROUTE_HAZARDS,
  COUNTER_LINE,
];

const rank = ({ severity }: Hazard): number => SEVERITIES.indexOf(severity);

/** Everything that applies, the worst first. */
export function hazardsOf(situation: Situation): Hazard[] {
  const found = HAZARD_RULES.flatMap(({ id, sources, find }) => {
    const one = find(situation);
    return one === undefined ? [] : [{ id, ...one, sources }];
  });
  return found.toSorted((a, b) => rank(a) - rank(b));
}
