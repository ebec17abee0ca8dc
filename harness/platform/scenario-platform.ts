import type { StrangersPage } from "./scenario.ts";
import type { Conduit, Ipa, PlatformPort, Registers, Scheduler } from "../machine/index.ts";
import type { FileSystem } from "../normal-world/index.ts";
import type { RuleSetName, Vm } from "../mediator/index.ts";
import type { MemoryPressure } from "./pressure.ts";
import type { Recorder } from "./recording/index.ts";

/** What a scenario's context is made from: a secure world behind a port, and the conduit's far end. */
export interface ScenarioPlatform {
  readonly conduit: Conduit["kind"];
  /** The mediator's rules, where conduit `vm` has one in front. */
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly scheduler: Scheduler;
  /** Where the memory of VMs is under pressure. */
  readonly pressure: MemoryPressure | undefined;
  /** The `.ta` files that supplicants have, by UUID. */
  readonly tas: ReadonlyMap<string, Uint8Array>;
  /** The secure world and the memory that it shares, in front of which conduits are. */
  readonly port: PlatformPort;
  /** Records what happens on it. */
  readonly recorder?: Recorder | undefined;
  /** Sees every SMC at the port while set. */
  onPort: ((phase: "enter" | "leave", registers: Registers) => void) | undefined;
  /** A further normal world; with conduit `vm` a VM comes with it. Throws Skipped when refused. */
  addGuest(): NormalWorld;
  /** A page of the machine's that is no guest's; where left out, that of a further guest. */
  strangersPage?(): StrangersPage;
  /** The file system of a further normal world; a plain one when left out. */
  newDisk?(): FileSystem;
}

/** One normal world on a platform. */
export interface NormalWorld {
  readonly conduit: Conduit;
  /** The VM behind it, where Lockstep's mediator made one. */
  readonly vm: Vm | undefined;
  /** Ends the VM; undefined where there is none. */
  readonly destroy: (() => void) | undefined;
  /** Takes a page of its RAM out of its address space; where left out, `vm` does, if there is one. */
  readonly unmap?: (page: Ipa) => void;
}
