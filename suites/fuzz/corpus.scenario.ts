import path from "node:path";
import { corpusFolder, readStored, replay } from "../../harness/lockstep/index.ts";
import {
  type Data,
  EmulatedContext,
  EmulatedPlatform,
  type Scenario,
  type ScenarioPlatform,
} from "../../harness/platform/index.ts";

/** Bridged machines and targets of one's own have contexts of the same class. */
function isLockstepsOwn(context: unknown): boolean {
  if (!(context instanceof EmulatedContext)) return false;
  const { platform } = context as EmulatedContext<ScenarioPlatform>;
  return platform instanceof EmulatedPlatform && platform.options.own === undefined;
}

/**
 * Replays a program of the corpus on machines of its own, once under each rule set: the invariants
 * that it broke. Takes the name of the file without `.json`.
 */
export const program: Scenario = {
  conduits: ["vm"],
  clauses: [],
  run(context, args: Data) {
    // Its machines are its own: on any other target it would pass without having touched it.
    if (!isLockstepsOwn(context)) context.skip("programs run on the emulated platform");
    const stored = readStored(path.join(corpusFolder, `${args as string}.json`));
    const broken: Record<string, string[]> = {};
    for (const rules of ["xen", "strict", "kvm"] as const) {
      broken[rules] = replay(stored.program, rules).map(({ invariant }) => invariant);
    }
    return broken;
  },
};
