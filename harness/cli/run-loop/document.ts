import type {
  BundleReader,
  CaseResult,
  ClauseVerdict,
  Comparison,
  Divergences,
  FactsSheet,
  RunTotals,
  SheetInRun,
  Status,
  Timeline,
} from "../../run/index.ts";
import { accountClauses, unprovenStorage, type UnprovenStorage } from "../../run/index.ts";

/** What became of the clauses of the sheets in a run. */
export interface ClausesDocument {
  /** False where the installation has no unit tests: then none are counted. */
  readonly unitTests: boolean;
  readonly sheets: readonly SheetInRun[];
  readonly clauses: readonly {
    readonly id: string;
    readonly verdict: ClauseVerdict;
    /** By target: the worst status of the cases that name the clause, and their ids. */
    readonly on: Readonly<Record<string, { readonly status: Status; readonly cases: string[] }>>;
  }[];
}

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
  /** Results on RPMB storage of which it is not known what stood behind it; absent where there are none. */
  readonly unprovenStorage?: readonly UnprovenStorage[];
  /** Where boards differ from the emulated platform; absent where no traces were compared. */
  readonly divergences?: Divergences;
  readonly clauses?: ClausesDocument;
  readonly baseline?: Comparison;
}

export function runDocument(
  { dir, info, results, catalogue, divergences }: BundleReader,
  exitCode: number,
  { totals, stress }: Pick<Timeline, "totals" | "stress">,
  baseline: Comparison | undefined,
): RunDocument {
  const verdict =
    info.state === "incomplete" ? "incomplete" : exitCode === 0 ? "as expected" : "not as expected";
  const unproven = unprovenStorage(results.cases, info.facts);
  return {
    verdict,
    exitCode,
    bundle: dir,
    facts: info.facts,
    problems: info.problems,
    cases: results.cases,
    totals,
    ...(stress.length === 0 ? {} : { stress }),
    ...(unproven.length === 0 ? {} : { unprovenStorage: unproven }),
    ...(divergences === undefined ? {} : { divergences }),
    ...(catalogue === undefined ? {} : { clauses: clausesDocument(catalogue, results.cases) }),
    ...(baseline === undefined ? {} : { baseline }),
  };
}

function clausesDocument(
  catalogue: NonNullable<BundleReader["catalogue"]>,
  cases: readonly CaseResult[],
): ClausesDocument {
  const { sheets, clauses } = accountClauses(catalogue, cases);
  return {
    unitTests: catalogue.unitTests,
    sheets,
    clauses: clauses.map(({ clause: { id }, verdict, on }) => ({
      id,
      verdict,
      on: Object.fromEntries(
        [...on].map(([target, { status, cases: list }]) => [
          target,
          { status, cases: list.map((one) => one.id) },
        ]),
      ),
    })),
  };
}
