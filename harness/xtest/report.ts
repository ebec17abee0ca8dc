import type { Status, SubcaseResult } from "../run/index.ts";

/** One case as judged. */
export interface CaseOutcome {
  readonly id: string;
  readonly title: string;
  readonly status: Status;
  /** Present for every status but `pass`; on a pass it tells what was partly skipped. */
  readonly reason?: string;
  /** First-error place, e.g. `regression_1000.c:1234`. */
  readonly where?: string;
  readonly subcases?: readonly SubcaseResult[];
  /** With `error`: the lab must act, not the developer; the board did not come back. */
  readonly infrastructure?: true;
}

/** Something wrong with a run as a whole. */
export interface RunProblem {
  readonly status: Status;
  readonly text: string;
}

/** How a run's "subtests" count compares with the record. */
export interface SubtestsReport {
  readonly seen: number;
  readonly min?: number;
  readonly max?: number;
  /** `partial`: not a whole run, so there is nothing to compare with. */
  readonly compared: "in range" | "out of range" | "not recorded" | "partial";
}

/** One judged run. */
export interface RunReport {
  /** 1 for the first run of a log. */
  readonly index: number;
  readonly suite: string | undefined;
  readonly level: number | undefined;
  readonly filters: readonly string[];
  /** The worst of its cases and problems. */
  readonly status: Status;
  /** As xtest printed them; undefined where the run ended before. */
  readonly totals:
    | { readonly cases: number; readonly failed: number; readonly skipped: number }
    | undefined;
  readonly subtests: SubtestsReport | undefined;
  /** In the order in which they ran; what never appeared comes last. */
  readonly cases: readonly CaseOutcome[];
  /** Ids in `cases` that this run ended too early to reach. */
  readonly unreached: ReadonlySet<string>;
  /** Ids that ran without being in the expected list. */
  readonly unknown: readonly string[];
  readonly problems: readonly RunProblem[];
  /** Worth telling, without being wrong. */
  readonly notes: readonly string[];
}

const WORST_FIRST: readonly Status[] = [
  "error",
  "crash",
  "timeout",
  "fail",
  "xpass",
  "miss",
  "xfail",
  "pass",
  "skip",
];

/** The worst status; a `skip` only where nothing else is. */
export function worstStatus(statuses: Iterable<Status>): Status {
  let worst = WORST_FIRST.length - 1;
  for (const status of statuses) worst = Math.min(worst, WORST_FIRST.indexOf(status));
  return WORST_FIRST[worst] ?? "error";
}
