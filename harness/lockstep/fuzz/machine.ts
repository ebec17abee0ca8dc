import { Random } from "../../base/index.ts";
import {
  type GuestSpace,
  type Ipa,
  MAPPING,
  PAGE_SIZE,
  type PlatformPort,
  type Registers,
  SparseMemory,
  type Window,
} from "../../machine/index.ts";
import {
  createMediator,
  type Mediator,
  type RuleSetName,
  type TeeBackEnd,
  type TraceEvent,
  type Trap,
  type Vm,
} from "../../mediator/index.ts";
import type { Coverage } from "./coverage.ts";
import { Guest } from "./guest.ts";
import { FuzzerBug, KNOWN, MAPPED_PAGES, RAM_BASE, ROM_PAGE } from "./layout.ts";
import { Inspector } from "./inspect.ts";
import type { Invariant } from "./invariants.ts";
import { type MachineSpec, type Race, RAM_PAGES, type Step } from "./program.ts";
import type { ProgramMachine } from "./program-machine.ts";
import { ScriptedWorld } from "./scripted-world.ts";
import { MODELLED_TAS } from "./tas.ts";
import { fillPage, HOST_SERIAL, MAX_SERIAL, Secrets } from "./taint.ts";
import { Watch } from "./watch.ts";
import { type FuzzWorld, ModelWorld } from "./worlds.ts";

const HEAP_PAGES = 256;
const GUEST_PAGES = 512;

/** A broken invariant: which, what was seen, in which step. */
export interface Violation {
  readonly invariant: Invariant;
  readonly seen: string;
  readonly step: number;
}

export interface MachineOptions {
  readonly rules: RuleSetName;
  readonly coverage: Coverage;
  /** Bugs to plant, for tests of the fuzzer: other back ends, another way into the secure world. */
  readonly backEnds?: readonly TeeBackEnd[];
  readonly wrap?: (world: FuzzWorld) => FuzzWorld;
  readonly trace?: (event: TraceEvent) => void;
  /** Sees what happens, for a trace. */
  readonly observer?: Observer;
}

/** Told of SMCs as they happen; registers are live. */
export interface Observer {
  guest(guest: Guest, phase: "enter" | "leave", registers: Registers): void;
  port(phase: "enter" | "leave", registers: Registers): void;
  violation(violation: Violation): void;
}

/** The machine of one program: memory at random addresses, mediator, secure world, VMs in slots. */
export class FuzzMachine implements ProgramMachine {
  readonly tas = MODELLED_TAS;
  readonly morePages = { first: RAM_PAGES, count: 0 };
  readonly largestBuffer = 16;
  readonly rules: RuleSetName;
  readonly spec: MachineSpec;
  readonly memory: SparseMemory;
  readonly world: FuzzWorld;
  readonly mediator: Mediator;
  readonly watch: Watch;
  readonly inspector: Inspector;
  readonly secrets: Secrets;
  readonly coverage: Coverage;
  readonly observer: Observer | undefined;
  readonly heap: Window;
  readonly guestRam: Window;
  readonly violations: Violation[] = [];
  /** Step under way. */
  step = 0;
  /** SMC and HVC instructions of guests so far. */
  smcs = 0;
  deaths = 0;
  created = 0;
  refused = 0;
  /** VM_CREATED is answered with a refusal. */
  refuseCreation = false;
  /** The allocation of the step under way that fails, counted from 0; -1 for none. */
  failAllocation = -1;
  readonly #guests: (Guest | undefined)[] = [];
  readonly #reported = new Set<Invariant>();
  #serial = HOST_SERIAL;
  /** How many VMs had died when one was refused last. */
  #full = -1;

  constructor(spec: MachineSpec, options: MachineOptions) {
    this.spec = spec;
    this.rules = options.rules;
    this.coverage = options.coverage;
    this.observer = options.observer;
    const random = new Random(spec.seed);
    this.heap = randomWindow(random, 0x6000_0000, HEAP_PAGES);
    this.guestRam = randomWindow(random, 0x7000_0000, GUEST_PAGES);
    this.memory = new SparseMemory([
      { name: "host RAM", ...KNOWN.host, type: "ram" },
      { name: "reserved memory", ...KNOWN.reserved, type: "ram" },
      { name: "secure RAM", ...KNOWN.secure, type: "ram", secure: true },
      { name: "mediator's memory", ...this.heap, type: "ram" },
      { name: "VMs' memory", ...this.guestRam, type: "ram" },
    ]);
    this.#fill(KNOWN.host, HOST_SERIAL);
    this.#fill(KNOWN.reserved, HOST_SERIAL);
    this.secrets = new Secrets([
      { name: "mediator's memory", ...this.heap },
      { name: "VMs' memory", ...this.guestRam },
    ]);
    const secureView = this.memory.view("normal", "secure");
    const world =
      spec.world === "model"
        ? new ModelWorld(spec, secureView, KNOWN.reserved)
        : new ScriptedWorld(spec, secureView);
    this.world = options.wrap?.(world) ?? world;
    this.watch = new Watch(this);
    this.inspector = new Inspector(this);
    const port: PlatformPort = {
      memory: this.memory.view("normal", "host"),
      smc: (registers) => this.#port(registers),
    };
    this.mediator = createMediator(port, {
      rules: options.rules,
      heap: this.heap,
      guests: [this.guestRam],
      scatter: spec.seed,
      now: () => 0,
      failAllocation: () => this.failAllocation >= 0 && this.failAllocation-- === 0,
      trace: (event) => {
        this.coverage.clause(event.clause);
        this.inspector.decided(event);
        options.trace?.(event);
      },
      ...(options.backEnds === undefined ? {} : { backEnds: options.backEnds }),
    });
  }

  get guests(): readonly Guest[] {
    return this.#guests.filter((one): one is Guest => one?.vm.alive === true);
  }

  guestBySerial(serial: number): Guest | undefined {
    return this.#guests.find((one) => one?.serial === serial);
  }

  guest(slot: number, again = false): Guest | undefined {
    const known = this.#guests[slot];
    if (known?.vm.alive === true) return known;
    if (this.#full === this.deaths && !again) return undefined;
    const made = this.guarded(() =>
      this.mediator.createVm({ ram: { base: RAM_BASE, size: RAM_PAGES * PAGE_SIZE } }),
    );
    if (made === undefined || !made.ok) {
      this.refused += 1;
      this.#full = this.deaths;
      this.inspector.afterRefusal();
      return undefined;
    }
    const vm = made.value;
    this.created += 1;
    this.#serial = this.#serial === MAX_SERIAL ? 1 : this.#serial + 1;
    this.secrets.lastSerial = Math.max(this.secrets.lastSerial, this.#serial);
    const guest = new Guest(this, slot, this.#serial, vm);
    this.#guests[slot] = guest;
    this.#prepare(vm, this.#serial);
    return guest;
  }

  create(slot: number, refuse: boolean): void {
    this.refuseCreation = refuse;
    this.guest(slot, true);
    this.refuseCreation = false;
  }

  destroy(slot: number): void {
    const guest = this.#guests[slot];
    if (guest?.vm.alive !== true) return;
    this.deaths += 1;
    this.guarded(() => guest.vm.destroy());
    if (!guest.vm.alive) this.inspector.died(guest);
  }

  get onRace(): ((race: Race, frame: number, by: string) => void) | undefined {
    return this.watch.onRace;
  }

  set onRace(act: ((race: Race, frame: number, by: string) => void) | undefined) {
    this.watch.onRace = act;
  }

  get caller(): Guest | undefined {
    return this.watch.entries.at(-1)?.guest;
  }

  beginStep({ script = NOTHING, interrupts = NOTHING, races = NOTHING, fails }: Around): void {
    this.world.begin({ script, interrupts });
    this.watch.beginStep(races);
    this.failAllocation = fails ?? -1;
  }

  endStep(): void {
    this.failAllocation = -1;
    this.refuseCreation = false;
    this.inspector.afterStep();
  }

  end(): void {
    this.inspector.atEnd();
  }

  /** With everything that is checked around it. */
  trap(guest: Guest, trap: Trap, before: Registers): void {
    const { registers } = trap;
    this.smcs += 1;
    this.coverage.abi("smc", before.get(0));
    this.observer?.guest(guest, "enter", registers);
    const message = guest.messageOf(before);
    if (message !== undefined) this.coverage.abi("message", message.cmd);
    const entry = this.watch.enter(guest);
    const result = this.guarded(() => guest.vm.trap(trap));
    this.watch.leave();
    this.observer?.guest(guest, "leave", registers);
    this.coverage.abi("return", registers.get(0));
    this.inspector.afterSmc(entry, before, registers, result === "advance" || result === "stay");
    if (!guest.vm.alive) this.inspector.died(guest);
  }

  /** Runs code under test; what it throws is a violation. */
  guarded<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (error instanceof FuzzerBug) throw error;
      this.report(
        "never-throws",
        error instanceof Error ? `${error.name}: ${error.message}` : String(error),
      );
      return undefined;
    }
  }

  /** Records a broken invariant, once for each program. */
  report(invariant: Invariant, seen: string): void {
    if (this.#reported.has(invariant)) return;
    this.#reported.add(invariant);
    const violation = { invariant, seen, step: this.step };
    this.violations.push(violation);
    this.observer?.violation(violation);
  }

  #port(registers: Registers): void {
    if (!this.inspector.creationRefused(registers)) {
      this.observer?.port("enter", registers);
      this.inspector.beforeEntry(registers);
      this.world.smc(registers);
      this.observer?.port("leave", registers);
    }
    this.inspector.afterEntry(registers);
  }

  /** New RAM must be zero; then it is filled with the VM's tag. */
  #prepare(vm: Vm, serial: number): void {
    for (let page = 0; page < RAM_PAGES; page += 1) {
      const bytes = this.pageBytes(vm.space, page);
      if (bytes === undefined) continue;
      if (!isZero(bytes)) this.report("fresh-memory", `page ${page} of a new VM is not zero`);
      fillPage(bytes, serial);
    }
    const host = KNOWN.host.base / PAGE_SIZE;
    const base = RAM_BASE / PAGE_SIZE;
    const at = (page: number): Ipa => ((base + page) * PAGE_SIZE) as Ipa;
    vm.space.mapForeign(at(MAPPED_PAGES.mmio), host, MAPPING.mmio);
    vm.space.mapForeign(at(MAPPED_PAGES.grant), host + 1, MAPPING.grant);
    vm.space.mapForeign(at(MAPPED_PAGES.foreign), host + 2, MAPPING.foreign);
    vm.space.protect(at(ROM_PAGE), MAPPING.ramRo);
  }

  /** The bytes behind a page of a VM's RAM, past every check; undefined when none is mapped. */
  pageBytes(space: GuestSpace, page: number): Uint8Array | undefined {
    const frame = space.stage2.frame(RAM_BASE / PAGE_SIZE + page);
    return frame < 0 ? undefined : this.frameBytes(frame);
  }

  frameBytes(frame: number): Uint8Array | undefined {
    const region = this.memory.find(frame * PAGE_SIZE);
    return region?.page(frame - region.base / PAGE_SIZE);
  }

  #fill({ base, size }: Window, serial: number): void {
    for (let at = base; at < base + size; at += PAGE_SIZE) {
      const bytes = this.frameBytes(at / PAGE_SIZE);
      if (bytes !== undefined) fillPage(bytes, serial);
    }
  }
}

type Around = Step["with"];
const NOTHING: readonly never[] = [];
const ZERO = Buffer.alloc(PAGE_SIZE);
export const isZero = (page: Uint8Array): boolean => ZERO.equals(page);

/**
 * A window of so many pages between 2^36 and 2^43. The low half of its address lies from `low` on,
 * where no constant of the ABI and no value that guests make up lies.
 */
function randomWindow(random: Random, low: number, pages: number): Window {
  const high = 16 + random.below(2048 - 16);
  const page = random.below(0x8000);
  return { base: high * 2 ** 32 + low + page * PAGE_SIZE, size: pages * PAGE_SIZE };
}
