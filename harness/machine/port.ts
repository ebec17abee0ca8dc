import type { Ipa, Pa } from "./address.ts";
import type { InterruptLine } from "./interrupt.ts";
import type { Registers } from "./registers.ts";

/** Memory at physical addresses, as the normal world's highest privilege sees it. */
export interface PhysicalMemory {
  /** A copy of `length` bytes at `at`. Throws RangeError outside backed non-secure RAM. */
  read(at: Pa, length: number): Uint8Array;
  /** Writes `bytes` at `at`. Throws RangeError outside backed, writable non-secure RAM. */
  write(at: Pa, bytes: Uint8Array): void;
  /**
   * The page that holds `at` as bytes that stay valid until the next `smc()`; reads of it see memory
   * as it is now. Undefined when the page is not backed non-secure RAM. For hot paths. Where accesses
   * are recorded it counts as one read of the page, unless the caller only means to write; the bytes
   * are the same either way.
   */
  page(at: Pa, intent?: "read" | "write"): Uint8Array | undefined;
  /** Tells the memory that bytes of a page obtained by `page()` were changed. */
  dirty(at: Pa, length: number): void;
  /**
   * While this stays the same number, bytes obtained by `page()` stay valid and reads of them need
   * not be told; undefined where each access has to ask `page()` anew.
   */
  readonly epoch?: number | undefined;
  /** Whether `page(at)` would give bytes, without reading any. */
  backs?(at: Pa): boolean;
  /** Makes whole pages zero, without cost for those never touched; by writing them when absent. */
  zero?(at: Pa, length: number): void;
  /** The same memory with accesses attributed to `name`, where accesses can be recorded. */
  as?(name: string): PhysicalMemory;
}

/**
 * A platform as its normal world sees it: memory and one secure monitor call. Emulated and bridged
 * platforms implement it; whoever holds a port never knows which one it is.
 */
export interface PlatformPort {
  readonly memory: PhysicalMemory;
  /** The line that asynchronous notifications of the secure world raise (SMC-7.3), where it has one. */
  readonly notifications?: InterruptLine;
  /**
   * Issues one SMC with x0..x7 from `registers` and stores what comes back in place. Returns at
   * completion and at every RPC alike, as hardware does.
   */
  smc(registers: Registers): void;
}

/** Memory as one normal world (a VM, or the host on a direct conduit) addresses it. */
export interface GuestMemory {
  /** A copy of `length` bytes at `at`. Throws RangeError where the normal world may not read. */
  read(at: Ipa, length: number): Uint8Array;
  /** Writes `bytes` at `at`. Throws RangeError where the normal world may not write. */
  write(at: Ipa, bytes: Uint8Array): void;
  /**
   * The writable RAM page that holds `at`, as bytes that stay valid until the next SMC or change of
   * mappings; undefined when there is none. Report changes with `dirty`.
   */
  page(at: Ipa): Uint8Array | undefined;
  /** Tells the memory that bytes of a page obtained by `page()` were changed. */
  dirty(at: Ipa, length: number): void;
}

/** What lies between a driver and the port: direct, hwdom pass-through, or a VM's mediator. */
export interface Conduit {
  readonly kind: "direct" | "hwdom" | "vm";
  /** The RAM that the driver behind this conduit owns, in its own addresses. */
  readonly memory: GuestMemory;
  readonly ram: { readonly base: Ipa; readonly size: number };
  /** The interrupt of asynchronous notifications, where the normal world behind this has one. */
  readonly notifications?: InterruptLine;
  /** The driver's SMC or HVC instruction on vCPU `vcpu`; same contract as `PlatformPort.smc`. */
  smc(registers: Registers, vcpu?: number): void;
}
