import {
  exitCodeOf,
  EXIT,
  InfrastructureError,
  messageOf,
  TargetCrashError,
} from "../../base/index.ts";
import { type BoardConfig, boardFileError } from "../../board/index.ts";
import { findPrepared, type PreparedImage, prepareImage } from "../../images/index.ts";
import { loadScenario } from "../../platform/index.ts";
import type { CaseResult, SuiteSetup } from "../../run/index.ts";
import { type ExpectedList, runXtest } from "../../xtest/index.ts";
import { bootDeadline, type OpenedBoard, openBoardForCli } from "../open-board.ts";
import { maskKeysOf } from "./board-keys.ts";
import { BoardTarget } from "./board-target.ts";
import { isBridged } from "./bridged.ts";
import { runBridged } from "./bridged-run.ts";
import { boardFacts, wholeImage } from "./facts.ts";
import { listedCombinations } from "./combinations.ts";
import { observerFor } from "./observer.ts";
import type { RpmbFacts } from "./rpmb-facts.ts";
import { joinRpmbFacts, RpmbWatch } from "./rpmb-watch.ts";
import type { RunSession } from "./session.ts";
import { runSuites } from "./suite-child.ts";
import { expectedOn, selectionProblems, wantedCases } from "./xtest-list.ts";

const XTEST = "xtest";
const OPTEE_PACKAGE = "optee-os";

/** Runs the suites on a real board: prepare, open, boot, run, leave as the board file says. */
export async function runBoard(config: BoardConfig, session: RunSession): Promise<void> {
  await maskKeysOf(config);
  const prepared = await ensurePrepared(config, session);
  // Before the image was made, its xtest was not known.
  const [problem, ...more] = await selectionProblems(config, session.context);
  if (problem !== undefined) throw boardFileError(problem, more.length);
  const whole = wholeImage(config, prepared);
  const { list: expected, exact } = await expectedOn(whole);
  const { run: wanted, excluded } =
    session.plan.suites.includes(XTEST) && config.xtest !== undefined
      ? wantedCases(expected, config, session.plan.filter)
      : { run: [], excluded: [] };
  const setup: SuiteSetup = {
    board: { name: config.name, type: config.type, platform: config.platform },
    filter: session.plan.filter,
    narrowing: session.plan.narrowing,
    combinations: await listedCombinations(session.plan.suites),
    xtest: wanted.map(({ id, title }) => ({ id, title })),
  };
  if (wanted.length > 0 && !exact) {
    const text = `which xtest is on the board is not known: its cases are held against the list of xtest ${expected.xtest}`;
    session.context.progress.warn(`${config.name}: ${text}`);
    session.writer.event({ type: "warning", target: config.name, text });
  }
  session.recordFacts(await boardFacts(config, undefined, prepared));
  for (const { id, title } of excluded) {
    session.writer.result({
      target: config.name,
      suite: XTEST,
      id: `xtest.${id}`,
      title,
      status: "skip",
      reason: "excluded by the board file",
    });
  }
  const bridged = isBridged(config);
  const suites = session.plan.suites.filter((suite) => !bridged || suite === XTEST);
  if (bridged) {
    const scenarios = session.plan.suites.filter((suite) => suite !== XTEST);
    if (scenarios.length > 0) await runBridged(config, session, setup, scenarios, prepared);
  }
  if (wanted.length === 0) {
    // Only scenarios: what they need of this board is known without switching it on.
    if (!bridged) await runOn(config, session, setup, suites, undefined, expected);
    return;
  }
  let opened: OpenedBoard | undefined;
  const watch = new RpmbWatch();
  try {
    opened = await openBoardForCli(config, session.context, {
      observer: watch.over(observerFor(config.name, session.writer)),
    });
    await boot(opened, session);
    await watch.look(opened, session.context, "before");
    session.recordFacts(await boardFacts(config, opened.board, prepared));
    // Debian's OP-TEE prints "Unknown_4.5"; the image's manifest knows better.
    await runOn(config, session, setup, suites, opened, expected, whole?.packages[OPTEE_PACKAGE]);
  } catch (error) {
    if (!session.abort.aborted) missAll(config, session, setup, error);
    throw error;
  } finally {
    if (opened !== undefined) {
      await watch.look(opened, session.context, "after");
      const facts = await boardFacts(config, opened.board, prepared);
      session.recordFacts({ ...facts, ...rpmbFacts(config, session, watch) });
      await opened.close();
    }
  }
}

function rpmbFacts(config: BoardConfig, session: RunSession, watch: RpmbWatch): RpmbFacts {
  const cases = session.resultsOf(config.name);
  const platform = config.platform === "hardware" ? "hardware" : "qemu";
  return joinRpmbFacts(watch.facts(cases, platform), cases);
}

async function ensurePrepared(
  config: BoardConfig,
  session: RunSession,
): Promise<PreparedImage | undefined> {
  if (config.image === undefined) return undefined;
  const { env, progress, abort } = session.context;
  return (
    (await findPrepared(config.image, env)) ??
    (await prepareImage(config.image, { env, progress, abort }))
  );
}

/** Boots to `tee-ready`; after an infrastructure error, and no other, again as `--retries` says. */
async function boot(opened: OpenedBoard, session: RunSession): Promise<void> {
  const { board, config } = opened;
  for (let attempt = 0; ; attempt += 1) {
    const deadline = bootDeadline(config, session.context, undefined);
    try {
      if (attempt > 0) await board.recover(deadline);
      await board.transition("tee-ready", deadline);
      return;
    } catch (error) {
      const again = error instanceof InfrastructureError;
      if (!again || attempt >= session.plan.retries || session.abort.aborted) throw error;
      const text = `boot ${attempt + 1} failed and is tried again: ${messageOf(error)}`;
      session.context.progress.warn(`${config.name}: ${text}`);
      session.writer.event({ type: "warning", target: config.name, text });
    }
  }
}

async function runOn(
  config: BoardConfig,
  session: RunSession,
  setup: SuiteSetup,
  selected: readonly string[],
  opened: OpenedBoard | undefined,
  expected: ExpectedList,
  optee?: string,
): Promise<void> {
  const suites = config.xtest?.suites ?? [...new Set(expected.cases.map(({ suite }) => suite))];
  const whole = expected.cases.filter(({ suite }) => suites.includes(suite)).length;
  const target = new BoardTarget(
    config,
    async (outcome) => {
      if (opened === undefined) return;
      const summary = await runXtest(
        opened.board,
        {
          level: config.xtest?.level ?? 0,
          suites,
          ...(setup.xtest.length < whole && { only: setup.xtest.map(({ id }) => id) }),
        },
        {
          sink: session.writer,
          progress: session.context.progress,
          abort: session.abort,
          expected,
          retries: session.plan.retries,
          ...(optee === undefined ? {} : { optee }),
          onResult: (result) => outcome(outcomeOf(result)),
        },
      );
      session.addExitCode(summary.exitCode);
    },
    loadScenario,
  );
  try {
    await runSuites({
      setup,
      suites: selected,
      target,
      targetRecordsXtest: true,
      sink: session.writer,
      offsets: () => opened?.board.offsets() ?? {},
      clausesOf: async (reference) => (await loadScenario(reference)).clauses,
      progress: session.context.progress,
      abort: session.abort,
    });
  } finally {
    await target.close();
  }
}

function outcomeOf(result: CaseResult): {
  id: string;
  title: string;
  status: CaseResult["status"];
  reason?: string;
} {
  return {
    id: result.id.replace(/^xtest\./, ""),
    title: result.title,
    status: result.status,
    ...(result.reason === undefined ? {} : { reason: result.reason }),
  };
}

/** No case of a board that never came up may stay blank. */
function missAll(
  config: BoardConfig,
  session: RunSession,
  setup: SuiteSetup,
  error: unknown,
): void {
  const seen = new Set(
    session.writer.results.cases.filter(({ target }) => target === config.name).map(({ id }) => id),
  );
  const crashed = error instanceof TargetCrashError || exitCodeOf(error) === EXIT.crashed;
  for (const { id, title } of setup.xtest) {
    const caseId = `xtest.${id}`;
    if (seen.has(caseId)) continue;
    session.writer.result({
      target: config.name,
      suite: XTEST,
      id: caseId,
      title,
      status: "miss",
      reason: `never ran: ${crashed ? "the board crashed" : "the board was not ready"}: ${messageOf(error)}`,
    });
  }
}
