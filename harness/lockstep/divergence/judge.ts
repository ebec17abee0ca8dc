import {
  type CaseResult,
  describeDifference,
  type Difference,
  type ExpectationOutcome,
  type NotCompared,
  type RunDivergence,
  type TargetDivergences,
  type Trace,
} from "../../run/index.ts";
import { compareTraces } from "./compare.ts";
import { expectationEntry } from "./expectations/entry.ts";
import { type CaseExpectations, ExpectationLedger } from "./expectations/ledger.ts";
import type { Expectation } from "./expectations/model.ts";
import { versionNumbers } from "./expectations/versions.ts";

export interface JudgeOptions {
  readonly target: string;
  readonly expectations: readonly Expectation[];
  /** Versions of the software on the board; asked for when first needed. */
  readonly versions: () => Readonly<Record<string, string>>;
  /** ISO date, UTC. */
  readonly today: string;
  /** Traces of a case on the platform that the board is held against. */
  readonly reference: (caseId: string) => Promise<readonly Trace[]>;
  /** Whether only how a scenario ends is compared (`comparedByResults`). */
  readonly resultsOnly: (reference: string) => Promise<boolean>;
}

/** What a judge has found, as `divergences.json` has it. */
export interface Judgement {
  readonly totals: TargetDivergences;
  readonly runs: readonly RunDivergence[];
  readonly notCompared: readonly NotCompared[];
  readonly expectations: readonly ExpectationOutcome[];
}

/** Software whose version an expectation entry is made for. */
const TOLD = ["optee", "xen"] as const;

/** What has no traces that mean anything. */
const NOTHING_RAN: ReadonlySet<CaseResult["status"]> = new Set(["skip", "miss"]);

/** Holds the cases of one board, as they end, against those of the emulated platform. */
export class DivergenceJudge {
  readonly #options: JudgeOptions;
  readonly #ledger: ExpectationLedger;
  readonly #runs: RunDivergence[] = [];
  readonly #notCompared: NotCompared[] = [];
  #compared = 0;
  #equal = 0;

  constructor(options: JudgeOptions) {
    this.#options = options;
    this.#ledger = new ExpectationLedger(options);
  }

  /**
   * The result of a case with what its traces say: a divergence that nothing explains fails it, one that
   * is known makes it an expected failure. What failed by its own assertions stays failed, unless an
   * expectation that matched says that it covers that.
   */
  async judge(result: CaseResult, traces: readonly Trace[]): Promise<CaseResult> {
    if (NOTHING_RAN.has(result.status)) return result;
    if (traces.length === 0) {
      if (result.status === "pass") this.#leaveOut(result.id, "there is no trace of it");
      return result;
    }
    if (result.infrastructure === true) {
      this.#ledger.missed(result.id);
      this.#leaveOut(result.id, "the laboratory failed");
      return result;
    }
    const references = await this.#options.reference(result.id);
    const known = this.#ledger.of(result.id);
    const found: RunDivergence[] = [];
    let whole = true;
    for (const trace of traces) {
      const reference = references.find(({ header }) => header.run === trace.header.run);
      const reason = whyNot(trace, reference);
      if (reference === undefined || reason !== undefined) {
        this.#leaveOut(result.id, reason ?? "");
        whole = false;
        continue;
      }
      if (isCut(reference) || isCut(trace)) {
        // What it returned says something all the same.
        this.#leaveOut(result.id, "its trace was too long to be kept; only results were compared");
        whole = false;
      }
      const run = await this.#compare(reference, trace, known);
      if (run !== undefined) found.push(run);
    }
    const made = new Set(traces.map(({ header }) => header.run));
    if (result.status === "pass" && !references.every(({ header }) => made.has(header.run))) {
      this.#leaveOut(result.id, "the emulated platform has more runs of it");
      whole = false;
    }
    this.#runs.push(...found);
    if (whole && result.status !== "crash" && result.status !== "timeout") {
      this.#ledger.compared(result.id);
    } else this.#ledger.missed(result.id);
    return verdict(result, found, known);
  }

  async #compare(
    reference: Trace,
    trace: Trace,
    known: CaseExpectations,
  ): Promise<RunDivergence | undefined> {
    const { caseId, run, reference: scenario } = trace.header;
    const cut = isCut(reference) || isCut(trace);
    const resultsOnly = cut || (await this.#options.resultsOnly(scenario));
    const { cause, explained, echoes } = compareTraces(reference, trace, {
      explain: known.explain,
      resultsOnly,
    });
    const differs = cause !== undefined || explained.length > 0;
    if (differs || !cut) this.#compared += 1;
    if (!differs && !cut) this.#equal += 1;
    if (!differs) return undefined;
    const expired = cause === undefined ? undefined : known.expired();
    return {
      target: this.#options.target,
      caseId,
      run,
      reference: scenario,
      conduit: on(trace.header),
      ...(resultsOnly ? { resultsOnly } : {}),
      explained,
      ...(cause === undefined ? {} : { cause, entry: this.#entry(cause, caseId) }),
      ...(expired === undefined ? {} : { expired: expired.id }),
      echoes,
    };
  }

  #entry(cause: Difference, caseId: string): string {
    const known = this.#options.versions();
    const versions = Object.fromEntries(
      TOLD.flatMap((software) => {
        const numbers = versionNumbers(known[software] ?? "");
        return numbers === undefined ? [] : [[software, numbers.slice(0, 2).join(".")]];
      }),
    );
    return expectationEntry(cause, { caseId, versions, today: this.#options.today });
  }

  #leaveOut(caseId: string, reason: string): void {
    const { target } = this.#options;
    this.#notCompared.push({ target, caseId, reason });
  }

  /** What it came to. `whole`: whether all cases of a suite were wanted in this run. */
  finish(whole: (suite: string) => boolean): Judgement {
    const { target } = this.#options;
    const unexplained = this.#runs.filter(({ cause }) => cause !== undefined).length;
    return {
      totals: {
        target,
        compared: this.#compared,
        equal: this.#equal,
        unexplained,
        explained: this.#runs.length - unexplained,
        notCompared: new Set(this.#notCompared.map(({ caseId }) => caseId)).size,
      },
      runs: this.#runs,
      notCompared: this.#notCompared,
      expectations: this.#ledger.outcomes(whole),
    };
  }
}

const on = ({ conduit, rules }: Trace["header"]): string =>
  rules === undefined ? conduit : `${conduit}, ${rules}`;

/** Why two traces cannot be held against each other. */
function whyNot({ header }: Trace, reference: Trace | undefined): string | undefined {
  if (reference === undefined) return "the emulated platform has no trace of it";
  const { header: other } = reference;
  if (other.reference !== header.reference) {
    return `the emulated platform ran ${other.reference} in its place`;
  }
  if (on(other) !== on(header)) {
    return `ran on ${on(header)}, on the emulated platform on ${on(other)}`;
  }
  const end = reference.records.at(-1);
  if (end?.type === "end" && end.how === "skip") return "skipped on the emulated platform";
  return undefined;
}

/** Whether a trace was too long to be kept whole. */
function isCut({ records }: Trace): boolean {
  const end = records.at(-1);
  return end?.type === "end" && (end.dropped ?? 0) > 0;
}

function verdict(
  result: CaseResult,
  runs: readonly RunDivergence[],
  known: CaseExpectations,
): CaseResult {
  const unexplained = runs.find(({ cause }) => cause !== undefined);
  if (unexplained?.cause !== undefined) {
    const { cause, expired } = unexplained;
    const why = `differs from the emulated platform: ${describeDifference(cause)}`;
    const late = expired === undefined ? "" : ` (expectation ${expired} has expired)`;
    const [clause] = cause.clauses;
    const clauses =
      clause === undefined ? {} : { clauses: [...new Set([...(result.clauses ?? []), clause])] };
    const own = result.reason === undefined ? "" : `${result.reason}\n`;
    const status = result.status === "pass" ? "fail" : result.status;
    return { ...result, status, reason: `${own}${why}${late}`, ...clauses };
  }
  if (runs.length === 0) return result;
  const used = [...known.used];
  const covered = result.status === "fail" && used.some(({ coversAssertion }) => coversAssertion);
  if (result.status !== "pass" && !covered) return result;
  const reason = used.map(({ id, reason: why }) => `${id}: ${why}`).join("; ");
  return { ...result, status: "xfail", reason };
}
