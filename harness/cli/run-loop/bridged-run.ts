import { access, constants, mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import type { BoardConfig } from "../../board/index.ts";
import { imageTas, type PreparedImage } from "../../images/index.ts";
import {
  BridgedTarget,
  type BridgedTargetOptions,
  folderTas,
  loadScenario,
  transportOf,
} from "../../platform/index.ts";
import type { SuiteSetup } from "../../run/index.ts";
import { openBoardForCli } from "../open-board.ts";
import { boardFacts, softwareVersions, wholeImage } from "./facts.ts";
import { endJudging, judgeFor } from "./judging.ts";
import { observerFor } from "./observer.ts";
import { EMULATED } from "./plan.ts";
import { scenarioFacts } from "./rpmb-watch.ts";
import type { RunSession } from "./session.ts";
import { runSuites } from "./suite-child.ts";

/** A memory file system, where the RAM of a machine costs no disk. */
const SHARED_MEMORY = "/dev/shm";

/** The console of the secure world. */
const SECURE = "secure";

/**
 * Runs the scenarios of `suites` on a board that stands at its boot loader, with the model of the
 * normal world and the mediator in front of its real secure world.
 */
export async function runBridged(
  config: BoardConfig,
  session: RunSession,
  setup: SuiteSetup,
  suites: readonly string[],
  prepared: PreparedImage | undefined,
): Promise<void> {
  const { context, writer, abort } = session;
  const dir = await mkdtemp(path.join(await ramFolder(), "lockstep-ram-"));
  const ramFile = path.join(dir, "ram");
  const isShared = transportOf(config) === "shared-ram";
  const guest = config.bridge?.guest === undefined ? undefined : path.join(dir, "guest");
  try {
    const opened = await openBoardForCli(config, context, {
      observer: observerFor(config.name, writer),
      ...(isShared ? { sharedRam: ramFile } : {}),
      qemuLogs: dir,
      servePart: false,
      ...(guest === undefined ? {} : { kernel: guest }),
    });
    const target = new BridgedTarget({
      board: opened.board,
      ...(isShared ? { ramFile } : {}),
      ...(config.platform === "qemu" ? { secureLog: path.join(dir, `${SECURE}.log`) } : {}),
      ...(guest === undefined ? {} : { kernelFile: guest }),
      env: context.env,
      abort,
      ...(await tasOf(config, prepared)),
      seed: session.seed,
      narrowing: session.plan.narrowing,
    });
    const judge = judgeFor(config, session, EMULATED, () =>
      softwareVersions(opened.board, wholeImage(config, prepared)),
    );
    let ended = false;
    const stage = context.progress.stage(`suites on ${config.name}`);
    try {
      const cases = await runSuites({
        setup: { ...setup, xtest: [] },
        suites,
        target,
        targetRecordsXtest: true,
        sink: writer,
        offsets: () => opened.board.offsets(),
        clausesOf: async (reference) => (await loadScenario(reference)).clauses,
        progress: context.progress,
        abort,
        ...session.tracing(async (result, traces) => await judge.judge(result, traces)),
      });
      ended = true;
      stage.done(`${cases} cases`);
    } catch (error) {
      stage.failed();
      throw error;
    } finally {
      endJudging(judge, session, ended);
      await target.close();
      const facts = await boardFacts(config, opened.board, prepared);
      session.recordFacts({ ...facts, ...scenarioFacts(session.resultsOf(config.name)) });
      await opened.close();
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

/** The folder that the board file names, else those of its image, else none. */
export async function tasOf(
  { bridge, file }: BoardConfig,
  prepared: PreparedImage | undefined,
): Promise<Pick<BridgedTargetOptions, "tas" | "tasFrom">> {
  const folder = bridge?.tas;
  if (folder !== undefined) return { tas: await folderTas(folder, file), tasFrom: folder };
  if (prepared !== undefined) return { tas: await imageTas(prepared) };
  return { tas: new Map(), tasFrom: "the board file (bridge.tas)" };
}

/** Where files that are the RAM of machines belong. */
export async function ramFolder(): Promise<string> {
  return await access(SHARED_MEMORY, constants.W_OK).then(
    () => SHARED_MEMORY,
    () => tmpdir(),
  );
}
