/** Layouts of the ioctl structures: field offsets and sizes in bytes (TEE-2, TEE-2.1). */

export const VERSION_DATA = { size: 12, implId: 0, implCaps: 4, genCaps: 8 } as const;
export const SHM_ALLOC_DATA = { size: 16, length: 0, flags: 8, id: 12 } as const;
export const SHM_REGISTER_DATA = { size: 24, addr: 0, length: 8, flags: 16, id: 20 } as const;
export const SHM_REGISTER_FD_DATA = { size: 24, fd: 0, length: 8, flags: 16, id: 20 } as const;
export const BUF_DATA = { size: 16, bufPtr: 0, bufLen: 8 } as const;
export const CANCEL_ARG = { size: 8, cancelId: 0, session: 4 } as const;
export const CLOSE_SESSION_ARG = { size: 4, session: 0 } as const;

/** Followed by `numParams` structures of `PARAM`. */
export const OPEN_SESSION_ARG = {
  size: 56,
  uuid: 0,
  clntUuid: 16,
  clntLogin: 32,
  cancelId: 36,
  session: 40,
  ret: 44,
  retOrigin: 48,
  numParams: 52,
} as const;

export const INVOKE_ARG = {
  size: 24,
  func: 0,
  session: 4,
  cancelId: 8,
  ret: 12,
  retOrigin: 16,
  numParams: 20,
} as const;

export const SUPP_RECV_ARG = { size: 8, func: 0, numParams: 4 } as const;
export const SUPP_SEND_ARG = { size: 8, ret: 0, numParams: 4 } as const;

export const OBJECT_INVOKE_ARG = {
  size: 24,
  id: 0,
  op: 8,
  ret: 12,
  numParams: 16,
  pad: 20,
} as const;

/** `struct tee_ioctl_param`: four u64. */
export const PARAM = { size: 32, attr: 0, a: 8, b: 16, c: 24 } as const;
