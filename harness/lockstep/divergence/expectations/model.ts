import type { DifferenceKind } from "../../../run/index.ts";

/** Canonical values of both sides; `*` is any. */
export interface ExpectedField {
  readonly left: string;
  readonly right: string;
}

/** What a difference must be; what is left out is not looked at. */
export interface ExpectedDifference {
  readonly kind: DifferenceKind;
  readonly call: string;
  readonly phase?: "enter" | "leave";
  readonly where?: "conduit" | "port";
  readonly guest?: number;
  readonly fields?: Readonly<Record<string, ExpectedField>>;
  readonly calls?: readonly string[];
}

/** A divergence that is known: an entry of `boards/expectations/divergences/NAME.yaml`. */
export interface Expectation {
  readonly id: string;
  /** Boards and board types; the file's when empty. */
  readonly boards: readonly string[];
  /** Software to a range of versions: `>=4.5 <4.6`. */
  readonly versions: Readonly<Record<string, string>>;
  /** Case ids with `*` for any characters. */
  readonly cases: readonly string[];
  readonly what: ExpectedDifference;
  readonly clause: string;
  readonly reason: string;
  readonly link?: string;
  readonly owner: string;
  /** ISO date: the last day on which it holds. */
  readonly expires: string;
  /** Whether it also stands for the failure of a case's own assertions. */
  readonly coversAssertion: boolean;
  /** File, line and column of the entry. */
  readonly where: string;
}
