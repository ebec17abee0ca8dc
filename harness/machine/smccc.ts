/**
 * Fields of an SMC function identifier (Arm DEN0028, section 2.5): bit 31 fast call, bit 30 64-bit
 * convention, bits 29:24 owner, bits 15:0 function number. Identifiers are unsigned 32-bit numbers.
 */
export const SMCCC = {
  fast: 0x8000_0000,
  convention64: 0x4000_0000,
  ownerShift: 24,
  ownerMask: 0x3f,
  functionMask: 0xffff,
  /** Owners 48 and 49: trusted applications. */
  trustedAppFirst: 48,
  trustedAppLast: 49,
  /** Owners 50 to 63: trusted operating systems. */
  trustedOsFirst: 50,
  trustedOsLast: 63,
} as const;

/** What comes back in x0 for an identifier that nobody handles: all ones. */
export const UNKNOWN_FUNCTION = 0xffff_ffff;

/** True for a fast (atomic) call, false for a yielding one. */
export const isFastCall = (fid: number): boolean => (fid & SMCCC.fast) !== 0;
export const isConvention64 = (fid: number): boolean => (fid & SMCCC.convention64) !== 0;
/** The owning entity, 0 to 63. */
export const ownerOf = (fid: number): number => (fid >>> SMCCC.ownerShift) & SMCCC.ownerMask;
export const functionNumberOf = (fid: number): number => fid & SMCCC.functionMask;
