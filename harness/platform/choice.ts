import { UsageError } from "../base/index.ts";
import type { BoardConfig } from "../board/index.ts";
import {
  admits,
  type Combination,
  combinationName,
  combinationsOf,
  type Narrowing,
} from "./combination.ts";
import type { Scenario } from "./scenario.ts";
import { Skipped } from "./target.ts";

/** How a skip's reason ends where a narrowing leaves out all that the scenario could run on. */
export const NOT_SELECTED = "which is not selected";

/**
 * The combination that a scenario runs on: `on`, or the first that scenario, board and narrowing have
 * in common. Throws Skipped where the board has no conduit for it or the selection leaves it out,
 * UsageError where the scenario does not list `on`. `name` is the scenario's, for messages.
 */
export function chooseCombination(
  scenario: Scenario,
  name: string,
  board: BoardConfig,
  narrowing: Narrowing = {},
  on?: Combination,
): Combination {
  const listed = combinationsOf(scenario);
  if (on !== undefined && !listed.some((one) => combinationName(one) === combinationName(on))) {
    throw new UsageError(`scenario ${name} is not made for ${combinationName(on)}`, {
      expected: listed.map(combinationName).join(" or "),
    });
  }
  const wanted = on === undefined ? listed : [on];
  const own = board.bridge?.guest;
  const there = wanted.filter(({ conduit }) => board.conduits.includes(conduit));
  const possible = there.filter(
    ({ rules }) => rules === undefined || own === undefined || rules === own,
  );
  if (there.length === 0) {
    const needed = on === undefined ? scenario.conduits : [on.conduit];
    throw new Skipped(
      `needs conduit ${needed.join(" or ")}, board ${board.name} has ${board.conduits.join(", ") || "none"}`,
    );
  }
  if (possible.length === 0) {
    const needed = there.map(({ rules }) => rules).join(" or ");
    throw new Skipped(
      `needs a mediator of rules ${needed}, board ${board.name} has that of ${own}`,
    );
  }
  const first = on ?? possible.find((one) => admits(narrowing, one));
  if (first !== undefined) return first;
  throw new Skipped(`is for ${possible.map(combinationName).join(" or ")}, ${NOT_SELECTED}`);
}
