import type { BoardConfig } from "../../board/index.ts";
import { EmulatedTarget, loadScenario } from "../../platform/index.ts";
import type { SuiteSetup } from "../../run/index.ts";
import { listedCombinations } from "./combinations.ts";
import { emulatedFacts } from "./facts.ts";
import type { RunSession } from "./session.ts";
import { runSuites } from "./suite-child.ts";
import { expectedOn } from "./xtest-list.ts";

/** Runs the suites on the emulated platform, in this thread. */
export async function runEmulated(config: BoardConfig, session: RunSession): Promise<void> {
  const { list: expected } = await expectedOn(undefined);
  const setup: SuiteSetup = {
    board: { name: config.name, type: config.type, platform: config.platform },
    filter: session.plan.filter,
    narrowing: session.plan.narrowing,
    combinations: await listedCombinations(session.plan.suites),
    xtest: expected.cases.map(({ id, title }) => ({ id, title })),
  };
  const { writer } = session;
  const target = new EmulatedTarget(config, {
    seed: session.seed,
    narrowing: session.plan.narrowing,
    ...(session.plan.stress === undefined ? {} : { stress: session.plan.stress }),
    console: (line) => writer.raw(config.name, "secure", Buffer.from(`${line}\n`)),
  });
  session.recordFacts(emulatedFacts(config));
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
