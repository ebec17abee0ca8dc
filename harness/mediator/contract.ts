import type { Conduit, Frames, GuestSpace, Registers, Window } from "../machine/index.ts";
import type { GuestFirmwareNode, GuestUsage, TeeBackEnd } from "./backend.ts";
import type { Allocation } from "./heap.ts";

/** Rule sets by name: `xen` bug-compatible, `strict` ours, `kvm` with that series' ids and quota. */
export type RuleSetName = "xen" | "strict" | "kvm";

/** Why something was refused, in errno's words; what a hypervisor's tool stack would see. */
export type Errno = "ENODEV" | "EINVAL" | "ENOMEM" | "ENOSPC";
export type Outcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly error: Errno; readonly reason: string };

export interface MediatorOptions {
  /** Default `strict`. */
  readonly rules?: RuleSetName;
  /** Physical memory for the mediator's own shadows and page lists: non-secure RAM, whole pages. */
  readonly heap: Window;
  /** Physical memory that VMs get their RAM from. */
  readonly guests: readonly Window[];
  /** Hands out RAM and shadows in a random order from this seed instead of ascending. */
  readonly scatter?: number;
  /** Sees every decision; costs nothing when absent. */
  readonly trace?: (event: TraceEvent) => void;
  /** Where the mediator's rate-limited messages about guests go; nowhere by default. */
  readonly log?: (line: string) => void;
  /** Monotonic milliseconds for the rate limit of `log`. */
  readonly now?: () => number;
  /** Back ends in the order in which they are probed; OP-TEE alone by default. */
  readonly backEnds?: readonly TeeBackEnd[];
  /** Only this back end, which must answer its probe (Xen's `tee=`, MED-005). */
  readonly tee?: string;
  /** "compatible" of the platform's TEE node; by default those of the back ends (MED-001). */
  readonly compatible?: readonly string[];
  /**
   * Asked between the steps of a VM's end: true when the hypervisor wants its CPU back. The VM is then
   * dead but not yet gone, and another `destroy()` goes on (MED-163). Never by default.
   */
  readonly preempt?: () => boolean;
  /** Injected allocation failures, for tests. */
  readonly failAllocation?: (what: Allocation) => boolean;
}

/** One trapped instruction of a VM. */
export interface Trap {
  readonly method: "smc" | "hvc";
  /** The immediate of the instruction; only 0 is a call (MED-007). */
  readonly immediate?: number;
  /** The vCPU runs in AArch32, so only 32-bit calls make sense. */
  readonly aarch32?: boolean;
  readonly registers: Registers;
}

/**
 * What the hypervisor does with the vCPU then: step over the instruction (SMC), leave the program
 * counter (HVC has moved it already), inject an undefined-instruction exception, or nothing, as the
 * VM is dead.
 */
export type TrapResult = "advance" | "stay" | "undefined" | "dead";

/** One decision of the mediator about a VM. */
export interface TraceEvent {
  /** 0 is the hypervisor itself. */
  readonly clientId: number;
  /** The clause that decided, as `MED-043`. */
  readonly clause: string;
  readonly what: string;
}

export interface VmSpec {
  /** RAM as the VM sees it; whole 4 KiB pages, not at address 0 (MED-017). */
  readonly ram: { readonly base: number; readonly size: number };
  /** Which TEE the VM is for; the active back end by default, "none" for no TEE at all. */
  readonly tee?: string;
  /** Direct-mapped: RAM at equal physical addresses, which must lie in the guest windows. */
  readonly directMapped?: boolean;
  /** The hardware domain: uses whatever TEE is active, or none (MED-006). */
  readonly hardwareDomain?: boolean;
}

/** A VM; `Space` is its memory as the mediator's placement holds it. */
export interface Vm<Space = GuestSpace> {
  readonly clientId: number;
  readonly conduit: Conduit;
  /** The VM's memory with what a hypervisor can do to it: ballooning, donation, protection. */
  readonly space: Space;
  readonly alive: boolean;
  /** The node that the VM's device tree gets for its TEE; undefined without one (MED-010). */
  readonly firmwareNode: GuestFirmwareNode | undefined;
  /** What it holds in the TEE's back end now; undefined without a TEE or after its end. */
  readonly usage: GuestUsage | undefined;
  /** A trapped SMC or HVC (MED-007); `conduit.smc` is the plain SMC #0 of it. */
  trap(trap: Trap): TrapResult;
  /**
   * Ends the VM: the TEE forgets it, every pin is dropped, its RAM is free again. Idempotent.
   * Inside a call of the VM (from an access hook) it takes effect when that call returns, as the
   * hypervisor stops every vCPU first.
   */
  destroy(): void;
}

export interface Mediator {
  readonly rules: RuleSetName;
  /** The name of the back end whose probe succeeded ("optee"), or undefined without any. */
  readonly tee: string | undefined;
  /** A new VM with its RAM, zeroed, announced to the TEE. */
  createVm(spec?: VmSpec): Outcome<Vm>;
  /** The VMs that live, oldest first. */
  readonly vms: readonly Vm[];
  /** Book-keeping of the guest windows: owners, pins with reasons. */
  readonly frames: Frames;
  /** Pages of the mediator's own memory that are in use. */
  readonly heapPages: number;
}
