import type { BoardConfig } from "../../board/index.ts";
import {
  EmulatedTarget,
  loadScenario,
  type Narrowing,
  type OwnTarget,
} from "../../platform/index.ts";
import type { SuiteSetup } from "../../run/index.ts";
import { listedCombinations } from "./combinations.ts";
import { emulatedFacts } from "./facts.ts";
import type { RunSession } from "./session.ts";
import { runSuites } from "./suite-child.ts";
import { expectedOn } from "./xtest-list.ts";

/** A mediator of one's own is held against the rule sets that it follows, and no others. */
function narrowedTo(narrowing: Narrowing, own: OwnTarget | undefined): Narrowing {
  if (own?.createMediator === undefined) return narrowing;
  const { rules = ["strict"] } = own;
  return { ...narrowing, rules: rules.filter((one) => narrowing.rules?.includes(one) !== false) };
}

/** Runs the suites on the emulated platform, or on a target in its place, in this thread. */
export async function runEmulated(config: BoardConfig, session: RunSession): Promise<void> {
  const { list: expected } = await expectedOn(undefined);
  const own = session.plan.targets.get(config.name);
  const narrowing = narrowedTo(session.plan.narrowing, own);
  const setup: SuiteSetup = {
    board: { name: config.name, type: config.type, platform: config.platform },
    filter: session.plan.filter,
    narrowing,
    combinations: await listedCombinations(session.plan.suites),
    xtest: expected.cases.map(({ id, title }) => ({ id, title })),
  };
  const { writer } = session;
  const target = new EmulatedTarget(config, {
    seed: session.seed,
    narrowing,
    ...(own === undefined ? {} : { own }),
    ...(session.plan.stress === undefined ? {} : { stress: session.plan.stress }),
    console: (line) => writer.raw(config.name, "secure", Buffer.from(`${line}\n`)),
  });
  session.recordFacts(emulatedFacts(config, own));
  const stage = session.context.progress.stage(`suites on ${config.name}`);
  try {
    const cases = await runSuites({
      setup,
      suites: session.plan.suites,
      target,
      targetRecordsXtest: false,
      sink: session.writer,
      offsets: () => ({}),
      clausesOf: async (reference) => (await loadScenario(reference)).clauses,
      progress: session.context.progress,
      abort: session.abort,
      ...session.tracing(),
    });
    stage.done(`${cases} cases`);
  } catch (error) {
    stage.failed();
    throw error;
  } finally {
    if (target.stress !== undefined) {
      writer.event({ type: "stress", target: config.name, report: target.stress });
    }
    await target.close();
  }
}
