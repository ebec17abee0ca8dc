import { TargetCrashError } from "../base/index.ts";
import {
  type Conduit,
  type Ipa,
  PAGE_SIZE,
  type Registers,
  type Scheduler,
  type SpawnedTask,
  type Task,
  TaskGroup,
} from "../machine/index.ts";
import type { RuleSetName, Vm } from "../mediator/index.ts";
import {
  type FileSystem,
  Linux,
  type TeecContext,
  teecInitializeContext,
} from "../normal-world/index.ts";
import { resultName } from "../optee-abi/index.ts";
import { errnoName } from "../tee-uapi/index.ts";
import type { EmulatedPlatform } from "./emulated.ts";
import type { RpmbBench } from "./rpmb-bench.ts";
import type {
  Guest,
  RestartOptions,
  ScenarioContext,
  SmcObservation,
  StrangersPage,
} from "./scenario.ts";
import { recordGuest } from "./recording/index.ts";
import type { NormalWorld, ScenarioPlatform } from "./scenario-platform.ts";
import { Skipped } from "./target.ts";

export interface ContextOptions<P> {
  /** The parts, where the scenario needs any. */
  readonly rpmb?: RpmbBench;
  /** The machine once more, switched off and on; Skipped is thrown where that cannot be done. */
  readonly restart?: (options: RestartOptions) => Promise<P>;
}

/** The context of one scenario run on a platform, the emulated one by default. */
export class EmulatedContext<
  P extends ScenarioPlatform = EmulatedPlatform,
> implements ScenarioContext {
  readonly seed: number;
  readonly #options: ContextOptions<P>;
  #platform: P;
  #guests: EmulatedGuest[] = [];
  /** File systems of the guests before the machine was switched off. */
  #disks: readonly FileSystem[] = [];
  readonly #listeners: ((seen: SmcObservation) => void)[] = [];

  constructor(platform: P, options: ContextOptions<P> = {}) {
    this.#platform = platform;
    this.#options = options;
    this.seed = platform.seed;
  }

  get platform(): P {
    return this.#platform;
  }

  get rpmb(): RpmbBench {
    return this.#options.rpmb ?? this.skip("the scenario says nothing of RPMB");
  }

  async restart(options: RestartOptions = {}): Promise<void> {
    const { restart, rpmb } = this.#options;
    if (restart === undefined) this.skip("this machine cannot be switched off and on");
    this.#disks = this.#guests.map(({ kernel }) => kernel.disk);
    const platform = await restart(options);
    if (options.build !== undefined && rpmb !== undefined) rpmb.build = options.build;
    if (options.route !== undefined && rpmb !== undefined) rpmb.route = options.route;
    rpmb?.powerOn();
    this.#platform = platform;
    this.#guests = [];
    if (this.#listeners.length > 0) this.#watchPort();
  }

  get scheduler(): Scheduler {
    return this.platform.scheduler;
  }

  get conduit(): Conduit {
    return this.guest().conduit;
  }

  get rules(): RuleSetName | undefined {
    const { conduit, rules } = this.platform;
    return conduit === "vm" ? rules : undefined;
  }

  guest(index = 0): Guest {
    if (index > 0 && this.platform.conduit !== "vm") {
      throw new Skipped(`conduit ${this.platform.conduit} has one normal world`);
    }
    while (this.#guests.length <= index) {
      const number = this.#guests.length;
      const world = this.#addGuest(number);
      const { conduit, vm } = world;
      // The machine has one set of parts: it is the first guest's.
      const bench = number === 0 ? this.#options.rpmb : undefined;
      const parts = bench?.kernelParts;
      const disk = this.#disks[number] ?? this.platform.newDisk?.();
      const kernel = new Linux({
        name: `guest ${number}`,
        conduit,
        scheduler: this.scheduler,
        tas: this.platform.tas,
        ...(bench === undefined ? {} : { supplicant: { rpmb: bench.supplicantAccess } }),
        ...(parts === undefined ? {} : { rpmb: parts }),
        ...(disk === undefined ? {} : { disk }),
      });
      if (vm !== undefined) this.platform.pressure?.attach(vm, kernel);
      if (this.#listeners.length > 0) this.#trace(kernel, number);
      this.#guests.push(new EmulatedGuest(this, number, kernel, world));
    }
    const guest = this.#guests[index];
    if (guest === undefined) throw new RangeError(`no guest ${index}`);
    return guest;
  }

  #addGuest(number: number): NormalWorld {
    const { recorder } = this.platform;
    if (recorder === undefined) return this.platform.addGuest();
    return recordGuest(() => this.platform.addGuest(), number, recorder);
  }

  client(guest = 0): TeecContext {
    const { linux } = this.guest(guest);
    const { result, context } = this.execute(teecInitializeContext(linux.process()));
    if (context !== undefined) return context;
    throw new TargetCrashError("a GP client context cannot be initialized", {
      expected: "TEEC_SUCCESS",
      seen: resultName(result) ?? `0x${result.toString(16)}`,
    });
  }

  strangersPage(): StrangersPage {
    const own = this.platform.strangersPage?.();
    if (own !== undefined) return own;
    // Not one of the scenario's guests: a page of nobody's, to a trace as elsewhere.
    const { conduit, vm } = this.platform.addGuest();
    const page = (conduit.ram.base + PAGE_SIZE) as Ipa;
    const pa = vm?.space.stage2.translate(page);
    if (pa === undefined) this.skip("the machine's addresses are not known here");
    return {
      pa: BigInt(pa),
      read: () => conduit.memory.read(page, PAGE_SIZE),
      write: (bytes) => conduit.memory.write(page, bytes),
    };
  }

  execute<T>(body: Task<T>, group?: TaskGroup): T {
    return this.scheduler.run("scenario", body, group);
  }

  observe(listener: (seen: SmcObservation) => void): void {
    this.#listeners.push(listener);
    if (this.#listeners.length === 1) this.#watchPort();
    for (const { index, kernel } of this.#guests) this.#trace(kernel, index);
  }

  #watchPort(): void {
    const recorded = this.platform.onPort;
    this.platform.onPort = (phase, registers) => {
      recorded?.(phase, registers);
      this.#report("port", phase, undefined, registers);
    };
  }

  #trace({ kernel }: Linux, guest: number): void {
    kernel.trace = ({ phase, registers }) => this.#report("conduit", phase, guest, registers);
  }

  skip(reason: string): never {
    throw new Skipped(reason);
  }

  #report(
    where: SmcObservation["where"],
    phase: SmcObservation["phase"],
    guest: number | undefined,
    registers: Registers,
  ): void {
    for (const listener of this.#listeners) listener({ where, phase, guest, registers });
  }
}

class EmulatedGuest implements Guest {
  readonly index: number;
  readonly kernel: Linux;
  readonly #context: EmulatedContext<ScenarioPlatform>;
  readonly vm: Vm | undefined;
  readonly #tasks: TaskGroup;
  readonly #end: (() => void) | undefined;
  readonly #unmap: ((page: Ipa) => void) | undefined;
  #booted = false;

  constructor(
    context: EmulatedContext<ScenarioPlatform>,
    index: number,
    kernel: Linux,
    { vm, destroy, unmap }: NormalWorld,
  ) {
    this.#context = context;
    this.index = index;
    this.kernel = kernel;
    this.vm = vm;
    this.#end = destroy;
    this.#unmap = unmap;
    this.#tasks = new TaskGroup(kernel.name);
  }

  get conduit(): Conduit {
    return this.kernel.kernel.conduit;
  }

  get linux(): Linux {
    if (!this.#booted) {
      this.#booted = true;
      const status = this.#context.execute(this.kernel.boot(), this.#tasks);
      if (status < 0) {
        throw new TargetCrashError(`the OP-TEE driver of ${this.kernel.name} does not start`, {
          expected: "a probe and a supplicant that succeed",
          seen: errnoName(status),
        });
      }
    }
    return this.kernel;
  }

  spawn<T>(name: string, body: Task<T>): SpawnedTask<T> {
    return this.#context.scheduler.spawn(`${this.kernel.name} ${name}`, body, this.#tasks);
  }

  unmap(page: Ipa): void {
    if (this.#unmap !== undefined) this.#unmap(page);
    else if (this.vm !== undefined) this.vm.space.balloon(page);
    else throw new Skipped("no page can be taken away from this guest");
  }

  destroy(): void {
    if (this.#end === undefined) throw new Skipped("only a VM can be destroyed");
    this.#tasks.stop(new Error(`${this.kernel.name} is gone`));
    this.#end();
  }
}
