import type { Conduit } from "../machine/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import type { Scenario } from "./scenario.ts";

/** How a driver reaches the secure world: through which conduit and, on `vm`, under which rules. */
export interface Combination {
  readonly conduit: Conduit["kind"];
  /** The mediator's rules; on conduit `vm` only. */
  readonly rules?: RuleSetName;
}

/** Every conduit, in the order in which options and documents list them. */
export const CONDUITS: readonly Conduit["kind"][] = ["direct", "hwdom", "vm"];
/** Every rule set, the default first. */
export const RULES: readonly RuleSetName[] = ["strict", "xen", "kvm"];

/** A choice among combinations; what is left out admits all. */
export interface Narrowing {
  readonly conduits?: readonly Conduit["kind"][];
  readonly rules?: readonly RuleSetName[];
}

/** Every combination that a scenario lists, in its own order; the first is the one by default. */
export function combinationsOf(
  scenario: Pick<Scenario, "conduits" | "rules">,
): readonly Combination[] {
  const { rules = RULES } = scenario;
  const sets = typeof rules === "string" ? [rules] : rules;
  return scenario.conduits.flatMap((conduit): Combination[] =>
    conduit === "vm" ? sets.map((set) => ({ conduit, rules: set })) : [{ conduit }],
  );
}

export function admits(narrowing: Narrowing, { conduit, rules }: Combination): boolean {
  return (
    (narrowing.conduits === undefined || narrowing.conduits.includes(conduit)) &&
    (rules === undefined || narrowing.rules === undefined || narrowing.rules.includes(rules))
  );
}

/** As titles of cases have it: `direct`, `vm, kvm`. */
export const combinationName = ({ conduit, rules }: Combination): string =>
  rules === undefined ? conduit : `${conduit}, ${rules}`;
