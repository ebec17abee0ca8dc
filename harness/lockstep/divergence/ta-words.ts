import {
  SOCKET_TEST_CMD,
  SOCKET_TEST_UUID,
  STORAGE2_UUID,
  STORAGE_CMD,
  STORAGE_UUID,
} from "../../secure-world/index.ts";
import type { MessageWords, ParamWords } from "./words.ts";

const OBJECT = "ta handle";
/** The GP object API hands out handles, which are addresses in the TA. */
const inFirst: MessageWords = [{ a: OBJECT }];
const inSecond: MessageWords = [{}, { a: OBJECT }];

const STORAGE: Readonly<Record<number, MessageWords>> = {
  [STORAGE_CMD.OPEN]: [{}, { b: "new ta handle" }],
  [STORAGE_CMD.OPEN_ID_IN_SHM]: [{}, { b: "new ta handle" }],
  [STORAGE_CMD.CREATE]: [{}, { b: "new ta handle" }, { a: OBJECT }],
  [STORAGE_CMD.CREATE_ID_IN_SHM]: [{}, { b: "new ta handle" }, { a: OBJECT }],
  [STORAGE_CMD.CLOSE]: inFirst,
  [STORAGE_CMD.READ]: inSecond,
  [STORAGE_CMD.WRITE]: inSecond,
  [STORAGE_CMD.SEEK]: inFirst,
  [STORAGE_CMD.UNLINK]: inFirst,
  [STORAGE_CMD.RENAME]: inFirst,
  [STORAGE_CMD.RENAME_ID_IN_SHM]: inFirst,
  [STORAGE_CMD.TRUNC]: inFirst,
  [STORAGE_CMD.ALLOC_ENUM]: [{ a: "new ta handle" }],
  [STORAGE_CMD.FREE_ENUM]: inFirst,
  [STORAGE_CMD.RESET_ENUM]: inFirst,
  [STORAGE_CMD.START_ENUM]: inFirst,
  [STORAGE_CMD.NEXT_ENUM]: inFirst,
  [STORAGE_CMD.RESTRICT_USAGE]: inFirst,
  [STORAGE_CMD.ALLOC_OBJ]: [{}, { a: "new ta handle" }],
  [STORAGE_CMD.FREE_OBJ]: inFirst,
  [STORAGE_CMD.RESET_OBJ]: inFirst,
  [STORAGE_CMD.GET_OBJ_INFO]: inFirst,
};

/** The GP sockets API: a handle is a pair of pointers, which the client keeps as bytes. */
const HELD: ParamWords = { data: "opaque" };
const SOCKET: Readonly<Record<number, MessageWords>> = {
  [SOCKET_TEST_CMD.TCP_OPEN]: [{}, {}, HELD],
  [SOCKET_TEST_CMD.UDP_OPEN]: [{}, {}, HELD],
  ...Object.fromEntries(
    [
      SOCKET_TEST_CMD.CLOSE,
      SOCKET_TEST_CMD.SEND,
      SOCKET_TEST_CMD.RECV,
      SOCKET_TEST_CMD.ERROR,
      SOCKET_TEST_CMD.IOCTL,
    ].map((command) => [command, [HELD]]),
  ),
};

/** Parameters of TAs' own commands that no two platforms need have in common, by UUID and command. */
export const TA_WORDS: ReadonlyMap<string, Readonly<Record<number, MessageWords>>> = new Map([
  [STORAGE_UUID, STORAGE],
  [STORAGE2_UUID, STORAGE],
  [SOCKET_TEST_UUID, SOCKET],
]);
