import { PAGE_SIZE } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  isOutputType,
  isValueType,
  messageSize,
  RPC_ARG_PARAM_COUNT,
  RPC_CMD,
  SHM_TYPE,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import { SharedPages } from "./memory-object.ts";
import { extractPages, reservedShm, wholePage } from "./mapping.ts";
import type { RegisteredObject } from "./registered-shm.ts";
import type { SecureTask, Thread } from "./thread.ts";

const TWO_32 = 0x1_0000_0000;

/** A buffer for the argument of RPC commands, with the cookie that the normal world gave it. */
export interface RpcArgument {
  readonly pages: SharedPages;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Its entry among the registered objects; none in reserved shm or behind a call's message. */
  readonly registered: RegisteredObject | undefined;
}

/** Memory that the normal world allocated for the data of RPCs. */
export interface RpcPayload {
  readonly type: number;
  /** Bytes that were asked for, and that were given. */
  readonly asked: number;
  readonly size: number;
  readonly pages: SharedPages;
  readonly cookieHigh: number;
  readonly cookieLow: number;
  /** Where it is when it lies in reserved shm and is described by address. */
  readonly pa: number | undefined;
  readonly registered: RegisteredObject | undefined;
}

/** One parameter of an RPC: its four 64-bit words as unsigned halves, low first. */
export interface RpcParam {
  attr: number;
  readonly words: Uint32Array;
}

function param(attr: number, a: number, b: number, c: number): RpcParam {
  const words = new Uint32Array(6);
  for (const [index, value] of [a, b, c].entries()) {
    words[index * 2] = value % TWO_32;
    words[index * 2 + 1] = Math.floor(value / TWO_32);
  }
  return { attr, words };
}

const VALUE = { in: 1, out: 2, inout: 3 } as const;

/** A value parameter; `in` is data for the normal world. Numbers below 2^53. */
export const rpcValue = (direction: keyof typeof VALUE, a = 0, b = 0, c = 0): RpcParam =>
  param(VALUE[direction], a, b, c);

/** A value parameter that carries 16 octets in a and b. */
export function rpcOctets(octets: Uint8Array): RpcParam {
  const value = param(ATTR_TYPE.VALUE_INPUT, 0, 0, 0);
  new Uint8Array(value.words.buffer).set(octets.subarray(0, 16));
  return value;
}

/** A NULL memory reference: TMEM with address, size and cookie 0 (MSG-3.4). */
export const rpcNull = (direction: keyof typeof VALUE): RpcParam =>
  param(VALUE[direction] + 8, 0, 0, 0);

/** Attribute of a reference that cannot be made: its memory has no cookie to name it by. */
const NO_REFERENCE = 0xff;

/**
 * A reference to `size` bytes of a payload: RMEM when dynamic, TMEM in reserved shm (MSG-3.4). A
 * payload that the normal world gave cookie 0 cannot be named: such a request is never sent.
 */
export function rpcMemref(
  direction: keyof typeof VALUE,
  payload: RpcPayload,
  size: number,
  offset = 0,
): RpcParam {
  const { cookieHigh, cookieLow } = payload;
  const attr = VALUE[direction] + (payload.pa === undefined ? 4 : 8);
  const named = cookieHigh !== 0 || cookieLow !== 0;
  const memref = param(named ? attr : NO_REFERENCE, (payload.pa ?? 0) + offset, size, 0);
  memref.words[4] = cookieLow;
  memref.words[5] = cookieHigh;
  return memref;
}

/** Word a, b or c (0, 1, 2) as a number. */
export const rpcWord = (from: RpcParam | undefined, word: number): number =>
  (from?.words[word * 2 + 1] ?? 0) * TWO_32 + (from?.words[word * 2] ?? 0);

/**
 * Asks the normal world for a service and gives its result code; outputs are stored into `params`.
 * OUT_OF_MEMORY when there is no buffer for the argument (SMC-5.1), BAD_PARAMETERS for a reference
 * without a name.
 */
export function* rpcCommand(
  thread: Thread,
  command: number,
  params: readonly RpcParam[],
): SecureTask<number> {
  const argument = thread.callRpcArgument ?? (yield* rpcArgument(thread));
  if (argument === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
  const arg = argument.pages;
  arg.write(0, new Uint8Array(messageSize(params.length)));
  arg.setU32(0, command);
  arg.setU32(20, TEEC.TEEC_ERROR_GENERIC);
  arg.setU32(28, params.length);
  for (const [index, { attr, words }] of params.entries()) {
    if (attr === NO_REFERENCE) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const at = messageSize(index);
    arg.setU32(at, attr);
    for (const [word, value] of words.entries()) arg.setU32(at + 8 + word * 4, value);
  }
  const supplied = thread.callRpcArgument !== undefined;
  yield* thread.exit(
    SMC_RETURN.RPC_CMD,
    supplied ? 0 : argument.cookieHigh,
    supplied ? 0 : argument.cookieLow,
    true,
  );
  for (const [index, { attr, words }] of params.entries()) {
    const type = attr & 0xff;
    if (!isOutputType(type)) continue;
    const at = messageSize(index) + 8;
    if (isValueType(type)) {
      for (let word = 0; word < 6; word += 1) words[word] = arg.u32(at + word * 4);
    } else {
      words[2] = arg.u32(at + 8);
      words[3] = arg.u32(at + 12);
    }
  }
  return arg.u32(20);
}

/** The thread's own argument buffer, allocated by RPC when it has none (SMC-5.2). */
function* rpcArgument(thread: Thread): SecureTask<RpcArgument | undefined> {
  if (thread.rpcArgument !== undefined) return thread.rpcArgument;
  const size = messageSize(RPC_ARG_PARAM_COUNT);
  yield* thread.exit(SMC_RETURN.RPC_ALLOC, size, 0, true);
  const [high = 0, low = 0, cookieHigh = 0, cookieLow = 0] = thread.reply;
  const core = thread.partition.core;
  const pa = high * TWO_32 + low;
  const pool = pa % 8 === 0 ? reservedShm(core, pa, size) : undefined;
  const page = pool === undefined ? wholePage(thread.partition, pa, size) : undefined;
  const pages = pool ?? page;
  if (pages === undefined) {
    yield* freeArgument(thread, cookieHigh, cookieLow);
    return undefined;
  }
  const registered =
    page === undefined ? undefined : thread.partition.enterGuarded(page, cookieHigh, cookieLow);
  thread.rpcArgument = { pages, cookieHigh, cookieLow, registered };
  return thread.rpcArgument;
}

/** Gives the thread's own argument buffer back (SMC-5.3); it stays in the table until that is done. */
export function* freeRpcArgument(thread: Thread): SecureTask {
  const own = thread.rpcArgument;
  if (own === undefined) return;
  yield* freeArgument(thread, own.cookieHigh, own.cookieLow);
  thread.rpcArgument = undefined;
  if (own.registered !== undefined) yield* thread.partition.release(thread, own.registered);
}

/** RPC FREE; what has cookie 0 is not given back, for 0 means none (SMC-5.1). */
function* freeArgument(thread: Thread, cookieHigh: number, cookieLow: number): SecureTask {
  if (cookieHigh === 0 && cookieLow === 0) return;
  yield* thread.exit(SMC_RETURN.RPC_FREE, cookieHigh, cookieLow, true);
}

/** Allocates `size` bytes in the normal world (MSG-3.3); undefined when that fails. */
export function* allocatePayload(
  thread: Thread,
  size: number,
  type: number = SHM_TYPE.APPL,
): SecureTask<RpcPayload | undefined> {
  const core = thread.partition.core;
  const request = rpcValue("in", type, size, 8);
  const argument = thread.callRpcArgument ?? (yield* rpcArgument(thread));
  if (argument === undefined) return undefined;
  const result = yield* rpcCommand(thread, RPC_CMD.SHM_ALLOC, [request]);
  const arg = argument.pages;
  if (result !== TEEC.TEEC_SUCCESS || arg.u32(28) !== 1) return undefined;
  const at = messageSize(0);
  const attr = arg.u32(at);
  if (arg.u32(at + 4) !== 0) return undefined;
  if (attr !== ATTR_TYPE.TMEM_OUTPUT && attr !== ATTR_TMEM_OUTPUT_NONCONTIG) return undefined;
  const bufferLow = arg.u32(at + 8);
  const bufferHigh = arg.u32(at + 12);
  const given = arg.u32(at + 20) * TWO_32 + arg.u32(at + 16);
  const cookieLow = arg.u32(at + 24);
  const cookieHigh = arg.u32(at + 28);
  if (given < size) return undefined;
  const buffer = bufferHigh * TWO_32 + bufferLow;
  const common = { type, asked: size, size: given, cookieHigh, cookieLow };
  const contiguous = attr === ATTR_TYPE.TMEM_OUTPUT;
  const pool = contiguous ? reservedShm(core, buffer, given) : undefined;
  if (pool !== undefined) return { ...common, pages: pool, pa: buffer, registered: undefined };
  const pages = contiguous
    ? wholePage(thread.partition, buffer, given)
    : extractPages(thread.partition, buffer, given);
  if (pages !== undefined) {
    const registered = thread.partition.enterGuarded(pages, cookieHigh, cookieLow);
    return { ...common, pages, pa: undefined, registered };
  }
  yield* freeByCookie(thread, type, cookieHigh, cookieLow);
  return undefined;
}

export function* freePayload(thread: Thread, payload: RpcPayload): SecureTask {
  const { registered } = payload;
  if (registered !== undefined) yield* thread.partition.release(thread, registered);
  yield* freeByCookie(thread, payload.type, payload.cookieHigh, payload.cookieLow);
}

function* freeByCookie(thread: Thread, type: number, high: number, low: number): SecureTask {
  const request = rpcValue("in", type, 0, 0);
  request.words[2] = low;
  request.words[3] = high;
  yield* rpcCommand(thread, RPC_CMD.SHM_FREE, [request]);
}

/** The payload buffer that `user` keeps for the length of the call, at least `size` bytes (MSG-3.6). */
export function* cachedPayload(
  thread: Thread,
  user: "FS" | "SOCKET" | "I2C" | "RPMB",
  size: number,
  type: number = SHM_TYPE.APPL,
): SecureTask<RpcPayload | undefined> {
  if (size === 0) return undefined;
  const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
  const kept = thread.payloads.get(user);
  // What was asked for counts, not what was given.
  if (kept !== undefined && kept.type === type && kept.asked >= rounded) return kept;
  thread.payloads.set(user, undefined);
  if (kept !== undefined) yield* freePayload(thread, kept);
  const fresh = yield* allocatePayload(thread, rounded, type);
  if (fresh === undefined) return undefined;
  if (fresh.pages.offset % 8 !== 0) {
    yield* freePayload(thread, fresh);
    return undefined;
  }
  thread.payloads.set(user, fresh);
  return fresh;
}

/** Frees what `cachedPayload` kept, the newest user's first; at the end of every call (SMC-5.3). */
export function* clearPayloads(thread: Thread): SecureTask {
  for (const [user, payload] of Array.from(thread.payloads).toReversed()) {
    thread.payloads.delete(user);
    if (payload !== undefined) yield* freePayload(thread, payload);
  }
}

/** Leaves the secure world because a normal-world interrupt is pending, if one is (SMC-4.3). */
export function* foreignInterrupt(thread: Thread): SecureTask {
  if (thread.partition.core.interruptPending?.() !== true) return;
  yield* thread.exit(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, false);
}
