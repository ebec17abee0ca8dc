import { nameTable } from "./names.ts";

/**
 * SMC function identifiers of OP-TEE (optee_smc.h; sheet SMC section 1): owner 50 is the trusted OS,
 * owner 63 its API. RETURN_FROM_RPC and the CALL_WITH_ family are yielding, all others fast.
 */
export const OPTEE_SMC = {
  CALLS_COUNT: 0xbf00_ff00,
  CALLS_UID: 0xbf00_ff01,
  CALLS_REVISION: 0xbf00_ff03,
  GET_OS_UUID: 0xb200_0000,
  GET_OS_REVISION: 0xb200_0001,
  LOAD_IMAGE: 0xbf00_0002,
  RETURN_FROM_RPC: 0x3200_0003,
  CALL_WITH_ARG: 0x3200_0004,
  GET_SHM_CONFIG: 0xb200_0007,
  L2CC_MUTEX: 0xb200_0008,
  EXCHANGE_CAPABILITIES: 0xb200_0009,
  DISABLE_SHM_CACHE: 0xb200_000a,
  ENABLE_SHM_CACHE: 0xb200_000b,
  BOOT_SECONDARY: 0xb200_000c,
  VM_CREATED: 0xb200_000d,
  VM_DESTROYED: 0xb200_000e,
  GET_THREAD_COUNT: 0xb200_000f,
  ENABLE_ASYNC_NOTIF: 0xb200_0010,
  GET_ASYNC_NOTIF_VALUE: 0xb200_0011,
  CALL_WITH_RPC_ARG: 0x3200_0012,
  CALL_WITH_REGD_ARG: 0x3200_0013,
  GET_PROTMEM_CONFIG: 0xb200_0014,
} as const;

export const functionName = nameTable(OPTEE_SMC);

/** Owners that belong to the trusted OS and its API in OP-TEE's identifiers. */
export const OPTEE_OWNER = { trustedOs: 50, trustedOsApi: 63 } as const;

/** Return codes in a0 (sheet SMC section 2). */
export const SMC_RETURN = {
  OK: 0x0,
  ETHREAD_LIMIT: 0x1,
  EBUSY: 0x2,
  ERESUME: 0x3,
  EBADADDR: 0x4,
  EBADCMD: 0x5,
  ENOMEM: 0x6,
  ENOTAVAIL: 0x7,
  RPC_ALLOC: 0xffff_0000,
  RPC_FREE: 0xffff_0002,
  RPC_FOREIGN_INTR: 0xffff_0004,
  RPC_CMD: 0xffff_0005,
  UNKNOWN_FUNCTION: 0xffff_ffff,
} as const;

export const returnName = nameTable(SMC_RETURN);

/** RPC functions: the low 16 bits of an RPC return. */
export const RPC_FUNC = { ALLOC: 0, FREE: 2, FOREIGN_INTR: 4, CMD: 5 } as const;
export const RPC_PREFIX = 0xffff_0000;

/** Whether `a0` (low 32 bits, unsigned) asks the normal world for a service. */
export const isRpcReturn = (a0: number): boolean =>
  a0 >= RPC_PREFIX && a0 !== SMC_RETURN.UNKNOWN_FUNCTION;
/** The function of an RPC return: 0 to 0xffff. */
export const rpcFunction = (a0: number): number => a0 & 0xffff;

/** Capabilities that the normal world announces in a1 of EXCHANGE_CAPABILITIES. */
export const NSEC_CAP = { UNIPROCESSOR: 1 << 0 } as const;

/** Capabilities of the secure world in a1 (sheet SMC section 3.1). */
export const SEC_CAP = {
  HAVE_RESERVED_SHM: 1 << 0,
  UNREGISTERED_SHM: 1 << 1,
  DYNAMIC_SHM: 1 << 2,
  VIRTUALIZATION: 1 << 3,
  MEMREF_NULL: 1 << 4,
  ASYNC_NOTIF: 1 << 5,
  RPC_ARG: 1 << 6,
  RPMB_PROBE: 1 << 7,
  PROTMEM: 1 << 8,
  DYNAMIC_PROTMEM: 1 << 9,
} as const;

/** The names of the bits in `caps`, lowest first; unknown bits in hexadecimal. */
export function secCapNames(caps: number): string[] {
  const names: string[] = [];
  for (let bit = 0; bit < 32; bit += 1) {
    const value = 2 ** bit;
    if ((caps >>> bit) % 2 === 0) continue;
    const entry = Object.entries(SEC_CAP).find(([, flag]) => flag === value);
    names.push(entry?.[0] ?? `0x${value.toString(16)}`);
  }
  return names;
}

/** L2CC_MUTEX operations in a1. */
export const L2CC_MUTEX_OP = { GET_ADDR: 0, SET_ADDR: 1, ENABLE: 2, DISABLE: 3 } as const;

/** Bits of a2 of GET_ASYNC_NOTIF_VALUE. */
export const ASYNC_NOTIF = {
  VALUE_VALID: 1 << 0,
  VALUE_PENDING: 1 << 1,
  DO_BOTTOM_HALF: 0,
} as const;

/** a3 of CALL_WITH_ARG and of GET_SHM_CONFIG: write-back cached shared memory. */
export const SHM_CACHED = 1;

/** What CALLS_REVISION answers. */
export const API_REVISION = { major: 2, minor: 0 } as const;
/** a0..a3 of CALLS_UID: 384fb3e0-e7f8-11e3-af63-0002a5d5c51b. */
export const API_UID = [0x384f_b3e0, 0xe7f8_11e3, 0xaf63_0002, 0xa5d5_c51b] as const;
/** a0..a3 of GET_OS_UUID: 486178e0-e7f8-11e3-bc5e-0002a5d5c51b. */
export const OS_UUID = [0x4861_78e0, 0xe7f8_11e3, 0xbc5e_0002, 0xa5d5_c51b] as const;
/** a0..a3 of CALLS_UID while an image is still to be loaded by the normal world. */
export const IMAGE_LOAD_UID = [0xa3fb_eab1, 0x1246_315d, 0xc7c4_06b9, 0xc03c_bea4] as const;
/** CALLS_COUNT without and with virtualization (entry_fast.c), and of the Xen mediator (MED-020). */
export const CALLS_COUNT_VALUE = { plain: 12, virtualized: 14, xenMediator: 11 } as const;
