import { PAGE_MASK, PAGE_SIZE } from "../machine/index.ts";
import {
  messageSize,
  MSG_MAX_NUM_PARAMS,
  OPTEE_SMC,
  RPC_ARG_PARAM_COUNT,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { canShare } from "./mapping.ts";
import { SharedPages } from "./memory-object.ts";
import { handleMessage } from "./messages.ts";
import type { RegisteredObject } from "./registered-shm.ts";
import { clearPayloads, foreignInterrupt, freeRpcArgument } from "./rpc.ts";
import type { MaybeSecure, SecureTask, Thread } from "./thread.ts";
import type { Pa } from "../machine/index.ts";

const TWO_32 = 0x1_0000_0000;
const RPC_ARG_SIZE = messageSize(RPC_ARG_PARAM_COUNT);

/** The whole life of one yielding call on `thread`, from its entry registers to a0 (SMC-4.1). */
export function standardCall(
  thread: Thread,
  fid: number,
  a1: number,
  a2: number,
  a3: number,
): MaybeSecure<number> {
  thread.partition.runtimeInitialized = true;
  switch (fid) {
    case OPTEE_SMC.CALL_WITH_ARG:
      return withAddress(thread, a1 * TWO_32 + a2, false);
    case OPTEE_SMC.CALL_WITH_RPC_ARG:
      if (!thread.partition.core.features.rpcArg) return SMC_RETURN.EBADCMD;
      return withAddress(thread, a1 * TWO_32 + a2, true);
    case OPTEE_SMC.CALL_WITH_REGD_ARG:
      if (!thread.partition.core.features.rpcArg) return SMC_RETURN.EBADCMD;
      return withRegistered(thread, a1, a2, a3);
    default:
      return SMC_RETURN.EBADCMD;
  }
}

/** The argument by physical address: in the reserved pool, or one page of RAM (SMC-4.1.5). */
function withAddress(thread: Thread, pa: number, rpcArg: boolean): MaybeSecure<number> {
  const { core } = thread.partition;
  const pool = core.build.reservedShm;
  if (pool !== undefined && pa >= pool.base && pa < pool.base + pool.size) {
    if (pa % 8 !== 0) return SMC_RETURN.EBADADDR;
    const size = Math.min(PAGE_SIZE, pool.base + pool.size - pa);
    return withRoom(thread, mapPool(thread, pa, size), rpcArg);
  }
  if ((pa & PAGE_MASK) !== 0 || !canShare(thread.partition, pa)) return SMC_RETURN.EBADADDR;
  const room = new SharedPages(core.memory, [pa as Pa], 0, PAGE_SIZE);
  const object = enterMessage(thread, room);
  const code = withRoom(thread, room, rpcArg);
  if (typeof code !== "number") return leaveMessage(thread, object, code);
  thread.partition.registered.drop(object);
  return code;
}

function* leaveMessage(
  thread: Thread,
  object: RegisteredObject,
  running: SecureTask<number>,
): SecureTask<number> {
  const code = yield* running;
  thread.partition.registered.drop(object);
  return code;
}

/**
 * The page of a message is in the table too while its call runs, under cookie 0: a reference by that
 * cookie finds the newest such page (MSG-2.3.2).
 */
function enterMessage(thread: Thread, pages: SharedPages): RegisteredObject {
  let object = thread.message;
  if (object === undefined || object.users > 0) {
    object = {
      pages,
      cookieHigh: 0,
      cookieLow: 0,
      heap: 0,
      guarded: true,
      users: 0,
      releasing: false,
      older: undefined,
    };
    thread.message = object;
  }
  object.pages = pages;
  object.users = 1;
  thread.partition.registered.add(object);
  return object;
}

function mapPool(thread: Thread, pa: number, size: number): SharedPages {
  const first = pa - (pa % PAGE_SIZE);
  const pages = first + PAGE_SIZE < pa + size ? [first, first + PAGE_SIZE] : [first];
  return new SharedPages(thread.partition.core.memory, pages as Pa[], pa - first, size);
}

/** The argument at `offset` of a registered object (SMC-4.1.6). */
function withRegistered(
  thread: Thread,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
): MaybeSecure<number> {
  const { partition } = thread;
  const object = partition.registered.find(cookieHigh, cookieLow);
  if (object === undefined) {
    // Lent memory has a cookie too, and cannot be mapped by the core.
    const lent = partition.lent.find(cookieHigh, cookieLow);
    return lent === undefined ? SMC_RETURN.EBADADDR : SMC_RETURN.ENOMEM;
  }
  const { pages } = object;
  if (pages.pages.length * PAGE_SIZE > partition.core.build.shmAddressSpace) {
    return SMC_RETURN.ENOMEM;
  }
  if (((pages.offset + offset) & 7) !== 0 || offset >= pages.size) return SMC_RETURN.EBADADDR;
  object.users += 1;
  const room = new SharedPages(
    thread.partition.core.memory,
    pages.pages,
    pages.offset + offset,
    pages.size - offset,
  );
  const code = withRoom(thread, room, true);
  const done = typeof code === "number";
  if (done && !thread.partition.registered.drop(object)) return code;
  return leaveRegistered(thread, done ? undefined : object, code);
}

/** The end of the use of a registered object; whoever waits to unregister it goes on. */
function* leaveRegistered(
  thread: Thread,
  object: RegisteredObject | undefined,
  running: MaybeSecure<number>,
): SecureTask<number> {
  const { registered } = thread.partition;
  const code = typeof running === "number" ? running : yield* running;
  if (object === undefined || registered.drop(object)) yield* registered.announce(thread) ?? [];
  return code;
}

/**
 * Runs the message at the start of `room` if it and the RPC argument behind it fit there. At the end
 * payload buffers are freed, and the thread's own argument buffer unless it is to be kept (SMC-5.3).
 */
function withRoom(thread: Thread, room: SharedPages, rpcArg: boolean): MaybeSecure<number> {
  if (room.size < messageSize(0)) return SMC_RETURN.EBADADDR;
  const count = room.u32(28);
  if (count > MSG_MAX_NUM_PARAMS) return SMC_RETURN.EBADADDR;
  const size = messageSize(count);
  if (size + (rpcArg ? RPC_ARG_SIZE : 0) > room.size) return SMC_RETURN.EBADADDR;
  const { core, preallocRpcCache } = thread.partition;
  // The plain case first: nothing to free before, no interrupt that could come.
  if (core.interruptPending === undefined && !(rpcArg && preallocRpcCache)) {
    if (rpcArg) supplyArgument(thread, room, size);
    const code = handleMessage(thread, room, count);
    if (typeof code === "number" && !mustFree(thread, code)) {
      thread.callRpcArgument = undefined;
      return code;
    }
    return leaveRoom(thread, code);
  }
  return enterRoom(thread, room, count, rpcArg);
}

function* enterRoom(
  thread: Thread,
  room: SharedPages,
  count: number,
  rpcArg: boolean,
): SecureTask<number> {
  if (rpcArg) {
    if (thread.partition.preallocRpcCache) yield* freeRpcArgument(thread);
    supplyArgument(thread, room, messageSize(count));
  }
  yield* foreignInterrupt(thread);
  return yield* leaveRoom(thread, handleMessage(thread, room, count));
}

/** The RPC argument that came behind a message of `size` bytes. */
function supplyArgument(thread: Thread, room: SharedPages, size: number): void {
  const { memory } = thread.partition.core;
  thread.callRpcArgument = {
    pages: new SharedPages(memory, room.pages, room.offset + size, RPC_ARG_SIZE),
    cookieHigh: 0,
    cookieLow: 0,
    registered: undefined,
  };
}

/** Whether the end of a call has something to give back to the normal world. */
function mustFree(thread: Thread, code: number): boolean {
  if (thread.payloads.size > 0) return true;
  const keep = code !== SMC_RETURN.OK || thread.partition.preallocRpcCache;
  return !keep && thread.rpcArgument !== undefined;
}

function* leaveRoom(thread: Thread, running: MaybeSecure<number>): SecureTask<number> {
  const code = typeof running === "number" ? running : yield* running;
  if (thread.payloads.size > 0) yield* clearPayloads(thread);
  thread.callRpcArgument = undefined;
  if (mustFree(thread, code)) yield* freeRpcArgument(thread);
  return code;
}
