import type { FreeRam } from "../bridge/index.ts";
import {
  type Conduit,
  createDirectConduit,
  type PlatformPort,
  type Registers,
  Scheduler,
} from "../machine/index.ts";
import type { RuleSetName } from "../mediator/index.ts";
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
  /** The real port is the hypervisor's, in the machine: nothing is ever seen there. */
  onPort: ScenarioPlatform["onPort"];
  readonly #conduit: Conduit;
  #given = false;

  constructor(options: GuestPlatformOptions) {
    this.rules = options.rules;
    this.seed = options.seed;
    this.tas = options.tas;
    this.port = options.port;
    this.scheduler = new Scheduler(options.seed);
    const { base, size } = options.ram;
    const ram = { base: base + size - GUEST_RAM, size: GUEST_RAM };
    this.#conduit = {
      ...createDirectConduit(options.port, ram),
      kind: "vm",
      smc: (registers: Registers) => options.port.smc(registers),
    };
  }

  addGuest(): NormalWorld {
    if (this.#given) throw new Skipped("guest-count: the hypervisor's first guest is the only one");
    this.#given = true;
    return { conduit: this.#conduit, vm: undefined, destroy: undefined };
  }
}
