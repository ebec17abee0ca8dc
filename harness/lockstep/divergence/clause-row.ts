import type { DifferenceKind } from "../../run/index.ts";

/**
 * What a difference must be for its clauses to come into question; what is left out matches all.
 * `secure`: what the secure world answered. `mediator`: what a guest saw behind a mediator, or what the
 * mediator sent on. `normal`: what the normal world sent of itself.
 */
export interface ClauseRow {
  readonly from?: "secure" | "mediator" | "normal";
  readonly kinds?: readonly DifferenceKind[];
  readonly fids?: readonly number[];
  readonly cmds?: readonly number[];
  readonly rpcs?: readonly number[];
  readonly operations?: readonly number[];
  /** Addresses in RPMB frames. */
  readonly addresses?: readonly number[];
  /** Return codes in a0, on either side. */
  readonly codes?: readonly number[];
  /** Results in the message, on either side. */
  readonly results?: readonly number[];
  /** The first field that differs. */
  readonly field?: RegExp;
  readonly clauses: readonly string[];
}
