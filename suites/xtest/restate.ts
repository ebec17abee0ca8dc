import type { Scheduler, Task } from "../../harness/machine/index.ts";
import type { Linux, TeecContext, TeecResult } from "../../harness/normal-world/index.ts";
import { resultName } from "../../harness/optee-abi/index.ts";
import {
  BridgedPlatform,
  type Data,
  type EmulatedContext,
  type Scenario,
  type ScenarioContext,
  type ScenarioPlatform,
} from "../../harness/platform/index.ts";
import type { SubcaseResult } from "../../harness/run/index.ts";

/** What a case demands did not hold. */
export class CheckFailed extends Error {
  constructor(message: string) {
    super(message);
    this.name = "CheckFailed";
  }
}

/** Ends a subcase, or outside of any the whole case, as skipped. */
export class SubcaseSkipped extends Error {
  constructor(reason: string) {
    super(reason);
    this.name = "SubcaseSkipped";
  }
}

export function check(holds: boolean, what: string): void {
  if (!holds) throw new CheckFailed(what);
}

const nameOf = (code: number): string => resultName(code) ?? `0x${code.toString(16)}`;

/** Demands a result code, and an origin where one is given. */
export function checkResult(
  { result, origin }: TeecResult,
  expected: number,
  what: string,
  expectedOrigin = origin,
): void {
  check(result === expected, `${what}: ${nameOf(result)}, expected ${nameOf(expected)}`);
  check(origin === expectedOrigin, `${what}: origin ${origin}, expected ${expectedOrigin}`);
}

/** A re-stated case under way: the client it is made for, and its subcases so far. */
export class Restatement {
  readonly id: string;
  readonly tee: TeecContext;
  readonly linux: Linux;
  readonly scheduler: Scheduler;
  /** The secure world is a real machine's, whose every SMC takes milliseconds. */
  readonly isBridged: boolean;
  readonly subcases: SubcaseResult[] = [];

  constructor(id: string, context: ScenarioContext) {
    const { platform } = context as EmulatedContext<ScenarioPlatform>;
    this.id = id;
    this.linux = context.guest().linux;
    this.tee = context.client();
    this.scheduler = context.scheduler;
    this.isBridged = platform instanceof BridgedPlatform;
  }

  /** A subcase that cannot be re-stated. */
  skip(number: string, title: string, reason: string): void {
    this.subcases.push({ id: `${this.id}.${number}`, title, status: "skip", reason });
  }

  /** Runs a subcase; what it throws becomes its status, and later ones still run. */
  *subcase(number: string, title: string, body: () => Task): Task {
    const id = `${this.id}.${number}`;
    const place = this.subcases.push({ id, title, status: "pass" }) - 1;
    try {
      yield* body();
    } catch (error) {
      if (error instanceof SubcaseSkipped) {
        this.subcases[place] = { id, title, status: "skip", reason: error.message };
      } else if (error instanceof Error && error.name !== "TargetCrashError") {
        this.subcases[place] = { id, title, status: "fail", reason: error.message };
      } else {
        throw error;
      }
    }
  }
}

export interface RestatementOptions {
  readonly clauses: readonly string[];
  /** See `Scenario.interrupts`. */
  readonly interrupts?: number;
}

/** Makes the scenario of a re-stated case. The case fails when `body` throws or a subcase fails. */
export function restate(
  id: string,
  title: string,
  { clauses, interrupts = 0 }: RestatementOptions,
  body: (run: Restatement) => Task,
): Scenario {
  return {
    conduits: ["vm", "direct", "hwdom"],
    clauses,
    interrupts,
    run: (context): Data => {
      const run = new Restatement(id, context);
      try {
        context.execute(body(run));
      } catch (error) {
        if (error instanceof SubcaseSkipped) context.skip(error.message);
        throw error;
      }
      return { title, subcases: run.subcases.map((subcase) => ({ ...subcase })) };
    },
  };
}
