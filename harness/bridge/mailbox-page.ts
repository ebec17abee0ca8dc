/** RAM of the program's for arguments in memory: offset in bytes from its start; 256 bytes. */
export const MAILBOX_SCRATCH = 0x900;

/** The page of boards/bridge/mailbox.s and dom0.s: offsets in bytes from its start, operations. */
export const MAILBOX = {
  size: 0x1000,
  codeSize: 0x800,
  /** Number, operation, x0..x7: little-endian 64-bit words. */
  request: 0x800,
  /** Number, 0 or ESR_EL1 of an exception (dom0.s) or `noTimer` (mailbox.s), x0..x7. */
  answer: 0x880,
  /** mailbox.s: GICv3 distributor and redistributors, 0 where there is none. */
  gic: 0x900,
  noTimer: 1n,
  wordsSize: 64,
  smc: 1n,
  leave: 2n,
  /** dom0.s: loads the 64-bit word at x0 into x0. */
  load: 3n,
  /** dom0.s: the hypercall of Xen whose number is x7. */
  hypercall: 4n,
  /**
   * Above the operation, by how many bits: ticks after which the timer fires (dom0.s), or microseconds
   * after which an interrupt is pending (mailbox.s).
   */
  highShift: 32n,
} as const;
