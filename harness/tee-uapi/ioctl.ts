/** The ioctls of `/dev/teeN` and `/dev/teeprivN` (TEE-2). All structures are little-endian. */

export const TEE_IOC_MAGIC = 0xa4;

/** Largest `buf_len` of the variable structures, in bytes (TEE-2.1.1). */
export const TEE_MAX_ARG_SIZE = 4096;

const READ = 2;
const WRITE = 1;

/** Linux's ioctl number: direction, payload size in bytes, magic, number. */
function ioctl(direction: number, size: number, number: number): number {
  return ((direction << 30) | (size << 16) | (TEE_IOC_MAGIC << 8) | number) >>> 0;
}

export const TEE_IOC = {
  VERSION: ioctl(READ, 12, 0),
  SHM_ALLOC: ioctl(READ | WRITE, 16, 1),
  OPEN_SESSION: ioctl(READ, 16, 2),
  INVOKE: ioctl(READ, 16, 3),
  CANCEL: ioctl(READ, 8, 4),
  CLOSE_SESSION: ioctl(READ, 4, 5),
  SUPPL_RECV: ioctl(READ, 16, 6),
  SUPPL_SEND: ioctl(READ, 16, 7),
  SHM_REGISTER_FD: ioctl(READ | WRITE, 24, 8),
  SHM_REGISTER: ioctl(READ | WRITE, 24, 9),
  OBJECT_INVOKE: ioctl(READ, 16, 10),
} as const;

/** Bytes of an ioctl's payload, from its number. */
export const ioctlPayloadSize = (request: number): number => (request >>> 16) & 0x3fff;

/** impl_id of TEE_IOC_VERSION (TEE-1.3). */
export const TEE_IMPL_ID = { OPTEE: 1, AMDTEE: 2, TSTEE: 3, QTEE: 4 } as const;
/** impl_caps of OP-TEE: it runs in TrustZone. */
export const TEE_OPTEE_CAP_TZ = 1;

/** gen_caps of TEE_IOC_VERSION (TEE-1.4). */
export const TEE_GEN_CAP = {
  GP: 1,
  PRIVILEGED: 2,
  REG_MEM: 4,
  MEMREF_NULL: 8,
  OBJREF: 16,
} as const;
