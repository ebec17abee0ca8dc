import type { Conduit, GuestSpace, Window } from "../machine/index.ts";

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
}

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
  readonly vcpus?: number;
}

export interface Vm {
  readonly clientId: number;
  readonly conduit: Conduit;
  /** The VM's memory with what a hypervisor can do to it: ballooning, donation, protection. */
  readonly space: GuestSpace;
  readonly alive: boolean;
  /** Ends the VM: the TEE forgets it, every pin is dropped, its RAM is free again. Idempotent. */
  destroy(): void;
}

export interface Mediator {
  readonly rules: RuleSetName;
  /** The name of the back end whose probe succeeded ("optee"), or undefined without any. */
  readonly tee: string | undefined;
  createVm(spec: VmSpec): Outcome<Vm>;
  readonly vms: readonly Vm[];
}
