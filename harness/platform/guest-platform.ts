import type { FreeRam } from "../bridge/index.ts";
import {
  type Conduit,
  createDirectConduit,
  type GuestMemory,
  type Ipa,
  PAGE_SIZE,
  type PlatformPort,
  type Registers,
  Scheduler,
} from "../machine/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
import type { StrangersPage } from "./scenario.ts";
import type { Recorder } from "./recording/index.ts";
import type { NormalWorld, ScenarioPlatform } from "./scenario-platform.ts";
import { Skipped } from "./target.ts";

/** RAM of the guest as scenarios see it, in bytes, as that of VMs on other platforms. */
const GUEST_RAM = 16 * 1024 * 1024;

export interface GuestPlatformOptions {
  readonly seed: number;
  /** What the hypervisor's mediator is held against. */
  readonly rules: RuleSetName;
  /** The guest's view of the machine; whole pages of its RAM are `ram`, whose end is the guest's too. */
  readonly port: PlatformPort;
  readonly ram: FreeRam;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  readonly recorder?: Recorder | undefined;
  /** A page of the machine's that is not the guest's. */
  readonly strangersPage?: StrangersPage;
  /** Has the hypervisor take a page out of the guest's address space. */
  readonly unmap?: (page: Ipa) => void;
}

/**
 * A guest of a real hypervisor, whose mediator stands between it and a real secure world. There is one
 * guest, at the same addresses as in the machine, and nobody to ask for another.
 */
export class GuestPlatform implements ScenarioPlatform {
  readonly conduit = "vm";
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly pressure = undefined;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  readonly port: PlatformPort;
  readonly recorder: Recorder | undefined;
  /** The real port is the hypervisor's, in the machine: nothing is ever seen there. */
  onPort: ScenarioPlatform["onPort"];
  readonly #conduit: Conduit;
  readonly #strangers: StrangersPage | undefined;
  readonly #unmap: ((page: Ipa) => void) | undefined;
  readonly #gone = new Set<number>();
  #given = false;

  constructor(options: GuestPlatformOptions) {
    this.rules = options.rules;
    this.seed = options.seed;
    this.tas = options.tas;
    this.port = options.port;
    this.recorder = options.recorder;
    this.scheduler = new Scheduler(options.seed);
    const { base, size } = options.ram;
    const ram = { base: base + size - GUEST_RAM, size: GUEST_RAM };
    this.#strangers = options.strangersPage;
    this.#unmap = options.unmap;
    const direct = createDirectConduit(options.port, ram);
    this.#conduit = {
      ...direct,
      memory: withoutPages(direct.memory, this.#gone),
      kind: "vm",
      smc: (registers: Registers) => options.port.smc(registers),
    };
  }

  addGuest(): NormalWorld {
    if (this.#given) throw new Skipped("guest-count: the hypervisor's first guest is the only one");
    this.#given = true;
    const unmap = this.#unmap;
    return {
      conduit: this.#conduit,
      vm: undefined,
      destroy: undefined,
      ...(unmap !== undefined && {
        unmap: (page: Ipa): void => {
          unmap(page);
          this.#gone.add(Math.floor(page / PAGE_SIZE));
        },
      }),
    };
  }

  strangersPage(): StrangersPage {
    if (this.#strangers !== undefined) return this.#strangers;
    throw new Skipped("the board file names no RAM that is not the guest's (bridge.foreign_ram)");
  }
}

/** A guest's memory without the pages that it has given up. */
function withoutPages(memory: GuestMemory, gone: ReadonlySet<number>): GuestMemory {
  const check = (at: Ipa, length: number): void => {
    const last = Math.floor((at + Math.max(length, 1) - 1) / PAGE_SIZE);
    for (let page = Math.floor(at / PAGE_SIZE); page <= last; page += 1) {
      if (gone.has(page)) throw new RangeError(`0x${at.toString(16)} is no longer the guest's`);
    }
  };
  return {
    read: (at, length) => {
      check(at, length);
      return memory.read(at, length);
    },
    write: (at, bytes) => {
      check(at, bytes.length);
      memory.write(at, bytes);
    },
    page: (at) => (gone.has(Math.floor(at / PAGE_SIZE)) ? undefined : memory.page(at)),
    dirty: (at, length) => {
      check(at, length);
      memory.dirty(at, length);
    },
  };
}
