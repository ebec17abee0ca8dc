import type { FreeRam } from "../bridge/index.ts";
import {
  type Conduit,
  createDirectConduit,
  InterruptLine,
  type PlatformPort,
  type Registers,
  Scheduler,
  type Window,
} from "../machine/index.ts";
import {
  createHwdomConduit,
  createMediator,
  type Mediator,
  type RuleSetName,
} from "../mediator/index.ts";
import type { FileSystem } from "../normal-world/index.ts";
import { portObserver, type Recorder } from "./recording/index.ts";
import type { NormalWorld, ScenarioPlatform } from "./scenario-platform.ts";
import { Skipped } from "./target.ts";

const MIB = 1024 * 1024;
/** RAM of each VM, in the VM's own addresses, as on the emulated platform. */
const VM_RAM: Window = { base: 0x4000_0000, size: 16 * MIB };

export interface BridgedOptions {
  readonly conduit: Conduit["kind"];
  readonly seed: number;
  readonly rules?: RuleSetName;
  /** The machine, whose RAM of its own is `ram`: whole pages, 64 MiB or more. */
  readonly port: PlatformPort;
  readonly ram: FreeRam;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** File systems for normal worlds; plain ones when left out. */
  readonly newDisk?: () => FileSystem;
  /** Records what happens from the first SMC of the mediator on. */
  readonly recorder?: Recorder | undefined;
}

/** A real secure world with our conduits in front of it. */
export class BridgedPlatform implements ScenarioPlatform {
  readonly conduit: Conduit["kind"];
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly scheduler: Scheduler;
  readonly mediator: Mediator | undefined;
  readonly pressure = undefined;
  readonly tas: ReadonlyMap<string, Uint8Array>;
  readonly recorder: Recorder | undefined;
  onPort: ScenarioPlatform["onPort"];
  readonly newDisk?: () => FileSystem;
  readonly port: PlatformPort;
  /** The machine's RAM that is the model's. */
  readonly ram: FreeRam;
  readonly #driverRam: Window;

  constructor(options: BridgedOptions) {
    this.conduit = options.conduit;
    this.rules = options.rules ?? "strict";
    this.seed = options.seed;
    this.tas = options.tas;
    if (options.newDisk !== undefined) this.newDisk = options.newDisk;
    this.ram = options.ram;
    this.scheduler = new Scheduler(options.seed);
    const { base, size } = options.ram;
    this.#driverRam = { base, size: 16 * MIB };
    this.port = {
      ...options.port,
      // The driver has the interrupt of the device tree; a machine at its boot loader takes none, so that
      // it stays silent.
      notifications: options.port.notifications ?? new InterruptLine("notifications"),
      smc: (registers: Registers) => {
        this.onPort?.("enter", registers);
        options.port.smc(registers);
        this.onPort?.("leave", registers);
      },
    };
    this.recorder = options.recorder;
    if (this.recorder !== undefined && options.conduit === "vm") {
      this.onPort = portObserver(this.port.memory, this.recorder);
    }
    this.mediator =
      options.conduit === "vm"
        ? createMediator(this.port, {
            rules: this.rules,
            heap: { base: base + 16 * MIB, size: 16 * MIB },
            guests: [{ base: base + 32 * MIB, size: size - 32 * MIB }],
            scatter: options.seed,
            now: () => this.scheduler.nowMs,
          })
        : undefined;
  }

  addGuest(): NormalWorld {
    if (this.mediator !== undefined) {
      const made = this.mediator.createVm({ ram: VM_RAM });
      if (made.ok) {
        const vm = made.value;
        return { conduit: vm.conduit, vm, destroy: () => vm.destroy() };
      }
      throw new Skipped(`no room for another VM: ${made.error}, ${made.reason}`);
    }
    const ram = this.#driverRam;
    const conduit =
      this.conduit === "hwdom"
        ? createHwdomConduit(this.port, { ram })
        : createDirectConduit(this.port, ram);
    return { conduit, vm: undefined, destroy: undefined };
  }
}
