import type { TraceListener } from "../../platform/index.ts";
import type { CaseResult, Trace } from "../../run/index.ts";

/** What becomes of the traces of a target's scenarios. */
export interface Tracing {
  /** Of the run. */
  readonly seed: number;
  /** Takes the trace of each run of a scenario as it ends. */
  add(trace: Trace): void;
  /**
   * Called when a case has ended, before its result is recorded: the result that is, in its place.
   * `traces` are those of the case on this target, by the number of the run.
   */
  readonly judge?: (
    result: CaseResult,
    traces: readonly Trace[],
  ) => CaseResult | Promise<CaseResult>;
}

/** Numbers the runs of each case and hands their traces on. */
export class CaseTraces {
  readonly #target: string;
  readonly #tracing: Tracing;
  /** Runs that began, and the traces of those that ended; of cases under way. */
  readonly #cases = new Map<string, { runs: number; traces: Trace[] }>();

  constructor(target: string, tracing: Tracing) {
    this.#target = target;
    this.#tracing = tracing;
  }

  /**
   * A run of `caseId` was asked for: it has its number from now on. Gives what makes the listener for
   * its records.
   */
  begin(
    caseId: string,
  ): (of: { readonly reference: string; readonly clauses: readonly string[] }) => TraceListener {
    let its = this.#cases.get(caseId);
    if (its === undefined) this.#cases.set(caseId, (its = { runs: 0, traces: [] }));
    const { traces } = its;
    const run = its.runs;
    its.runs += 1;
    const { seed } = this.#tracing;
    return ({ reference, clauses }) =>
      (records, { conduit, rules }) => {
        const trace: Trace = {
          header: {
            type: "trace",
            format: 1,
            target: this.#target,
            caseId,
            run,
            reference,
            conduit,
            ...(rules === undefined ? {} : { rules }),
            seed,
            clauses,
          },
          records,
        };
        if (this.#tracing.judge !== undefined) traces.push(trace);
        this.#tracing.add(trace);
      };
  }

  /** A case has ended with `result`; undefined where nobody judges it. */
  end(result: CaseResult): Promise<CaseResult> | undefined {
    const { judge } = this.#tracing;
    const traces = this.#cases.get(result.id)?.traces ?? [];
    this.#cases.delete(result.id);
    if (judge === undefined) return undefined;
    const inOrder = traces.toSorted((a, b) => a.header.run - b.header.run);
    return Promise.resolve(result).then(async (found) => await judge(found, inOrder));
  }
}
