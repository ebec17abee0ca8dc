import { type Combination, loadScenario, type Target } from "../../platform/index.ts";
import type { Trace } from "../../run/index.ts";
import { compareTraces, type TraceComparison } from "../divergence/index.ts";
import type { PlantedBug } from "./planted.ts";

/** The trace of the bug's scenario on a target, however it ends. */
async function traceOf(target: Target, { scenario }: PlantedBug, on: Combination): Promise<Trace> {
  const { clauses } = await loadScenario(scenario);
  let trace: Trace | undefined;
  await target.run(scenario, null, on, (records) => {
    trace = {
      header: {
        type: "trace",
        format: 1,
        target: target.board.name,
        caseId: "planted",
        run: 0,
        reference: scenario,
        conduit: on.conduit,
        ...(on.rules === undefined ? {} : { rules: on.rules }),
        seed: 1,
        clauses,
      },
      records,
    };
  });
  if (trace === undefined) throw new Error(`${scenario} left no trace on ${target.board.name}`);
  return trace;
}

/** Holds a target's run of the bug's scenario against another's. */
export async function compareOn(
  left: Target,
  right: Target,
  bug: PlantedBug,
  on: Combination,
): Promise<TraceComparison> {
  return compareTraces(await traceOf(left, bug, on), await traceOf(right, bug, on));
}
