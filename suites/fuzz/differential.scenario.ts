import { type Program, runOnReal } from "../../harness/lockstep/index.ts";
import {
  BridgedPlatform,
  type Data,
  EmulatedContext,
  type Scenario,
  type ScenarioPlatform,
} from "../../harness/platform/index.ts";

/** The RAM of the machine that programs may use: base and size. */
export const freeRam: Scenario = {
  conduits: ["vm"],
  clauses: [],
  run(context) {
    const { platform } = context as EmulatedContext<ScenarioPlatform>;
    if (!(platform instanceof BridgedPlatform)) return context.skip("is about a real machine");
    return { base: platform.ram.base, size: platform.ram.size };
  },
};

/** A program of the fuzzer on a real machine: what it did. Takes a program. */
export const program: Scenario = {
  conduits: ["vm"],
  clauses: [],
  run(context, args: Data) {
    const { platform } = context as EmulatedContext<ScenarioPlatform>;
    if (!(platform instanceof BridgedPlatform)) {
      return context.skip("is for a real machine");
    }
    const { port, ram, rules, tas } = platform;
    return runOnReal(args as unknown as Program, { rules, port, ram, tas }) as unknown as Data;
  },
};
