import path from "node:path";
import { DivergenceError } from "../../harness/base/index.ts";
import {
  besideModel,
  corpusFolder,
  forRealMachines,
  judge,
  type Program,
  readStored,
  replay,
  runOnReal,
} from "../../harness/lockstep/index.ts";
import {
  BridgedPlatform,
  type Data,
  EmulatedContext,
  EmulatedPlatform,
  type Scenario,
  type ScenarioContext,
  type ScenarioPlatform,
} from "../../harness/platform/index.ts";

/** Bridged machines and targets of one's own have contexts of the same class. */
function platformOf(context: unknown): ScenarioPlatform | undefined {
  if (!(context instanceof EmulatedContext)) return undefined;
  return (context as EmulatedContext<ScenarioPlatform>).platform;
}

/**
 * Replays a program of the corpus on machines of its own, once under each rule set: the invariants
 * that it broke. On a real machine it runs there too, and must do the same as on the model. Takes the
 * name of the file without `.json`.
 */
export const program: Scenario = {
  conduits: ["vm"],
  clauses: [],
  // It compares model and machine itself.
  resultsOnly: true,
  run(context, args: Data) {
    const platform = platformOf(context);
    const stored = readStored(path.join(corpusFolder, `${args as string}.json`));
    if (platform instanceof BridgedPlatform) beside(context, platform, stored.program);
    else if (!(platform instanceof EmulatedPlatform) || platform.options.own !== undefined) {
      // Its machines are its own: on any other target it would pass without having touched it.
      context.skip("programs run on the emulated platform and on bridged boards");
    }
    const broken: Record<string, string[]> = {};
    for (const rules of ["xen", "strict", "kvm"] as const) {
      broken[rules] = replay(stored.program, rules).map(({ invariant }) => invariant);
    }
    return broken;
  },
};

/** Runs a program on the machine and on the model. Throws where they differ. */
function beside(context: ScenarioContext, platform: BridgedPlatform, stored: Program): void {
  const fit = forRealMachines(stored);
  if (fit === undefined) context.skip("its secure world is a scripted one");
  const { rules, ram, tas, port, seed } = platform;
  const real = runOnReal(fit, { rules, ram, tas, port });
  const about = { board: "the board", rules, seed, program: 0 };
  const verdict = judge(besideModel(fit, real, { rules, ram, tas }), about);
  if (verdict === undefined || verdict.title === "") return;
  const { title, clauses, cause } = verdict;
  throw new DivergenceError(`model and machine differ: ${title}`, {
    where: clauses.join(", "),
    ...(cause === undefined
      ? {}
      : {
          expected: cause.left.map(({ text }) => text).join("\n"),
          seen: cause.right.map(({ text }) => text).join("\n"),
        }),
  });
}
