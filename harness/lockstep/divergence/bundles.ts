import { loadScenario, type Scenario } from "../../platform/index.ts";
import { type BundleReader, compareText, type Difference } from "../../run/index.ts";
import { compareTraces } from "./compare.ts";

/** A run of a scenario that is in both bundles and differs. */
export interface TraceDivergence {
  readonly target: string;
  readonly caseId: string;
  readonly run: number;
  readonly reference: string;
  /** The first difference; the older bundle is its left side. */
  readonly cause: Difference;
  readonly echoes: number;
}

/** What the traces of two bundles come to when they are held against each other. */
export interface TracesComparison {
  /** Runs that both bundles have, by target, case, number and conduit. */
  readonly compared: number;
  readonly divergences: readonly TraceDivergence[];
}

/**
 * Compares the traces of two bundles, target by target as `pairs` says, with no expectation in between:
 * what a board did twice should be the same. Undefined where one of them has no traces. Throws
 * UsageError for a trace that is not what lockstep writes.
 */
export async function compareBundleTraces(
  before: BundleReader,
  after: BundleReader,
  pairs: readonly { readonly before: string; readonly after: string }[],
): Promise<TracesComparison | undefined> {
  const [old, now] = [before.traceIndex, after.traceIndex];
  if (old === undefined || now === undefined) return undefined;
  const divergences: TraceDivergence[] = [];
  let compared = 0;
  for (const pair of pairs) {
    const known = new Map(
      old.files.filter(({ target }) => target === pair.before).map((one) => [one.caseId, one]),
    );
    for (const file of now.files) {
      const { target, caseId } = file;
      const other = known.get(caseId);
      if (target !== pair.after || other === undefined) continue;
      const left = await before.listedTraces(other);
      const right = await after.listedTraces(file);
      for (const trace of right) {
        const { run, reference, conduit, rules } = trace.header;
        const same = left.find(
          ({ header }) =>
            header.run === run &&
            header.reference === reference &&
            header.conduit === conduit &&
            header.rules === rules,
        );
        if (same === undefined) continue;
        compared += 1;
        const resultsOnly = await isByResults(reference);
        const { cause, echoes } = compareTraces(same, trace, { resultsOnly });
        if (cause !== undefined) {
          divergences.push({ target, caseId, run, reference, cause, echoes });
        }
      }
    }
  }
  divergences.sort(
    (a, b) => compareText(a.target, b.target) || compareText(a.caseId, b.caseId) || a.run - b.run,
  );
  return { compared, divergences };
}

/** What runs in parallel has no one order, and some scenarios say that their way is their platform's own. */
export const comparedByResults = ({
  parallel = 0,
  resultsOnly = false,
}: Pick<Scenario, "parallel" | "resultsOnly">): boolean => parallel > 0 || resultsOnly;

/** A scenario that is not installed here is taken at its word. */
async function isByResults(reference: string): Promise<boolean> {
  try {
    return comparedByResults(await loadScenario(reference));
  } catch {
    return false;
  }
}
