import { runOnBoth, type Program } from "../../harness/lockstep/index.ts";
import {
  BridgedPlatform,
  type Data,
  EmulatedContext,
  type Scenario,
  type ScenarioPlatform,
} from "../../harness/platform/index.ts";

/** A program on the model and on the machine: what both did. Takes a program. */
export const program: Scenario = {
  conduits: ["vm"],
  clauses: [],
  run(context, args: Data) {
    const { platform } = context as EmulatedContext<ScenarioPlatform>;
    if (!(platform instanceof BridgedPlatform)) {
      return context.skip("compares the model with a real machine");
    }
    const { port, ram, rules, tas } = platform;
    return runOnBoth(args as unknown as Program, { rules, port, ram, tas }) as unknown as Data;
  },
};
