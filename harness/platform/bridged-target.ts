import { Worker } from "node:worker_threads";
import { Deadline, InfrastructureError, InternalError, TargetCrashError } from "../base/index.ts";
import type { BoardConfig, LiveBoard } from "../board/index.ts";
import {
  assemble,
  loaderConsoleOf,
  LoaderPrompt,
  RamWindow,
  startResident,
} from "../bridge/index.ts";
import type { BridgedOrder, BridgedOutcome, BridgedSetup } from "./bridged-worker.ts";
import { bringUpGuest } from "./bring-up-guest.ts";
import { chooseCombination } from "./choice.ts";
import type { Combination, Narrowing } from "./combination.ts";
import { loadScenario } from "./reference.ts";
import { endOf, type RunEnd, SharedRun } from "./recording/index.ts";
import {
  type Data,
  Skipped,
  type Target,
  type TraceListener,
  type XtestOutcome,
} from "./target.ts";

export interface BridgedTargetOptions {
  /** Opened with `sharedRam`, which is `ramFile`. The target boots it; its owner closes it. */
  readonly board: LiveBoard;
  readonly ramFile: string;
  /** QEMU's log of the secure console, whose lines go into traces. */
  readonly secureLog?: string;
  /** The file that the board starts as its kernel, where `bridge.guest` says that a program of ours is it. */
  readonly kernelFile?: string;
  readonly env: NodeJS.ProcessEnv;
  readonly abort: AbortSignal;
  /** The real `.ta` files, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  readonly seed?: number;
  /** The only conduits and rule sets to use; all when left out. */
  readonly narrowing?: Narrowing;
  /** The package that holds `dist/suites`; this one when left out. */
  readonly root?: string;
  /** Milliseconds for one SMC, and for one scenario. */
  readonly smcMs?: number;
  readonly scenarioMs?: number;
}

/** The console of the secure world. */
const SECURE = "secure";
const BOOT_MS = 300_000;
const SMC_MS = 20_000;
const SCENARIO_MS = 120_000;
const LOAD_MS = 30_000;
const MIB = 1024 * 1024;
const MAX_FAILED_BOOTS = 2;

/**
 * A real secure world as a target, on a QEMU board whose RAM is a file: scenarios run in a worker, with
 * the model of the normal world and the mediator in front of the machine. Each finds the machine as
 * it was when it came up.
 */
export class BridgedTarget implements Target {
  readonly board: BoardConfig;
  readonly #options: BridgedTargetOptions;
  #trace: SharedRun | undefined;
  #worker: Worker | undefined;
  #nextId = 1;
  #used = false;
  /** Boots in a row that failed, and why the last did. */
  #failed = 0;
  #cause: unknown;

  constructor(options: BridgedTargetOptions) {
    this.board = options.board.config;
    this.#options = options;
  }

  async run(
    reference: string,
    args: Data,
    on?: Combination,
    record?: TraceListener,
  ): Promise<Data> {
    const scenario = await loadScenario(reference, this.#options.root);
    const { narrowing } = this.#options;
    const combination = chooseCombination(scenario, reference, this.board, narrowing, on);
    if (record === undefined) return await this.#execute(reference, args, combination);
    const trace = (this.#trace ??= new SharedRun());
    let end: RunEnd | undefined;
    try {
      const value = await this.#execute(reference, args, combination, trace);
      end = { how: "done", value };
      return value;
    } catch (error) {
      end = endOf(error);
      throw error;
    } finally {
      if (end !== undefined) record(trace.records(end), combination);
    }
  }

  async #execute(
    reference: string,
    args: Data,
    combination: Combination,
    trace?: SharedRun,
  ): Promise<Data> {
    trace?.clear();
    const worker = await this.#fresh();
    const outcome = await this.#order(worker, reference, args, combination, trace);
    if (outcome.how === "done") return outcome.data;
    if (outcome.how === "skip") throw new Skipped(outcome.reason);
    await this.#drop();
    if (outcome.how === "error") throw new Error(outcome.message);
    throw new TargetCrashError(outcome.message, {
      ...(outcome.seen === undefined ? {} : { seen: outcome.seen }),
      where: `board ${this.board.name}`,
    });
  }

  async xtest(id: string): Promise<XtestOutcome> {
    return { id, title: id, status: "skip", reason: "xtest needs the board's Linux" };
  }

  async close(): Promise<void> {
    await this.#drop();
  }

  /** The machine as it was when it came up, with a worker at it. */
  async #fresh(): Promise<Worker> {
    const { board, abort } = this.#options;
    const known = this.#worker;
    if (known === undefined) {
      // A board that does not come up must not cost its whole deadline for every scenario.
      if (this.#failed >= MAX_FAILED_BOOTS) throw this.#cause;
      try {
        this.#worker = await this.#start();
      } catch (error) {
        this.#failed += 1;
        this.#cause = error;
        throw error;
      }
      this.#failed = 0;
      this.#used = true;
      return this.#worker;
    }
    if (this.#used) {
      await this.#state().load(Deadline.after(LOAD_MS, "restoring the machine", { abort }));
    }
    this.#used = true;
    if (board.state === "broken") throw new InternalError("a broken board was restored");
    return known;
  }

  #state(): NonNullable<LiveBoard["machineState"]> {
    const { machineState, config } = this.#options.board;
    if (machineState !== undefined) return machineState;
    throw new InfrastructureError(`board ${config.name} cannot go back to an earlier state`);
  }

  async #start(): Promise<Worker> {
    const { board, env, abort, ramFile, tas, root, seed = 1, smcMs = SMC_MS } = this.#options;
    const { bridge, boot, name, file } = this.board;
    if (bridge?.ramBase === undefined || boot === undefined) {
      throw new Skipped(`board ${name} does not say where its RAM begins (bridge.ram_base)`);
    }
    const deadline = Deadline.after(BOOT_MS, `bringing up ${name}`, { abort });
    if (board.state === "broken") await board.recover(deadline);
    if (bridge.guest !== undefined) {
      const setup = await bringUpGuest(this.#options, deadline);
      await this.#state().save(deadline);
      return newWorker({ ...setup, seed, tas, root });
    }
    await board.transition("bootloader", deadline);
    const prompt = new LoaderPrompt(loaderConsoleOf(board), {
      prompt: new RegExp(boot.bootloader.prompt),
    });
    try {
      const window = new RamWindow(bridge.freeRam, file);
      const program = await assemble("mailbox", env);
      const place = { file: ramFile, base: bridge.ramBase, window, program, smcMs };
      const resident = await startResident(prompt, place, deadline);
      await this.#state().save(deadline);
      const ram = { base: bridge.freeRam.base + MIB, size: bridge.freeRam.size - MIB };
      const setup: BridgedSetup = { resident, ram, seed, tas, root };
      return newWorker(setup);
    } finally {
      prompt.close();
    }
  }

  async #order(
    worker: Worker,
    reference: string,
    args: Data,
    on: Combination,
    trace: SharedRun | undefined,
  ): Promise<BridgedOutcome> {
    const { abort, board, secureLog, scenarioMs = SCENARIO_MS } = this.#options;
    const id = this.#nextId;
    this.#nextId += 1;
    const record = trace?.begin(secureLog);
    const order: BridgedOrder = { id, reference, args, on, ...(record && { record }) };
    const stops: (() => void)[] = [];
    const outcome = new Promise<BridgedOutcome>((resolve, reject) => {
      const onMessage = (message: BridgedOutcome): void => {
        if (message.id === id) resolve(message);
      };
      worker.on("message", onMessage);
      worker.once("error", reject);
      stops.push(
        board.onIncident(({ what, line }) => {
          resolve({ id, how: "crash", message: `the board was lost: ${what}`, seen: line });
        }),
        () => worker.off("message", onMessage),
        () => worker.off("error", reject),
      );
      if (trace !== undefined && record?.secureLog === undefined) {
        stops.push(
          board.onRaw((stream, bytes) => {
            if (stream === SECURE) trace.arrived(bytes);
          }),
        );
      }
    });
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    worker.postMessage(order);
    try {
      return await Deadline.after(scenarioMs, `scenario ${reference}`, { abort })
        .race(outcome)
        .finally(() => trace?.collect());
    } catch (error) {
      await this.#drop();
      throw error;
    } finally {
      for (const stop of stops) stop();
    }
  }

  /** The machine is in no known state: the next scenario boots it. */
  async #drop(): Promise<void> {
    const worker = this.#worker;
    this.#worker = undefined;
    if (worker === undefined) return;
    await worker.terminate();
    const deadline = Deadline.after(LOAD_MS, `switching ${this.board.name} off`);
    await this.#options.board.recover(deadline);
  }
}

const newWorker = (workerData: BridgedSetup): Worker =>
  new Worker(new URL("./bridged-worker.js", import.meta.url), { workerData });
