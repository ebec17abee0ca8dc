import type { Deadline } from "../base/index.ts";
import type { Pa, Registers } from "../machine/index.ts";

/** Bytes for a machine's RAM; `bytes` as often as it takes to fill `length`, which is a multiple of theirs. */
export interface MemoryWrite {
  readonly at: number;
  readonly bytes: Uint8Array;
  /** Left out: once. */
  readonly length?: number;
}

/**
 * A machine behind a wire: everything takes a while, and whatever is given back was checked on the way.
 * All methods throw RangeError outside the board's free RAM, TargetCrashError when the board is lost
 * or a call does not return, InfrastructureError when the wire is too bad, DeadlineError, and
 * InterruptedError.
 */
export interface WireMachine {
  /** Bytes below which reading is cheaper than asking for a checksum first. */
  readonly granule: number;
  read(at: Pa, length: number, deadline: Deadline): Promise<Uint8Array>;
  write(at: Pa, bytes: Uint8Array, deadline: Deadline): Promise<void>;
  /** The CRC-32 of each of `count` blocks of `size` bytes, one behind the other from `at` on. */
  checksums(at: Pa, size: number, count: number, deadline: Deadline): Promise<readonly number[]>;
  /** All of `writes`, in any order: they do not overlap. */
  writeAll(writes: readonly MemoryWrite[], deadline: Deadline): Promise<void>;
  /** x0..x7 in, and what came back, in place. Carried out once, however bad the wire. */
  smc(registers: Registers, deadline: Deadline): Promise<void>;
  /** `writeAll`, and then `smc`, where that takes fewer round trips. */
  call?(
    writes: readonly MemoryWrite[],
    registers: Registers | undefined,
    deadline: Deadline,
  ): Promise<void>;
}
