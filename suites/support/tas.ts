/** UUIDs and commands of OP-TEE's own pseudo-TAs and of the TAs that come with xtest. */
export const INVOKE_TESTS = {
  uuid: "d96a5b40-c3e5-21e3-8794-1002a5d5c61b",
  PARAMS: 1,
  SELF_TESTS: 2,
  MUTEX: 7,
  LOCKDEP: 8,
  MEMREF_NULL: 10,
  DT_DRIVER_TESTS: 11,
} as const;

/** Tells the Linux driver for which TAs it should make devices. */
export const DEVICES = { uuid: "7011a688-ddde-4053-a5a9-7b3c4ddf13b8", GET_DEVICES: 0 } as const;

export const CRYPT = {
  uuid: "cb3e5ba0-adf1-11e0-998b-0002a5d5c51b",
  SHA256: 2,
  AES256ECB_ENC: 3,
  AES256ECB_DEC: 4,
} as const;

export const RPC_TEST = {
  uuid: "d17f73a0-36ef-11e1-984a-0002a5d5c51b",
  CRYPT_SHA256: 2,
  CRYPT_AES256ECB_ENC: 3,
  CRYPT_AES256ECB_DEC: 4,
  CRYPT_PRIVMEM_SHA256: 7,
  CRYPT_PRIVMEM_AES256ECB_ENC: 8,
  CRYPT_PRIVMEM_AES256ECB_DEC: 9,
} as const;

export const OS_TEST = {
  uuid: "5b9e0e40-2636-11e1-ad9e-0002a5d5c51b",
  INIT: 0,
  CLIENT_WITH_TIMEOUT: 1,
  PANIC: 6,
  CLIENT: 7,
  WAIT: 9,
  BAD_MEM_ACCESS: 10,
  TA2TA_MEMREF: 11,
  TA2TA_MEMREF_MIX: 12,
  PARAMS: 13,
  NULL_MEMREF_PARAMS: 19,
  CLIENT_IDENTITY: 20,
  TA2TA_MEMREF_SIZE0: 37,
} as const;

export const SIMS = {
  uuid: "e6a33ed4-562b-463a-bb7e-ff5e15a493c8",
  READ: 1,
  WRITE: 2,
  GET_COUNTER: 3,
  PANIC: 4,
  OPEN_TA_SESSION: 5,
} as const;
/** The same program, kept alive without sessions, and with an instance for each session. */
export const SIMS_KEEP_ALIVE = { uuid: "a4c04d50-f180-11e8-8eb2-f2801f1b9fd1" } as const;
export const MISS = { uuid: "528938ce-fc59-11e8-8eb2-f2801f1b9fd1" } as const;

export const CONCURRENT = {
  uuid: "e13010e0-2ae1-11e5-896a-0002a5d5c51b",
  BUSY_LOOP: 0,
  SHA256: 1,
} as const;
export const CONCURRENT_LARGE = { uuid: "5ce0c432-0ab0-40e5-a056-782ca0e6aba2" } as const;
/** Its create entry point always fails. */
export const CREATE_FAIL = { uuid: "c3f6e2c0-3548-11e1-b86c-0800200c9a66" } as const;
export const LARGE = { uuid: "25497083-a58a-4fc5-8a72-1ad7b69b8562" } as const;

export const STORAGE = {
  uuid: "b689f2a7-8adf-477a-9f99-32e90c0ad0a2",
  OPEN: 0,
  CLOSE: 1,
  READ: 2,
  WRITE: 3,
  CREATE: 4,
  SEEK: 5,
  UNLINK: 6,
  RENAME: 7,
  TRUNC: 8,
  ALLOC_ENUM: 9,
  FREE_ENUM: 10,
  RESET_ENUM: 11,
  START_ENUM: 12,
  NEXT_ENUM: 13,
  CREATE_OVERWRITE: 14,
  KEY_IN_PERSISTENT: 15,
  LOOP: 16,
  RESTRICT_USAGE: 17,
  ALLOC_OBJ: 18,
  FREE_OBJ: 19,
  RESET_OBJ: 20,
  GET_OBJ_INFO: 21,
  OPEN_ID_IN_SHM: 22,
  CREATE_ID_IN_SHM: 23,
  CREATEOVER_ID_IN_SHM: 24,
  RENAME_ID_IN_SHM: 25,
} as const;
/** The same program as another TA, of which there is one session at a time. */
export const STORAGE2 = { uuid: "731e279e-aafb-4575-a771-38caa6f0cca6" } as const;
/** xtest's TA for the GP sockets API. */
export const SOCKET = {
  uuid: "873bcd08-c2c3-11e6-a937-d0bf9c45c61c",
  TCP_OPEN: 0,
  UDP_OPEN: 1,
  CLOSE: 2,
  SEND: 3,
  RECV: 4,
} as const;
