import { TargetCrashError } from "../../../base/index.ts";
import {
  type GuestSpace,
  type Ipa,
  MAPPING,
  PAGE_SIZE,
  type Pa,
  type PlatformPort,
  type Registers,
  type Window,
} from "../../../machine/index.ts";
import {
  createMediator,
  type Mediator,
  type RuleSetName,
  type TeeBackEnd,
  type TraceEvent,
  type Trap,
} from "../../../mediator/index.ts";
import { SMC_RETURN } from "../../../optee-abi/index.ts";
import { Coverage } from "../coverage.ts";
import { Guest } from "../guest.ts";
import { KNOWN, MAPPED_PAGES, RAM_BASE, ROM_PAGE } from "../layout.ts";
import { type MachineSpec, OWN_PAGES, RAM_PAGES } from "../program.ts";
import type { ProgramMachine, TaShelf } from "../program-machine.ts";
import { fillPage } from "../taint.ts";
import type { Plant } from "./plant.ts";
import { Recorder, type Seen } from "./recorder.ts";

const MIB = 1024 * 1024;
/** Behind what every program has: room for the image of the largest TA and its list. */
const MORE_PAGES = { first: 256, count: 384 } as const;
const LARGEST_BUFFER = 320;

export interface DifferentialOptions {
  /** The secure world, emulated or real. */
  readonly port: PlatformPort;
  /** RAM that the machine is given: the same addresses on both sides, so that raw values compare. */
  readonly ram: Window;
  readonly rules: RuleSetName;
  readonly tas: TaShelf;
  readonly backEnds?: readonly TeeBackEnd[];
  /** A bug of the mediator to plant, for tests. */
  readonly plant?: Plant;
  readonly trace?: (event: TraceEvent) => void;
  /** Told before each step. */
  readonly beforeStep?: (index: number) => void;
}

/** The machine of one program in front of any secure world; it records everything and checks nothing. */
export class DifferentialMachine implements ProgramMachine {
  readonly tas: TaShelf;
  readonly morePages = MORE_PAGES;
  readonly largestBuffer = LARGEST_BUFFER;
  readonly mediator: Mediator;
  readonly recorder: Recorder;
  readonly coverage = new Coverage();
  readonly #port: PlatformPort;
  readonly #plant: Plant | undefined;
  readonly #guests: (Guest | undefined)[] = [];
  step = 0;
  /** SMCs of guests, and SMCs that reached the secure world. */
  smcs = 0;
  secureSmcs = 0;
  deaths = 0;
  created = 0;
  refused = 0;
  onRace: ProgramMachine["onRace"];
  readonly caller = undefined;
  #serial = 0;
  /** How many VMs had died when one was refused last. */
  #full = -1;

  constructor(spec: MachineSpec, options: DifferentialOptions) {
    const { port, ram } = options;
    this.tas = options.tas;
    this.#plant = options.plant;
    this.recorder = new Recorder(port.memory);
    this.#port = {
      ...port,
      smc: (registers) => {
        this.secureSmcs += 1;
        this.recorder.port("enter", registers);
        port.smc(registers);
        this.recorder.port("leave", registers);
      },
    };
    this.mediator = createMediator(this.#port, {
      rules: options.rules,
      heap: { base: ram.base, size: 16 * MIB },
      guests: [{ base: ram.base + 16 * MIB, size: 32 * MIB }],
      scatter: spec.seed,
      now: () => 0,
      trace: (event) => {
        this.coverage.clause(event.clause);
        options.trace?.(event);
      },
      ...(options.backEnds === undefined ? {} : { backEnds: options.backEnds }),
    });
  }

  get guests(): readonly Guest[] {
    return this.#guests.filter((one): one is Guest => one?.vm.alive === true);
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
      this.recorder.records.push({ type: "guest", guest: slot, what: "refused" });
      return undefined;
    }
    this.created += 1;
    this.#serial += 1;
    this.recorder.records.push({ type: "guest", guest: slot, what: "created" });
    const { space } = made.value;
    space.populate(ipaOf(MORE_PAGES.first), MORE_PAGES.count * PAGE_SIZE);
    const guest = new Guest(this, slot, this.#serial, made.value);
    this.#guests[slot] = guest;
    this.#prepare(space, this.#serial);
    return guest;
  }

  /**
   * Before 4.10 whoever closes a session while it is opened frees it under the opening thread; what
   * comes of that nobody can say.
   */
  mayClose(guest: Guest, session: number): boolean {
    return guest.pending.length === 0 || guest.sessions.includes(session);
  }

  create(slot: number, _refuse: boolean): void {
    this.guest(slot, true);
  }

  destroy(slot: number): void {
    const guest = this.#guests[slot];
    if (guest?.vm.alive !== true) return;
    this.deaths += 1;
    this.guarded(() => guest.vm.destroy());
    this.recorder.records.push({ type: "guest", guest: slot, what: "destroyed" });
  }

  beginStep(): void {
    // Nothing of what goes with a step is possible here.
  }

  endStep(): void {
    for (const guest of this.guests) this.recorder.memory(this.step, guest);
  }

  end(): void {
    this.recorder.records.push({ type: "end", how: "done" });
  }

  guarded<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      if (error instanceof TargetCrashError) throw error;
      const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
      this.recorder.records.push({ type: "thrown", what });
      return undefined;
    }
  }

  trap(guest: Guest, trap: Trap, before: Registers): void {
    const { registers } = trap;
    this.smcs += 1;
    this.coverage.abi("smc", before.get(0));
    const call = callOf(guest, before);
    const message = guest.messageOf(before);
    if (message !== undefined) this.coverage.abi("message", message.cmd);
    this.recorder.conduit(guest, "enter", registers, call);
    const plain: PlatformPort["smc"] = () => void guest.vm.trap(trap);
    const smc = this.#plant?.plant(plain, guest.vm.space) ?? plain;
    this.guarded(() => smc(registers));
    this.coverage.abi("return", registers.get(0));
    this.recorder.conduit(guest, "leave", registers, afterwards(guest, before, registers));
  }

  pageBytes(space: GuestSpace, page: number): Uint8Array | undefined {
    const frame = space.stage2.frame(RAM_BASE / PAGE_SIZE + page);
    return frame < 0 ? undefined : this.frameBytes(frame);
  }

  frameBytes(frame: number): Uint8Array | undefined {
    return this.#port.memory.page((frame * PAGE_SIZE) as Pa);
  }

  /** The program's pages hold the VM's own word, and there are pages that are no RAM. */
  #prepare(space: GuestSpace, serial: number): void {
    for (let page = 0; page < OWN_PAGES; page += 1) {
      const bytes = space.page(ipaOf(page));
      if (bytes === undefined) continue;
      fillPage(bytes, serial);
      space.dirty(ipaOf(page), PAGE_SIZE);
    }
    const host = KNOWN.host.base / PAGE_SIZE;
    space.mapForeign(ipaOf(MAPPED_PAGES.mmio), host, MAPPING.mmio);
    space.mapForeign(ipaOf(MAPPED_PAGES.grant), host + 1, MAPPING.grant);
    space.mapForeign(ipaOf(MAPPED_PAGES.foreign), host + 2, MAPPING.foreign);
    space.protect(ipaOf(ROM_PAGE), MAPPING.ramRo);
  }
}

const ipaOf = (page: number): Ipa => (RAM_BASE + page * PAGE_SIZE) as Ipa;

function callOf(guest: Guest, registers: Registers): Seen | undefined {
  const bytes = guest.messageBytes(registers);
  return bytes === undefined ? undefined : { role: "call", at: registers.pair(1), bytes };
}

/** What the guest was given: an RPC's request, or the message of its call with the results. */
function afterwards(guest: Guest, before: Registers, after: Registers): Seen | undefined {
  if (after.get(0) === SMC_RETURN.RPC_CMD) {
    const bytes = guest.requestBytes(after.get(1), after.get(2));
    return bytes === undefined ? undefined : { role: "rpc", at: 0, bytes };
  }
  return after.get(0) === SMC_RETURN.OK ? callOf(guest, before) : undefined;
}
