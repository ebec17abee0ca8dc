import { FS_OP, MSG_CMD, RPC_CMD, SOCKET_OP } from "../../optee-abi/index.ts";

/** How a word of a value parameter, or the size or contents of a memory one, is to be read. */
export type WordType =
  | "constant"
  | "cookie"
  | "handle"
  | "new handle"
  | "instance"
  /** A handle that a TA gives its client. */
  | "ta handle"
  | "new ta handle"
  | "notification"
  | "time"
  | "garbage"
  | "address"
  /** The size of a TA's image, and what is derived from it. */
  | "ta size"
  /** Contents of which only the size is compared. */
  | "opaque"
  /** Contents that are a text up to its NUL; what is behind it is whatever was there before. */
  | "name";

/** The types of one parameter; what is left out is constant. */
export interface ParamWords {
  readonly a?: WordType;
  readonly b?: WordType;
  readonly c?: WordType;
  /** Of a registered reference. */
  readonly offs?: WordType;
  readonly size?: WordType;
  readonly data?: WordType;
}

/** Parameters by index. */
export type MessageWords = readonly ParamWords[];

/** Messages of the normal world (MSG section 2); of TAs' own parameters c is not looked at (MSG-2.2.VALUE). */
export const CALL_WORDS: Readonly<Record<number, MessageWords>> = {
  [MSG_CMD.OPEN_SESSION]: [{ c: "garbage" }, {}],
  // Whatever the attributes say, the same words are meant.
  [MSG_CMD.REGISTER_SHM]: [{ a: "address", offs: "address", c: "cookie" }],
  [MSG_CMD.UNREGISTER_SHM]: [{ a: "garbage", b: "garbage", c: "cookie" }],
  [MSG_CMD.RECLAIM_PROTMEM]: [{ c: "cookie" }],
};
/** Of every parameter that the tables do not name. */
export const OTHER_CALL_WORDS: ParamWords = { c: "garbage" };

const FS: Readonly<Record<number, MessageWords>> = {
  [FS_OP.OPEN]: [{}, { data: "name" }, { a: "new handle" }],
  [FS_OP.CREATE]: [{}, { data: "name" }, { a: "new handle" }],
  [FS_OP.CLOSE]: [{ b: "handle" }],
  // What is stored is encrypted under a key and with random numbers that no other platform has.
  [FS_OP.READ]: [{ b: "handle" }, { data: "opaque" }],
  [FS_OP.WRITE]: [{ b: "handle" }, { data: "opaque" }],
  [FS_OP.TRUNCATE]: [{ b: "handle" }],
  [FS_OP.REMOVE]: [{}, { data: "name" }],
  [FS_OP.RENAME]: [{}, { data: "name" }, { data: "name" }],
  [FS_OP.OPENDIR]: [{}, { data: "name" }, { a: "new handle" }],
  [FS_OP.CLOSEDIR]: [{ b: "handle" }],
  [FS_OP.READDIR]: [{ b: "handle" }, { data: "name" }],
};

const SOCKET: Readonly<Record<number, MessageWords>> = {
  [SOCKET_OP.OPEN]: [{ b: "instance" }, {}, { data: "name" }, { a: "new handle" }],
  [SOCKET_OP.CLOSE]: [{ b: "instance", c: "handle" }],
  [SOCKET_OP.CLOSE_ALL]: [{ b: "instance" }],
  [SOCKET_OP.SEND]: [{ b: "instance", c: "handle" }],
  [SOCKET_OP.RECV]: [{ b: "instance", c: "handle" }],
  [SOCKET_OP.IOCTL]: [{ b: "instance", c: "handle" }],
};

/** Commands whose first value names an operation. */
export const RPC_OPERATIONS: Readonly<Record<number, Readonly<Record<number, MessageWords>>>> = {
  [RPC_CMD.FS]: FS,
  [RPC_CMD.SOCKET]: SOCKET,
};

/** RPC commands (MSG section 3). */
export const RPC_WORDS: Readonly<Record<number, MessageWords>> = {
  [RPC_CMD.LOAD_TA]: [{}, { size: "ta size", data: "opaque" }],
  [RPC_CMD.GET_TIME]: [{ a: "time", b: "time" }],
  // What is left of the time to wait: less by what has passed since it began.
  [RPC_CMD.SUSPEND]: [{ a: "time" }],
  [RPC_CMD.NOTIFICATION]: [{ b: "notification" }],
  [RPC_CMD.SHM_ALLOC]: [{ b: "ta size", size: "ta size" }],
  [RPC_CMD.SHM_FREE]: [{ b: "cookie" }],
  [RPC_CMD.GPROF]: [{}, {}, { data: "opaque" }],
  [RPC_CMD.FTRACE]: [{}, {}, { data: "opaque" }],
  [RPC_CMD.BENCH_REG]: [{ b: "address" }],
};
