import type {
  BundleWriter,
  Comparison,
  FactsSheet,
  RunInfo,
  RunTotals,
  Timeline,
} from "../../run/index.ts";
import type { CaseResult } from "../../run/index.ts";

/** The document that `lockstep run --json` prints. */
export interface RunDocument {
  readonly verdict: "as expected" | "not as expected" | "incomplete";
  readonly exitCode: number;
  /** The bundle's folder. */
  readonly bundle: string;
  readonly facts: readonly FactsSheet[];
  readonly problems: readonly string[];
  readonly cases: readonly CaseResult[];
  /** Totals of xtest on each board that ran it, the subtest count and its recorded range included. */
  readonly totals: readonly RunTotals[];
  /** What `--stress` did, by target. */
  readonly stress?: Timeline["stress"];
  readonly baseline?: Comparison;
}

export function runDocument(
  writer: BundleWriter,
  info: RunInfo,
  exitCode: number,
  { totals, stress }: Pick<Timeline, "totals" | "stress">,
  baseline: Comparison | undefined,
): RunDocument {
  const verdict =
    info.state === "incomplete" ? "incomplete" : exitCode === 0 ? "as expected" : "not as expected";
  return {
    verdict,
    exitCode,
    bundle: writer.dir,
    facts: info.facts,
    problems: info.problems,
    cases: writer.results.cases,
    totals,
    ...(stress.length === 0 ? {} : { stress }),
    ...(baseline === undefined ? {} : { baseline }),
  };
}
