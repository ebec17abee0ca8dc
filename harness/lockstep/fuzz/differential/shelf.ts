import {
  CONCURRENT_CMD,
  CRYPT_CMD,
  INVOKE_TESTS_CMD,
  OS_TEST_CMD,
  PSEUDO_TAS,
  RPC_TEST_CMD,
  SIMS_CMD,
  SOCKET_TEST_CMD,
  STORAGE_CMD,
  USER_TAS,
} from "../../../secure-world/index.ts";
import { ATTR_TYPE } from "../../../optee-abi/index.ts";
import type { ListParam, Param } from "../program.ts";
import type { Invocation, TaShelf } from "../program-machine.ts";

/** Parameter types of a command: values and memory, in, out or both ways. */
type Kind = "value in" | "value out" | "value inout" | "in" | "out" | "inout";

interface Command {
  readonly func: number;
  readonly kinds?: readonly Kind[];
  /** Values of parameters that are made harmless: how long something takes goes by them. */
  readonly value?: (given: number) => number;
}

/** How many rounds a loop of a TA makes at most. */
const ROUNDS = 64;
const fewRounds = (given: number): number => given % ROUNDS;
/** A wait that no run of a program outlasts: it ends by cancellation or not at all. */
const forLong = (given: number): number => 1_000_000 + (given % 1000) * 1000;

const IN_OUT = ["in", "out"] as const;
const sims: readonly Command[] = [
  { func: SIMS_CMD.READ, kinds: ["value in", "out"] },
  { func: SIMS_CMD.WRITE, kinds: ["value in", "in"] },
  { func: SIMS_CMD.GET_COUNTER, kinds: ["value out"] },
  { func: SIMS_CMD.PANIC, kinds: ["in"] },
  { func: SIMS_CMD.OPEN_TA_SESSION, kinds: ["in"] },
];
const concurrent: readonly Command[] = [
  { func: CONCURRENT_CMD.BUSY_LOOP, kinds: ["inout", "value inout"], value: fewRounds },
  {
    func: CONCURRENT_CMD.SHA256,
    kinds: ["inout", "value inout", "in", "out"],
    value: fewRounds,
  },
];
const storage: readonly Command[] = [
  { func: STORAGE_CMD.CREATE_OVERWRITE, kinds: ["in", "value in"] },
  { func: STORAGE_CMD.LOOP, kinds: ["value in"] },
  { func: STORAGE_CMD.CLEAR_STORAGE },
];

/**
 * The commands that model and real TA both have, by name of the TA, as far as what they do depends on
 * nothing but the request: no handles that the client would have to know, no time, no chance.
 */
const COMMANDS: Readonly<Record<string, readonly Command[]>> = {
  "invoke_tests.pta": [
    { func: INVOKE_TESTS_CMD.TRACE },
    { func: INVOKE_TESTS_CMD.PARAMS, kinds: ["value inout"] },
    { func: INVOKE_TESTS_CMD.PARAMS, kinds: ["value out", "value in", "value in", "value in"] },
    { func: INVOKE_TESTS_CMD.PARAMS, kinds: ["inout"] },
    { func: INVOKE_TESTS_CMD.MUTEX, kinds: ["value in", "value out"], value: fewRounds },
    { func: INVOKE_TESTS_CMD.MEMREF_NULL, kinds: ["inout"] },
    { func: INVOKE_TESTS_CMD.LOCKDEP },
  ],
  "device.pta": [
    { func: 0, kinds: ["out"] },
    { func: 1, kinds: ["out"] },
    { func: 2, kinds: ["out"] },
  ],
  "socket.pta": [],
  concurrent,
  concurrent_large: concurrent,
  create_fail_test: [],
  // AES writes as much as it reads, whatever room there is.
  crypt: [
    { func: CRYPT_CMD.SHA224, kinds: IN_OUT },
    { func: CRYPT_CMD.SHA256, kinds: IN_OUT },
  ],
  large: [],
  miss: sims,
  os_test: [
    { func: OS_TEST_CMD.INIT },
    { func: OS_TEST_CMD.PANIC },
    { func: OS_TEST_CMD.CLIENT },
    { func: OS_TEST_CMD.WAIT, kinds: ["value in"], value: forLong },
    { func: OS_TEST_CMD.CLIENT_WITH_TIMEOUT, kinds: ["value in"], value: forLong },
    { func: OS_TEST_CMD.TA2TA_MEMREF },
    { func: OS_TEST_CMD.TA2TA_MEMREF_MIX, kinds: ["in", "inout", "out"] },
    { func: OS_TEST_CMD.PARAMS, kinds: ["in", "in", "out", "out"] },
    { func: OS_TEST_CMD.NULL_MEMREF_PARAMS, kinds: ["in", "in", "out", "out"] },
    { func: OS_TEST_CMD.CLIENT_IDENTITY, kinds: ["value out", "out"] },
    { func: OS_TEST_CMD.TA2TA_MEMREF_SIZE0, kinds: ["in", "inout", "out"] },
  ],
  rpc_test: [
    { func: RPC_TEST_CMD.CRYPT_SHA224, kinds: IN_OUT },
    { func: RPC_TEST_CMD.CRYPT_SHA256, kinds: IN_OUT },
    { func: RPC_TEST_CMD.CRYPT_PRIVMEM_SHA224, kinds: IN_OUT },
    { func: RPC_TEST_CMD.CRYPT_PRIVMEM_SHA256, kinds: IN_OUT },
  ],
  sims,
  sims_keepalive: sims,
  socket_test: [{ func: SOCKET_TEST_CMD.TCP_OPEN, kinds: ["value in", "in", "out", "value out"] }],
  storage,
  storage2: storage,
};

/** No TA has a command of such a number. */
const UNKNOWN_FUNC = 0x7000;

const ALL = [...PSEUDO_TAS, ...USER_TAS].filter(({ name }) => Object.hasOwn(COMMANDS, name));
const UUIDS = new Map(ALL.map(({ name, uuid }) => [name, uuid]));
const BY_UUID = new Map(ALL.map(({ name, uuid }) => [uuid, COMMANDS[name] ?? []]));

/** The TAs that programs open; those that load quickly most. */
export const DIFFERENTIAL_TAS: readonly string[] = [
  "invoke_tests.pta",
  "device.pta",
  "invoke_tests.pta",
  "sims",
  "miss",
  "sims",
  "concurrent",
  ...ALL.map(({ name }) => name),
];

/** TAs of which both sides have the same: the images are each side's own, of equal length. */
export function shelf(images: ReadonlyMap<string, Uint8Array>): TaShelf {
  return {
    uuidOf(name) {
      const uuid = UUIDS.get(name);
      if (uuid === undefined) throw new RangeError(`no TA is called ${name}`);
      return uuid;
    },
    imageOf: (uuid) => images.get(uuid),
    invocation,
  };
}

/** A command that both TAs have, mostly with the parameters that it wants, or one that neither has. */
function invocation(uuid: string | undefined, func: number, params: readonly Param[]): Invocation {
  const known = uuid === undefined ? [] : (BY_UUID.get(uuid) ?? []);
  const choice = known[func % (known.length + 1)];
  if (choice === undefined) return { func: UNKNOWN_FUNC + (func % 16), params };
  const { kinds, value = (given: number) => given } = choice;
  const round = Math.floor(func / (known.length + 1));
  const wanted =
    kinds === undefined || round % 4 === 3
      ? params
      : kinds.map((kind, index) => coerce(kind, params[index], index));
  return {
    func: choice.func,
    params: wanted.map((param) =>
      param.as === "value" ? { ...param, a: value(param.a), b: value(param.b) } : param,
    ),
  };
}

const DIRECTION: Readonly<Record<Kind, 0 | 1 | 2>> = {
  "value in": 0,
  "value out": 1,
  "value inout": 2,
  in: 0,
  out: 1,
  inout: 2,
};

const VALUE = [ATTR_TYPE.VALUE_INPUT, ATTR_TYPE.VALUE_OUTPUT, ATTR_TYPE.VALUE_INOUT] as const;
const LIST = [0x209, 0x20a, 0x20b] as const;
const RMEM = [ATTR_TYPE.RMEM_INPUT, ATTR_TYPE.RMEM_OUTPUT, ATTR_TYPE.RMEM_INOUT] as const;

/** A parameter of the kind that a command wants, with what the given one says where it can. */
function coerce(kind: Kind, given: Param | undefined, index: number): Param {
  const direction = DIRECTION[kind];
  if (kind.startsWith("value")) {
    const { a, b, c } = given?.as === "value" ? given : { a: index, b: 1, c: 0 };
    return { as: "value", attr: VALUE[direction], a, b, c };
  }
  if (given?.as === "rmem") return { ...given, attr: RMEM[direction] };
  const list: Omit<ListParam, "attr"> =
    given?.as === "list"
      ? given
      : {
          as: "list",
          pages: [4 + index],
          size: given?.as === "value" ? 64 : 32,
          cookie: index + 1,
        };
  return { ...list, attr: LIST[direction] };
}
