import { LockstepError, messageOf } from "../base/index.ts";
import type { BoardConfig } from "../board/index.ts";
import {
  addStress,
  noStress,
  type Status,
  type StressKind,
  type StressReport,
  type SubcaseResult,
} from "../run/index.ts";
import { chooseCombination } from "./choice.ts";
import type { Combination, Narrowing } from "./combination.ts";
import { createEmulated, type EmulatedOptions, type EmulatedPlatform } from "./emulated.ts";
import { EmulatedContext } from "./emulated-context.ts";
import type { OwnTarget } from "./own-target.ts";
import { importScenarios, isScenario, loadScenario } from "./reference.ts";
import { RpmbBench } from "./rpmb-bench.ts";
import type { RpmbBuildOptions } from "./rpmb-setup.ts";
import type { Scenario } from "./scenario.ts";
import { endOf, endRecord, Recorder, RecordList, type RunEnd } from "./recording/index.ts";
import {
  type Data,
  Skipped,
  type Target,
  type TraceListener,
  type XtestOutcome,
} from "./target.ts";

export interface EmulatedTargetOptions {
  /** Decides every interleaving and every scattered page; 1 when left out. */
  readonly seed?: number;
  /** The only conduits and rule sets to use; all when left out. */
  readonly narrowing?: Narrowing;
  /** A secure world or a mediator in place of Lockstep's. */
  readonly own?: OwnTarget;
  /** Stress that every scenario is put under. */
  readonly stress?: StressKind;
  /** Sees every machine before its scenario starts, for tests that break something. */
  readonly prepare?: (platform: EmulatedPlatform) => void;
  /** The package that holds `dist/suites`; this one when left out. */
  readonly root?: string;
  /** Lines of the secure world's console. */
  readonly console?: (line: string) => void;
}

/** Where the re-statements of xtest cases are. */
const RESTATEMENTS = { subject: "xtest", file: "restatements" } as const;

/** The emulated platform as a target: every scenario gets a machine of its own, in this thread. */
export class EmulatedTarget implements Target {
  readonly board: BoardConfig;
  readonly #options: EmulatedTargetOptions;
  #stress: StressReport | undefined;

  constructor(board: BoardConfig, options: EmulatedTargetOptions = {}) {
    this.board = board;
    this.#options = options;
    this.#stress = options.stress === undefined ? undefined : noStress(options.stress);
  }

  /** What the stress has done so far; undefined without any. */
  get stress(): StressReport | undefined {
    return this.#stress;
  }

  async run(
    reference: string,
    args: Data,
    on?: Combination,
    record?: TraceListener,
  ): Promise<Data> {
    const scenario = await loadScenario(reference, this.#options.root);
    return await this.#execute(scenario, args, on, reference, record);
  }

  async xtest(id: string): Promise<XtestOutcome> {
    const restatements = await importScenarios(RESTATEMENTS, this.#options.root);
    const scenario = restatements?.[id];
    if (!isScenario(scenario)) return { id, title: id, status: "skip", reason: "not modelled" };
    const { clauses } = scenario;
    try {
      const data = await this.#execute(scenario, null, undefined, id);
      return { ...outcomeOf(id, data), clauses };
    } catch (error) {
      if (error instanceof Skipped) {
        return { id, title: id, status: "skip", reason: error.reason, clauses };
      }
      const status = error instanceof LockstepError && error.exitCode === 5 ? "crash" : "fail";
      return { id, title: id, status, reason: messageOf(error), clauses };
    }
  }

  async close(): Promise<void> {
    // Machines live only as long as their scenario.
  }

  async #execute(
    scenario: Scenario,
    args: Data,
    wanted: Combination | undefined,
    name: string,
    record?: TraceListener,
  ): Promise<Data> {
    const on = chooseCombination(scenario, name, this.board, this.#options.narrowing, wanted);
    if (record === undefined) return await this.#on(on, scenario, args);
    const list = new RecordList();
    let end: RunEnd | undefined;
    try {
      const value = await this.#on(on, scenario, args, list);
      end = { how: "done", value };
      return value;
    } catch (error) {
      end = endOf(error);
      throw error;
    } finally {
      record(end === undefined ? list.records : [...list.records, endRecord(end, list)], on);
    }
  }

  /** With `list` the run is recorded there. */
  async #on(on: Combination, scenario: Scenario, args: Data, list?: RecordList): Promise<Data> {
    if (scenario.rpmb !== undefined && this.#options.own?.createSecureWorld !== undefined) {
      throw new Skipped("needs RPMB storage, which a secure world of one's own is not given");
    }
    const { console: print } = this.#options;
    const recorder = list && new Recorder(list);
    const console =
      print === undefined && recorder === undefined
        ? undefined
        : (line: string): void => {
            print?.(line);
            recorder?.console(line);
          };
    const { rpmb } = scenario;
    const platforms: EmulatedPlatform[] = [];
    const make = (build: RpmbBuildOptions | undefined): EmulatedPlatform => {
      const platform = createEmulated({
        ...this.#machine(on, scenario),
        boot: platforms.length,
        ...(build === undefined ? {} : { rpmb: build }),
        ...(console === undefined ? {} : { console }),
        recorder,
      });
      platforms.push(platform);
      this.#options.prepare?.(platform);
      return platform;
    };
    const bench = rpmb === undefined ? undefined : new RpmbBench(rpmb);
    const context = new EmulatedContext(make(rpmb === undefined ? undefined : (rpmb.build ?? {})), {
      ...(bench === undefined ? {} : { rpmb: bench }),
      restart: async ({ build = bench?.build }) => make(build),
    });
    try {
      return await scenario.run(context, args);
    } finally {
      for (const platform of platforms) this.#addStress(platform);
    }
  }

  #machine(on: Combination, scenario: Scenario): EmulatedOptions {
    const { own, seed = 1, stress } = this.#options;
    return {
      conduit: on.conduit,
      seed,
      ...(on.rules === undefined ? {} : { rules: on.rules }),
      interrupts: scenario.interrupts ?? 0,
      parallel: scenario.parallel ?? 0,
      ...(own === undefined ? {} : { own }),
      ...(stress === undefined || scenario.undisturbed === true ? {} : { stress }),
      ...(scenario.vms === undefined ? {} : { vms: scenario.vms }),
    };
  }

  #addStress({ pressure }: EmulatedPlatform): void {
    if (this.#stress === undefined) return;
    const { kind } = this.#stress;
    this.#stress = addStress(this.#stress, pressure?.report ?? { ...noStress(kind), machines: 1 });
  }
}

/** What a re-statement returns: a title and its subcases. */
interface Restated {
  readonly title: string;
  readonly subcases: readonly SubcaseResult[];
}

function outcomeOf(id: string, data: Data): XtestOutcome {
  const { title, subcases } = data as unknown as Restated;
  const bad = subcases.find(({ status }) => status !== "pass" && status !== "skip");
  const skipped = subcases.length > 0 && subcases.every(({ status }) => status === "skip");
  const status: Status = bad?.status ?? (skipped ? "skip" : "pass");
  const reason = bad?.reason ?? (skipped ? subcases[0]?.reason : undefined);
  return { id, title, status, subcases, ...(reason === undefined ? {} : { reason }) };
}
