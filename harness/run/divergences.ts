/**
 * `divergences.json`: where a board's runs of scenarios differ from those of the emulated platform.
 */

/** What a difference is of; `guest`: a guest that was created on one side and refused on the other. */
export const DIFFERENCE_KINDS = [
  "register",
  "message field",
  "data",
  "missing call",
  "extra call",
  "guest",
  "result",
  "end",
] as const;
export type DifferenceKind = (typeof DIFFERENCE_KINDS)[number];

/** A field that differs. Canonical values have symbols where two platforms may differ; raw ones are the trace's. */
export interface FieldDifference {
  /** E.g. `a0`, `a1:a2`, `ret`, `params[0].size`, `params[1].data`; a path in a result. */
  readonly field: string;
  readonly left: string;
  readonly right: string;
  readonly leftRaw: string;
  readonly rightRaw: string;
}

/** A record in canonical form on one line, with its number in the trace's file (the header is 0). */
export interface ContextLine {
  readonly record: number;
  readonly text: string;
  /** It is the difference, or part of it. */
  readonly here?: true;
}

export interface Difference {
  readonly kind: DifferenceKind;
  /** Function and command, e.g. `CALL_WITH_ARG OPEN_SESSION`, `RPC FS.READ`; `end` at the end. */
  readonly call: string;
  /** Of an SMC: before or after it. */
  readonly phase?: "enter" | "leave";
  readonly where?: "conduit" | "port";
  readonly guest?: number;
  /** What a record has in common with its counterpart and does not; empty for missing and extra calls. */
  readonly fields: readonly FieldDifference[];
  /** Of missing and extra calls: every record that the other side lacks, in order. */
  readonly calls?: readonly string[];
  /** Number of the record on either side; where it is missing, of the one that stands in its place. */
  readonly leftRecord: number;
  readonly rightRecord: number;
  /** A few records before and after. */
  readonly left: readonly ContextLine[];
  readonly right: readonly ContextLine[];
  /** The clause that it touches, best first; empty where none is known. */
  readonly clauses: readonly string[];
}

/** A difference that an expectation names. */
export interface ExplainedDifference {
  readonly expectation: string;
  readonly reason: string;
  readonly difference: Difference;
}

/** One run of a scenario held against the emulated platform's run of it. */
export interface RunDivergence {
  readonly target: string;
  readonly caseId: string;
  /** Which of the case's runs, from 0. */
  readonly run: number;
  /** `<subject>/<file>#<export>`. */
  readonly reference: string;
  readonly conduit: string;
  /** Results only: what runs in parallel has no one order. */
  readonly resultsOnly?: true;
  readonly explained: readonly ExplainedDifference[];
  /** The first difference that nothing explains. */
  readonly cause?: Difference;
  /** An expectation for it, to be completed and pasted: a list entry in YAML. */
  readonly entry?: string;
  /** An expectation that named it, but has expired. */
  readonly expired?: string;
  /** Differences after the cause, which may follow from it. */
  readonly echoes: number;
}

/** A case that was not compared, and why. */
export interface NotCompared {
  readonly target: string;
  readonly caseId: string;
  readonly reason: string;
}

/** What became of an expectation that speaks of a board and its software. */
export interface ExpectationOutcome {
  readonly target: string;
  readonly id: string;
  /**
   * `matched`: it explained differences. `stale`: all its cases ran and were compared, and it matched
   * nothing. `expired`: its date is over, and its cases were compared. `untested`: not all of its cases
   * were compared, so nothing can be said.
   */
  readonly outcome: "matched" | "stale" | "expired" | "untested";
  readonly cases: number;
  readonly reason: string;
  readonly owner: string;
  /** ISO date. */
  readonly expires: string;
  readonly link?: string;
  /** File, line and column. */
  readonly where: string;
}

/** What the comparison with the emulated platform came to on one board. */
export interface TargetDivergences {
  readonly target: string;
  /** Runs of scenarios that were compared, and how many of them had nothing that differs. */
  readonly compared: number;
  readonly equal: number;
  /** Runs with an unexplained divergence. */
  readonly unexplained: number;
  /** Runs whose every difference is explained. */
  readonly explained: number;
  /** Cases that were not compared. */
  readonly notCompared: number;
}

export interface Divergences {
  readonly format: 1;
  readonly targets: readonly TargetDivergences[];
  /** Runs with differences, sorted by target, case and run. */
  readonly runs: readonly RunDivergence[];
  readonly notCompared: readonly NotCompared[];
  readonly expectations: readonly ExpectationOutcome[];
}
