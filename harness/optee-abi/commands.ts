import { nameTable } from "./names.ts";

/** Commands of a message from the normal world (optee_msg.h; sheet MSG section 2). */
export const MSG_CMD = {
  OPEN_SESSION: 0,
  INVOKE_COMMAND: 1,
  CLOSE_SESSION: 2,
  CANCEL: 3,
  REGISTER_SHM: 4,
  UNREGISTER_SHM: 5,
  DO_BOTTOM_HALF: 6,
  STOP_ASYNC_NOTIF: 7,
  LEND_PROTMEM: 8,
  RECLAIM_PROTMEM: 9,
  GET_PROTMEM_CONFIG: 10,
  ASSIGN_PROTMEM: 11,
} as const;
export const messageCommandName = nameTable(MSG_CMD);

/** Commands of an RPC from the secure world (optee_rpc_cmd.h; sheet MSG section 3). */
export const RPC_CMD = {
  LOAD_TA: 0,
  RPMB: 1,
  FS: 2,
  GET_TIME: 3,
  NOTIFICATION: 4,
  SUSPEND: 5,
  SHM_ALLOC: 6,
  SHM_FREE: 7,
  GPROF: 9,
  SOCKET: 10,
  FTRACE: 11,
  SUPP_PLUGIN: 12,
  BENCH_REG: 20,
  I2C_TRANSFER: 21,
  RPMB_PROBE_RESET: 22,
  RPMB_PROBE_NEXT: 23,
  RPMB_FRAMES: 24,
} as const;
export const rpcCommandName = nameTable(RPC_CMD);

/** value[0].a of NOTIFICATION. */
export const NOTIFICATION_OP = { WAIT: 0, SEND: 1 } as const;

/** Memory types of SHM_ALLOC and SHM_FREE, value[0].a. */
export const SHM_TYPE = { APPL: 0, KERNEL: 1, GLOBAL: 2 } as const;

/** value[0].a of FS (sheet MSG section 3.1). */
export const FS_OP = {
  OPEN: 0,
  CREATE: 1,
  CLOSE: 2,
  READ: 3,
  WRITE: 4,
  TRUNCATE: 5,
  REMOVE: 6,
  RENAME: 7,
  OPENDIR: 8,
  CLOSEDIR: 9,
  READDIR: 10,
} as const;
export const fsOpName = nameTable(FS_OP);

/** value[0].a of SOCKET (sheet MSG section 3.2). */
export const SOCKET_OP = { OPEN: 0, CLOSE: 1, CLOSE_ALL: 2, SEND: 3, RECV: 4, IOCTL: 5 } as const;
export const SOCKET_TIMEOUT = { NONBLOCKING: 0, BLOCKING: 0xffff_ffff } as const;

/** value[0].a of SUPP_PLUGIN. */
export const SUPP_PLUGIN_OP = { INVOKE: 0 } as const;

/** value[0].a and value[1].a of I2C_TRANSFER. */
export const I2C_MODE = { RD: 0, WR: 1 } as const;
export const I2C_FLAGS_TEN_BIT = 1;

/** value[0].a of the answer to RPMB_PROBE_NEXT. */
export const RPMB_DEVICE = { EMMC: 0, UFS: 1, NVME: 2 } as const;

/** Use cases of protected memory. */
export const PROTMEM_USE_CASE = {
  RESERVED: 0,
  SECURE_VIDEO_PLAY: 1,
  TRUSTED_UI: 2,
  SECURE_VIDEO_RECORD: 3,
} as const;
