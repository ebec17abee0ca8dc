import path from "node:path";
import { corpusFolder, readStored, replay } from "../../harness/lockstep/index.ts";
import { type Data, EmulatedContext, type Scenario } from "../../harness/platform/index.ts";

/**
 * Replays a program of the corpus on machines of its own, once under each rule set: the invariants
 * that it broke. Takes the name of the file without `.json`.
 */
export const program: Scenario = {
  conduits: ["vm"],
  clauses: [],
  run(context, args: Data) {
    if (!(context instanceof EmulatedContext))
      context.skip("programs run on the emulated platform");
    const stored = readStored(path.join(corpusFolder, `${args as string}.json`));
    const broken: Record<string, string[]> = {};
    for (const rules of ["xen", "strict", "kvm"] as const) {
      broken[rules] = replay(stored.program, rules).map(({ invariant }) => invariant);
    }
    return broken;
  },
};
