import type { Scenario } from "./scenario.ts";

/**
 * At least so long the secure world has between two interrupts: more than it needs for getting back
 * into a call.
 */
const MOST_OFTEN_US = 100;

/** Microseconds until a real interrupt, where the model has them in `interrupts` of a thousand places. */
export function interruptPeriodOf({
  interrupts = 0,
}: Pick<Scenario, "interrupts">): number | undefined {
  return interrupts > 0 ? Math.ceil(MOST_OFTEN_US * (1000 / interrupts)) : undefined;
}
