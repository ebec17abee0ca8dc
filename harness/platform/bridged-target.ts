import { Worker } from "node:worker_threads";
import {
  Deadline,
  InternalError,
  LockstepError,
  secrets,
  TargetCrashError,
} from "../base/index.ts";
import type { BoardConfig, BridgeTransport, LiveBoard } from "../board/index.ts";
import { receiveError, sendError } from "../bridge/index.ts";
import type {
  BridgedOrder,
  BridgedOutcome,
  BridgedSetup,
  RestartAsked,
  SecretMet,
  RestartDone,
} from "./bridged-worker.ts";
import { bringUp, type ReadyMachine, transportOf } from "./bring-up.ts";
import { chooseCombination } from "./choice.ts";
import type { Combination, Narrowing } from "./combination.ts";
import { interruptPeriodOf } from "./interrupt-period.ts";
import { loadScenario } from "./reference.ts";
import { requireRpmb } from "./rpmb-setup.ts";
import { endOf, type RunEnd, SharedRun } from "./recording/index.ts";
import {
  type Data,
  Skipped,
  type Target,
  type TraceListener,
  type XtestOutcome,
} from "./target.ts";

export interface BridgedTargetOptions {
  /** The target boots it; its owner closes it. */
  readonly board: LiveBoard;
  /** In place of what the board file says. */
  readonly transport?: BridgeTransport;
  /** What the board was opened with as `sharedRam`, which transport `shared-ram` needs. */
  readonly ramFile?: string;
  /** QEMU's log of the secure console, whose lines go into traces. */
  readonly secureLog?: string;
  /** The file that the board starts as its kernel, where `bridge.guest` says that a program of ours is it. */
  readonly kernelFile?: string;
  readonly env: NodeJS.ProcessEnv;
  readonly abort: AbortSignal;
  /** The real `.ta` files, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** What they come from, where a scenario that wants another one is to be skipped. */
  readonly tasFrom?: string;
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
const BOOT_MS = 600_000;
/** By transport: a TA of 100 KiB takes a minute over the console of a UART. */
const SCENARIO_MS = { "shared-ram": 120_000, agent: 600_000, console: 1_800_000 } as const;
const LOAD_MS = 30_000;
const LEAVE_MS = 10_000;
const MAX_FAILED_BOOTS = 2;

/**
 * A real secure world as a target: scenarios run in a worker, with the model of the normal world and
 * the mediator in front of the machine. Each finds the machine as it was when it came up: it goes back
 * to a saved state where there is one, else it is reset, unless the scenario before left nothing behind.
 */
export class BridgedTarget implements Target {
  readonly board: BoardConfig;
  readonly #options: BridgedTargetOptions;
  #trace: SharedRun | undefined;
  #worker: Worker | undefined;
  #ready: ReadyMachine | undefined;
  #nextId = 1;
  /** The machine is not as it was when it came up. */
  #used = false;
  #started = false;
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
    await requireRpmb(this.board, scenario.rpmb);
    const everyUs = interruptPeriodOf(scenario);
    if (record === undefined) return await this.#execute(reference, args, combination, everyUs);
    const trace = (this.#trace ??= new SharedRun());
    let end: RunEnd | undefined;
    try {
      const value = await this.#execute(reference, args, combination, everyUs, trace);
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
    interruptEveryUs: number | undefined,
    trace?: SharedRun,
  ): Promise<Data> {
    trace?.clear();
    const worker = await this.#fresh();
    this.#ready?.interruptEvery(interruptEveryUs);
    const outcome = await this.#order(worker, reference, args, combination, trace);
    this.#used = !outcome.clean || this.#restores || this.board.bridge?.reset === "each";
    if (outcome.how === "done") return outcome.data;
    if (outcome.how === "skip") throw new Skipped(outcome.reason);
    const failure = failureOf(outcome.error, this.board.name);
    await this.#drop(failure instanceof TargetCrashError);
    throw failure;
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
    if (this.#used && !this.#restores) await this.#drop();
    const known = this.#worker;
    if (known === undefined) return await this.#first();
    if (this.#used) {
      await board.machineState?.load(Deadline.after(LOAD_MS, "restoring the machine", { abort }));
      this.#ready?.resumed();
      this.#used = false;
    }
    if (board.state === "broken") throw new InternalError("a broken board was restored");
    return known;
  }

  async #first(): Promise<Worker> {
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
    this.#used = false;
    return this.#worker;
  }

  /** Whether the machine can go back to how it came up, and the board file does not want it reset. */
  get #restores(): boolean {
    return this.#options.board.machineState !== undefined && this.board.bridge?.reset === undefined;
  }

  async #start(): Promise<Worker> {
    const { board, abort, tas, tasFrom, root, seed = 1 } = this.#options;
    const { bridge, name, power } = this.board;
    const deadline = Deadline.after(BOOT_MS, `bringing up ${name}`, { abort });
    // Nobody knows what a board that is taken as it is found has been used for.
    const found = power.driver === "none" || power.driver === "manual";
    if (bridge?.guest === undefined) {
      const isFresh = !this.#started && !found && board.state !== "broken";
      if (isFresh) await board.transition("bootloader", deadline);
      else await board.restart(deadline);
    } else if (board.state === "broken") await board.recover(deadline);
    this.#started = true;
    const ready = await bringUp(this.#options, deadline);
    this.#ready = ready;
    if (this.#restores) await board.machineState?.save(deadline);
    const workerData: BridgedSetup = {
      ...ready.setup,
      seed,
      tas,
      root,
      ...(tasFrom === undefined ? {} : { tasFrom }),
    };
    return new Worker(new URL("./bridged-worker.js", import.meta.url), {
      workerData,
      transferList: [...ready.transfer],
    });
  }

  async #order(
    worker: Worker,
    reference: string,
    args: Data,
    on: Combination,
    trace: SharedRun | undefined,
  ): Promise<BridgedOutcome> {
    const { abort, board, secureLog, transport = transportOf(this.board) } = this.#options;
    const { scenarioMs = SCENARIO_MS[transport] } = this.#options;
    const id = this.#nextId;
    this.#nextId += 1;
    const record = trace?.begin(secureLog);
    const order: BridgedOrder = { id, reference, args, on, ...(record && { record }) };
    const stops: (() => void)[] = [];
    let lost = false;
    const outcome = new Promise<BridgedOutcome>((resolve, reject) => {
      const onMessage = (message: BridgedOutcome | RestartAsked | SecretMet): void => {
        if ("secret" in message) {
          secrets.add(message.secret);
          return;
        }
        if (message.id !== id) return;
        if (message.how !== "restart") resolve(message);
        else void this.#powerCycle(id, worker, () => !lost);
      };
      worker.on("message", onMessage);
      worker.once("error", reject);
      stops.push(
        board.onIncident(({ what, line }) => {
          lost = true;
          const error = new TargetCrashError(`the board was lost: ${what}`, { seen: line });
          resolve({ id, clean: false, how: "failed", error: sendError(error) });
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
      const deadline = Deadline.after(scenarioMs, `scenario ${reference}`, { abort });
      try {
        return await deadline.race(outcome);
      } finally {
        if (lost) await trace?.quiet();
        trace?.collect();
      }
    } catch (error) {
      await this.#drop();
      throw error;
    } finally {
      for (const stop of stops) stop();
    }
  }

  /**
   * Has the machine as it was when it came up, in the middle of a scenario, and tells its worker so. The
   * saved state is what a cold boot led to, so that going back to it is one.
   */
  async #powerCycle(id: number, worker: Worker, wanted: () => boolean): Promise<void> {
    let done: RestartDone = { restarted: id };
    let transfer: ReadyMachine["transfer"] = [];
    try {
      const changed = await this.#bootAgain();
      if (changed !== undefined) {
        done = { ...done, setup: changed.setup };
        ({ transfer } = changed);
      }
    } catch (error) {
      done = { ...done, error: sendError(error) };
    }
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    if (wanted()) worker.postMessage(done, transfer);
  }

  /** What the worker needs of the machine anew; undefined where it can go on as it is. */
  async #bootAgain(): Promise<ReadyMachine | undefined> {
    const { board, abort } = this.#options;
    if (this.#restores) {
      await board.machineState?.load(Deadline.after(LOAD_MS, "restoring the machine", { abort }));
      this.#ready?.resumed();
      return undefined;
    }
    const deadline = Deadline.after(BOOT_MS, `restarting ${this.board.name}`, { abort });
    await this.#ready?.leave(deadline).catch(() => {});
    await board.restart(deadline);
    this.#ready = await bringUp(this.#options, deadline);
    return this.#ready;
  }

  /** The machine is in no known state: the next scenario finds it reset. */
  async #drop(lost = false): Promise<void> {
    const [worker, ready] = [this.#worker, this.#ready];
    this.#worker = undefined;
    this.#ready = undefined;
    await worker?.terminate();
    // What is lost cannot be asked to leave.
    const deadline = Deadline.after(
      lost ? 0 : LEAVE_MS,
      `leaving the boot loader of ${this.board.name}`,
    );
    // What does not leave is reset with the rest of the board.
    await ready?.leave(deadline).catch(() => {});
  }
}

/** A failure as the suite is to see it: who must act is kept, a scenario's own mistake is its own. */
function failureOf(sent: Parameters<typeof receiveError>[0], board: string): Error {
  const { where = `board ${board}`, ...rest } = sent;
  const error = receiveError({ ...rest, where });
  return error instanceof LockstepError ? error : new Error(sent.message);
}
