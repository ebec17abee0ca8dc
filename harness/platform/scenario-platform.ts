import type { Conduit, Registers, Scheduler } from "../machine/index.ts";
import type { Mediator, Vm } from "../mediator/index.ts";
import type { MemoryPressure } from "./pressure.ts";

/** What a scenario's context is made from: a secure world behind a port, and the conduit's far end. */
export interface ScenarioPlatform {
  readonly conduit: Conduit["kind"];
  readonly seed: number;
  readonly scheduler: Scheduler;
  /** On conduit `vm`. */
  readonly mediator: Mediator | undefined;
  /** Where the memory of VMs is under pressure. */
  readonly pressure: MemoryPressure | undefined;
  /** The `.ta` files that supplicants have, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** Sees every SMC at the port while set. */
  onPort: ((phase: "enter" | "leave", registers: Registers) => void) | undefined;
  /** A further normal world; with conduit `vm` a VM comes with it. Throws Skipped when refused. */
  addGuest(): { readonly conduit: Conduit; readonly vm: Vm | undefined };
}
