import { Random } from "../base/index.ts";
import {
  type AccessProbe,
  type Conduit,
  createDirectConduit,
  type PhysicalMemory,
  type PlatformPort,
  type Registers,
  Scheduler,
  SparseMemory,
  type Window,
} from "../machine/index.ts";
import {
  RULE_SETS,
  createHwdomConduit,
  createMediator,
  type Mediator,
  type RuleSetName,
} from "../mediator/index.ts";
import { hukOf, opteeBuildOf, type RpmbBuildOptions } from "./rpmb-setup.ts";
import {
  buildTaImages,
  DEBIAN_4_5,
  type OpteeBuild,
  PSEUDO_TAS,
  SecureWorld,
  USER_TAS,
} from "../secure-world/index.ts";

import type { OwnMediator, OwnTarget, SecureWorldMachine } from "./own-target.ts";
import { MemoryPressure } from "./pressure.ts";
import { portObserver, type Recorder } from "./recording/index.ts";
import type { NormalWorld, ScenarioPlatform } from "./scenario-platform.ts";
import type { StressKind } from "../run/index.ts";
import { Skipped } from "./target.ts";

const MIB = 1024 * 1024;
/** As the mediator names its view of memory. */
const MEDIATOR = "mediator";
const SEEDS_APART = 0x9e37;
/** How many CPUs there are beside the one that runs. */
const OTHER_CPUS = 3;

/** The physical address map. VMs and the mediator live where no guest address could be mistaken. */
export const EMULATED_MAP = {
  secureRam: { base: 0x0e10_0000, size: 15 * MIB },
  hostRam: { base: 0x4000_0000, size: 1024 * MIB },
  mediatorHeap: { base: 0x20_0000_0000, size: 64 * MIB },
  guestRam: { base: 0x30_0000_0000, size: 1024 * MIB },
  /** What the driver of the conduits `direct` and `hwdom` may use; clear of reserved shm. */
  driverRam: { base: 0x4800_0000, size: 16 * MIB },
  /** RAM of each VM, in the VM's own addresses. */
  vmRam: { base: 0x4000_0000, size: 16 * MIB },
} as const satisfies Record<string, Window>;

export interface EmulatedOptions {
  readonly conduit: Conduit["kind"];
  readonly seed: number;
  /** How often the machine was switched on before: what the secure world draws is new each time. */
  readonly boot?: number;
  /** Mediator rules of conduit `vm`; default `strict`. */
  readonly rules?: RuleSetName;
  /** Of a thousand accesses of the mediator, at how many another task gets a turn. */
  readonly parallel?: number;
  /** VMs that the virtualized build must have room for at once; else as many as Debian's has. */
  readonly vms?: number;
  /** What differs from the Debian build that fits the conduit. */
  readonly build?: Partial<OpteeBuild>;
  /** Of a thousand places where an interrupt could be taken, how many find one pending. */
  readonly interrupts?: number;
  /** OP-TEE has RPMB storage, and is built in this way. */
  readonly rpmb?: RpmbBuildOptions;
  /** Keeps the memory of VMs under pressure: ballooning, donation, migration. */
  readonly stress?: StressKind;
  /** A secure world or a mediator in place of Lockstep's. */
  readonly own?: OwnTarget;
  /** Lines of the secure console. */
  readonly console?: (line: string) => void;
  /** Records what happens from the first SMC of the mediator on. */
  readonly recorder?: Recorder | undefined;
}

/** An emulated machine: memory, secure world behind a port, and the conduit's far end. */
export class EmulatedPlatform implements ScenarioPlatform {
  readonly options: EmulatedOptions;
  readonly scheduler: Scheduler;
  readonly memory: SparseMemory;
  readonly #secureWorld: SecureWorld | undefined;
  readonly port: PlatformPort;
  /** Lockstep's mediator, on conduit `vm` unless there is another. */
  readonly mediator: Mediator | undefined;
  readonly #ownMediator: OwnMediator | undefined;
  /** With `stress`, where there are VMs. */
  readonly pressure: MemoryPressure | undefined;
  /** Sees every SMC at the port while set. */
  onPort: ((phase: "enter" | "leave", registers: Registers) => void) | undefined;

  constructor(options: EmulatedOptions) {
    this.options = options;
    this.scheduler = new Scheduler(options.seed);
    const map = EMULATED_MAP;
    this.memory = new SparseMemory([
      { name: "secure RAM", ...map.secureRam, type: "ram", secure: true },
      { name: "RAM", ...map.hostRam, type: "ram" },
      { name: "mediator heap", ...map.mediatorHeap, type: "ram" },
      { name: "guest RAM", ...map.guestRam, type: "ram" },
    ]);
    const ownWorld = options.own?.createSecureWorld?.(this.#forSecureWorld());
    this.#secureWorld = ownWorld === undefined ? this.#model() : undefined;
    const secureWorld = ownWorld ?? this.secureWorld;
    this.port = {
      memory: this.memory.view("normal", "host"),
      ...(secureWorld.notifications === undefined
        ? {}
        : { notifications: secureWorld.notifications }),
      smc: (registers) => {
        this.pressure?.betweenCalls();
        this.onPort?.("enter", registers);
        secureWorld.smc(registers);
        this.onPort?.("leave", registers);
        this.pressure?.betweenCalls();
      },
    };
    if (options.recorder !== undefined) this.#record(options.recorder);
    if (options.conduit === "vm") {
      const { rules = "strict", seed } = options;
      const { mediatorHeap: heap, guestRam: guests } = map;
      const nowMs = (): number => this.scheduler.nowMs;
      const its = { heap, guests, rules, seed, nowMs };
      this.#ownMediator = options.own?.createMediator?.(this.port, its);
      if (this.#ownMediator === undefined) {
        const own = { rules, heap, guests: [guests], scatter: seed, now: nowMs };
        this.mediator = createMediator(this.port, own);
      }
    }
    this.pressure = this.#pressure();
    this.memory.probe = this.#probe();
  }

  /** Lockstep's model of OP-TEE. Throws where another secure world stands in its place. */
  get secureWorld(): SecureWorld {
    if (this.#secureWorld !== undefined) return this.#secureWorld;
    throw new Skipped("looks into Lockstep's own secure world");
  }

  #forSecureWorld(): SecureWorldMachine {
    const { conduit, interrupts = 0, seed, vms, console: print } = this.options;
    const chance = new Random(seed ^ 0x1f7e);
    return {
      memory: normalMemoryOf(this.memory),
      conduit,
      vms,
      nowMs: () => this.scheduler.nowMs,
      interruptPending: () => interrupts > 0 && chance.below(1000) < interrupts,
      print: (line) => print?.(line),
    };
  }

  #model(): SecureWorld {
    const { build, conduit, interrupts = 0, rpmb } = this.options;
    const { memory, nowMs, interruptPending, print } = this.#forSecureWorld();
    const virtualized = conduit === "vm";
    const plain = rpmb === undefined ? DEBIAN_4_5 : opteeBuildOf(rpmb, virtualized);
    const stock = virtualized ? virtualizedFor(this.options, plain) : plain;
    return new SecureWorld({
      build: { ...stock, ...build },
      ...(rpmb === undefined ? {} : { huk: hukOf(rpmb) }),
      ...(rpmb?.keyReady === undefined ? {} : { rpmbKeyReady: () => rpmb.keyReady ?? true }),
      memory,
      nowMs,
      pseudoTas: PSEUDO_TAS,
      userTas: USER_TAS,
      seed: this.options.seed + (this.options.boot ?? 0) * SEEDS_APART,
      ...(interrupts > 0 ? { interruptPending } : {}),
      ...(this.options.console === undefined ? {} : { console: print }),
    });
  }

  /** What happens between accesses to memory: other vCPUs run, pages come and go. */
  #probe(): AccessProbe | undefined {
    const { pressure, scheduler } = this;
    const { parallel = 0, seed } = this.options;
    if (parallel === 0) return pressure?.probe;
    const chance = new Random(seed ^ 0x9a7a);
    let depth = 0;
    return (access) => {
      pressure?.probe(access);
      if (access.by !== MEDIATOR || depth === OTHER_CPUS || chance.below(1000) >= parallel) return;
      depth += 1;
      const resume = pressure?.suspend();
      try {
        scheduler.turn();
      } finally {
        resume?.();
        depth -= 1;
      }
    };
  }

  get conduit(): Conduit["kind"] {
    return this.options.conduit;
  }

  get rules(): RuleSetName {
    return this.options.rules ?? "strict";
  }

  get recorder(): Recorder | undefined {
    return this.options.recorder;
  }

  get seed(): number {
    return this.options.seed;
  }

  get tas(): ReadonlyMap<string, Uint8Array> {
    return taImages();
  }

  #pressure(): MemoryPressure | undefined {
    const { mediator, memory } = this;
    const { seed, stress } = this.options;
    if (stress === undefined || mediator === undefined) return undefined;
    const { guestRam } = EMULATED_MAP;
    return new MemoryPressure({ frames: mediator.frames, memory, guestRam, seed });
  }

  #record(recorder: Recorder): void {
    const { memory } = this;
    recorder.unobserved = (look) => {
      const { probe } = memory;
      memory.probe = undefined;
      try {
        return look();
      } finally {
        memory.probe = probe;
      }
    };
    if (this.conduit === "vm") this.onPort = portObserver(memory.view("normal"), recorder);
  }

  /** A further normal world; with conduit `vm` a VM comes with it. Throws Skipped when refused. */
  addGuest(): NormalWorld {
    const { mediator, port } = this;
    const spec = { ram: EMULATED_MAP.vmRam };
    const vm = mediator?.createVm(spec);
    const made = vm ?? this.#ownMediator?.createVm(spec);
    if (made?.ok === false) {
      throw new Skipped(`no room for another VM: ${made.error}, ${made.reason}`);
    }
    if (made !== undefined) {
      const { conduit } = made.value;
      return {
        conduit: this.#stressed(conduit),
        vm: vm?.ok === true ? vm.value : undefined,
        destroy: () => made.value.destroy(),
      };
    }
    const ram = EMULATED_MAP.driverRam;
    const conduit =
      this.options.conduit === "hwdom"
        ? createHwdomConduit(port, { ram })
        : createDirectConduit(port, ram);
    return { conduit, vm: undefined, destroy: undefined };
  }

  #stressed(conduit: Conduit): Conduit {
    const { pressure } = this;
    if (pressure === undefined) return conduit;
    return {
      ...conduit,
      smc: (registers, vcpu) => {
        pressure.betweenCalls();
        conduit.smc(registers, vcpu);
        pressure.betweenCalls();
      },
    };
  }
}

/** A virtualized build; with more partitions, none of them smaller, where it needs them. */
function virtualizedFor(
  { vms = 0, rules = "strict" }: EmulatedOptions,
  plain: OpteeBuild,
): OpteeBuild {
  const stock: OpteeBuild = { ...plain, virtualization: true };
  // The host of rule set kvm is a client as well.
  const guestCount = vms + (RULE_SETS[rules].hostClientId === 0 ? 0 : 1);
  if (guestCount <= stock.guestCount) return stock;
  return { ...stock, guestCount, taRam: (stock.taRam / stock.guestCount) * guestCount };
}

/** What OP-TEE may share: non-secure memory, its accesses attributed to the secure world. */
const normalMemoryOf = (memory: SparseMemory): PhysicalMemory => memory.view("normal", "secure");

let images: ReadonlyMap<string, Uint8Array> | undefined;

/** The `.ta` files of the modelled TAs, by UUID. */
export function taImages(): ReadonlyMap<string, Uint8Array> {
  images ??= buildTaImages(USER_TAS);
  return images;
}

export function createEmulated(options: EmulatedOptions): EmulatedPlatform {
  return new EmulatedPlatform(options);
}
