import { PAGE_SIZE } from "../machine/index.ts";
import {
  messageSize,
  MSG_MAX_NUM_PARAMS,
  OPTEE_SMC,
  RPC_ARG_PARAM_COUNT,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { isNonSecureRam } from "./mapping.ts";
import { SharedPages } from "./memory-object.ts";
import { handleMessage } from "./messages.ts";
import { clearPayloads, foreignInterrupt, freeRpcArgument } from "./rpc.ts";
import type { SecureTask, Thread } from "./thread.ts";
import type { Pa } from "../machine/index.ts";

const TWO_32 = 0x1_0000_0000;
const RPC_ARG_SIZE = messageSize(RPC_ARG_PARAM_COUNT);

/** The whole life of one yielding call on `thread`, from its entry registers to a0 (SMC-4.1). */
export function* standardCall(
  thread: Thread,
  fid: number,
  a1: number,
  a2: number,
  a3: number,
): SecureTask<number> {
  thread.partition.runtimeInitialized = true;
  thread.callRpcArgument = undefined;
  let code: number;
  switch (fid) {
    case OPTEE_SMC.CALL_WITH_ARG:
      code = yield* withAddress(thread, a1 * TWO_32 + a2, false);
      break;
    case OPTEE_SMC.CALL_WITH_RPC_ARG:
      code = yield* withAddress(thread, a1 * TWO_32 + a2, true);
      break;
    case OPTEE_SMC.CALL_WITH_REGD_ARG:
      code = yield* withRegistered(thread, a1, a2, a3);
      break;
    default:
      code = SMC_RETURN.EBADCMD;
  }
  if (thread.payloads.size > 0) yield* clearPayloads(thread);
  const keep = code !== SMC_RETURN.OK || thread.partition.preallocRpcCache;
  if (!keep && thread.rpcArgument !== undefined) yield* freeRpcArgument(thread);
  thread.callRpcArgument = undefined;
  return code;
}

/** The argument by physical address: in the reserved pool, or one page of RAM (SMC-4.1.5). */
function* withAddress(thread: Thread, pa: number, rpcArg: boolean): SecureTask<number> {
  const { core } = thread.partition;
  const pool = core.build.reservedShm;
  let room: SharedPages | undefined;
  if (pool !== undefined && pa >= pool.base && pa < pool.base + pool.size) {
    if (pa % 8 === 0) {
      const size = Math.min(PAGE_SIZE, pool.base + pool.size - pa);
      room = mapPool(thread, pa, size);
    }
  } else if (pa % PAGE_SIZE === 0 && isNonSecureRam(core, pa)) {
    room = new SharedPages(core.memory, [pa as Pa], 0, PAGE_SIZE);
  }
  return yield* withRoom(thread, room, rpcArg);
}

function mapPool(thread: Thread, pa: number, size: number): SharedPages {
  const first = pa - (pa % PAGE_SIZE);
  const pages = first + PAGE_SIZE < pa + size ? [first, first + PAGE_SIZE] : [first];
  return new SharedPages(thread.partition.core.memory, pages as Pa[], pa - first, size);
}

/** The argument at `offset` of a registered object (SMC-4.1.6). */
function* withRegistered(
  thread: Thread,
  cookieHigh: number,
  cookieLow: number,
  offset: number,
): SecureTask<number> {
  const object = thread.partition.registered.find(cookieHigh, cookieLow);
  if (object === undefined) return SMC_RETURN.EBADADDR;
  const { pages } = object;
  if ((pages.offset + offset) % 8 !== 0 || offset >= pages.size) return SMC_RETURN.EBADADDR;
  object.users += 1;
  const room = new SharedPages(
    thread.partition.core.memory,
    pages.pages,
    pages.offset + offset,
    pages.size - offset,
  );
  const code = yield* withRoom(thread, room, true);
  object.users -= 1;
  if (object.users === 0 && object.unused.waiting > 0) yield* object.unused.signal(thread);
  return code;
}

/** Runs the message at the start of `room` if it and the RPC argument behind it fit there. */
function* withRoom(
  thread: Thread,
  room: SharedPages | undefined,
  rpcArg: boolean,
): SecureTask<number> {
  if (room === undefined || room.size < messageSize(0)) return SMC_RETURN.EBADADDR;
  const count = room.u32(28);
  if (count > MSG_MAX_NUM_PARAMS) return SMC_RETURN.EBADADDR;
  const size = messageSize(count);
  if (size + (rpcArg ? RPC_ARG_SIZE : 0) > room.size) return SMC_RETURN.EBADADDR;
  if (rpcArg) {
    if (thread.partition.preallocRpcCache) yield* freeRpcArgument(thread);
    thread.callRpcArgument = {
      pages: new SharedPages(
        thread.partition.core.memory,
        room.pages,
        room.offset + size,
        RPC_ARG_SIZE,
      ),
      cookieHigh: 0,
      cookieLow: 0,
    };
  }
  if (thread.partition.core.interruptPending !== undefined) yield* foreignInterrupt(thread);
  return yield* handleMessage(thread, room, count);
}
