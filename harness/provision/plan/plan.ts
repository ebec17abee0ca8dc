import { createHash } from "node:crypto";
import type { Hazard } from "./hazard.ts";
import { hazardsOf } from "./hazards.ts";
import {
  type BoardView,
  type KeyView,
  type PartView,
  type Route,
  ROUTE_TITLES,
  type Situation,
} from "./situation.ts";
import { type PlanStep, stepsOf } from "./steps.ts";

/** What will be done to a part, and what to know before. Holds nothing secret. */
export interface Plan {
  readonly format: 1;
  readonly route: Route;
  readonly title: string;
  readonly board: BoardView;
  readonly part?: PartView;
  readonly key?: KeyView;
  readonly steps: readonly PlanStep[];
  readonly hazards: readonly Hazard[];
  /** Whether the board file must call the unit expendable. */
  readonly needsExpendable: boolean;
  /** Why it is not performed; empty where it may be. */
  readonly obstacles: readonly string[];
  /** SHA-256 over all of the above that decides what happens. */
  readonly hash: string;
}

/** The same situation gives the same plan and the same hash. */
export function makePlan(situation: Situation): Plan {
  const { route, board, part, key } = situation;
  const steps = stepsOf(situation);
  const hazards = hazardsOf(situation);
  // A part that Lockstep serves is a file of Lockstep's; a board of hardware has one of its own.
  const needsExpendable = board.platform === "hardware" || part?.emulated !== true;
  const obstacles = hazards.filter(({ severity }) => severity === "stop").map(({ what }) => what);
  if (needsExpendable && !board.expendable) {
    obstacles.push("the board file does not say `expendable: true`");
  }
  const decides = {
    route,
    board,
    part: part && { ...part, reason: "" },
    key,
    steps,
    hazards: hazards.map(({ id, severity }) => [id, severity]),
    obstacles,
  };
  return {
    format: 1,
    route,
    title: ROUTE_TITLES[route],
    board,
    ...(part && { part }),
    ...(key && { key }),
    steps,
    hazards,
    needsExpendable,
    obstacles,
    hash: createHash("sha256")
      .update(JSON.stringify(sorted(decides)))
      .digest("hex"),
  };
}

/** The same value with the keys of every map in order. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, one]) => [key, sorted(one)]));
}
