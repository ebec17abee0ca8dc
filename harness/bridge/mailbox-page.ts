/** The page of boards/bridge/mailbox.s: offsets in bytes from its start, operations. */
export const MAILBOX = {
  size: 0x1000,
  codeSize: 0x800,
  /** Number, operation, x0..x7: little-endian 64-bit words. */
  request: 0x800,
  /** Number, unused, x0..x7. */
  answer: 0x880,
  wordsSize: 64,
  smc: 1n,
  leave: 2n,
} as const;
