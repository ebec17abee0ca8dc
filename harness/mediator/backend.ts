import type { GuestSpace, PlatformPort, Registers } from "../machine/index.ts";
import type { Outcome, TraceEvent } from "./contract.ts";
import type { GuestLog } from "./guest-log.ts";
import type { PageHeap } from "./heap.ts";
import type { RuleSet } from "./rules.ts";

/** What the placement in the hypervisor offers to a TEE's back end. */
export interface BackEndHost {
  readonly port: PlatformPort;
  readonly rules: RuleSet;
  readonly heap: PageHeap;
  readonly trace: ((event: TraceEvent) => void) | undefined;
  /** "compatible" strings of the TEE node in the platform's firmware description. */
  readonly compatible: readonly string[];
}

/** What a back end knows about one VM. `Space` is its memory as the placement holds it. */
export interface GuestHost<Space = GuestSpace> {
  readonly clientId: number;
  readonly space: Space;
  /** Rate-limited messages about this VM; undefined when nobody listens. */
  readonly log: GuestLog | undefined;
}

/**
 * One kind of TEE behind the mediator; the front knows nothing else about it. `Host` and `Space` are
 * what the mediator's placement works with: in the hypervisor a port and frames.
 */
export interface TeeBackEnd<Host = BackEndHost, Space = GuestSpace> {
  readonly name: string;
  /** First and last SMCCC owner that it serves. */
  readonly owners: readonly [number, number];
  /** What a guest's firmware description says about the TEE. */
  readonly guestNode: GuestFirmwareNode;
  /** Asks the platform whether this TEE is there; undefined when not. */
  probe(host: Host): ProbedTee<Space> | undefined;
}

export interface GuestFirmwareNode {
  readonly path: string;
  readonly compatible: string;
  readonly method: "smc" | "hvc";
}

export interface ProbedTee<Space = GuestSpace> {
  /** A VM comes into being: tells the TEE, makes the context. */
  createGuest(guest: GuestHost<Space>): Outcome<TeeGuest>;
  /** Announces a client that is not mediated (the host itself); false when the TEE refuses. */
  announce(clientId: number): boolean;
}

/** One VM's state in a back end. */
export interface TeeGuest {
  /** Handles one trapped call; false when the function is not one of this TEE's. */
  handle(registers: Registers): boolean;
  /** The VM is gone and none of its vCPUs runs: everything it held is given back. */
  destroy(): void;
  /**
   * As `destroy`, but may stop between two steps where `preempted` says so; false then, and called
   * again it goes on where it stopped (MED-163). A back end without it ends in one step.
   */
  relinquish?(preempted: () => boolean): boolean;
  /** What it holds now, for invariants and tools. */
  usage(): GuestUsage;
}

export interface GuestUsage {
  readonly calls: number;
  readonly suspended: number;
  readonly buffers: number;
  readonly pages: number;
  /** Buffers in which the TEE's own requests to the guest travel; 0 for a TEE that makes none. */
  readonly rpcArguments: number;
}
