import type { Task } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  type MessageView,
  RPC_CMD,
  SHM_TYPE,
  TEEC,
  WORD,
} from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import { makePageList } from "./page-list.ts";
import { shmByPointer } from "./rpc-params.ts";
import type { CallContext, RpcServiceOptions } from "./rpc-service.ts";
import { shmAddress, type TeeShm } from "./shm.ts";
import type { SupplicantParam } from "./supplicant-queue.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;

/** What the kernel asks tee-supplicant for an object, or to forget one (TEE-4.9). */
const supplicantMemory = (word: number): SupplicantParam => ({
  attr: PARAM_ATTR.VALUE_INOUT,
  a: BigInt(SHM_TYPE.APPL),
  b: BigInt(word),
  c: 0n,
  shm: undefined,
});

/** SHM_ALLOC: memory by type, described in the request's own parameter (SMC-9.6). */
export function* allocateForRpc(
  options: RpcServiceOptions,
  arg: () => MessageView,
  call: CallContext,
): Task<number> {
  const { kernel, supplicant } = options;
  // The list of the allocation before has been read by now.
  kernel.pages.drop(call.pageList);
  call.pageList = [];
  const view = arg();
  if (view.numParams === 0 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) return BAD;
  for (let index = 1; index < view.numParams; index += 1) {
    if (!view.attrIs(index, ATTR_TYPE.NONE)) return BAD;
  }
  const size = view.number(0, WORD.b);
  let shm: TeeShm | undefined;
  switch (view.number(0, WORD.a)) {
    case SHM_TYPE.APPL: {
      const param = supplicantMemory(size);
      const ret = yield* supplicant.request(RPC_CMD.SHM_ALLOC, [param], call.caller);
      shm = ret === TEEC.TEEC_SUCCESS ? options.supplicantShm(Number(param.c)) : undefined;
      if (shm !== undefined) shm.references += 1;
      break;
    }
    case SHM_TYPE.KERNEL:
      shm = options.allocate(size);
      break;
    default:
      return BAD;
  }
  if (shm === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
  if (describe(options, arg(), shm, call)) return TEEC.TEEC_SUCCESS;
  yield* options.release(shm);
  return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
}

/** Rewrites parameter 0 as the memory that was asked for; false without memory for its page list. */
function describe(
  { kernel }: RpcServiceOptions,
  view: MessageView,
  shm: TeeShm,
  call: CallContext,
): boolean {
  if (shm.kind === "reserved") {
    view.setWords(0, WORD.attr, 0, ATTR_TYPE.TMEM_OUTPUT);
    view.setNumber(0, WORD.buf_ptr, shmAddress(shm));
  } else {
    const list = makePageList(kernel, shm.span.pages);
    if (list === undefined) return false;
    call.pageList = list;
    view.setWords(0, WORD.attr, 0, ATTR_TMEM_OUTPUT_NONCONTIG);
    view.setNumber(0, WORD.buf_ptr, (list[0] ?? 0) + shm.span.offset);
  }
  view.setNumber(0, WORD.size, shm.size);
  view.setWords(0, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
  return true;
}

/** SHM_FREE. Whatever is wrong with the type, the answer is SUCCESS (SMC-9.7). */
export function* freeForRpc(
  options: RpcServiceOptions,
  view: MessageView,
  call: CallContext,
): Task<number> {
  if (view.numParams !== 1 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) return BAD;
  const type = view.number(0, WORD.a);
  if (type === SHM_TYPE.APPL || type === SHM_TYPE.KERNEL) {
    const { kernel, release, supplicant } = options;
    const shm = shmByPointer(kernel, view.high(0, WORD.b), view.low(0, WORD.b), "SHM_FREE");
    const { id } = shm;
    // The kernel's own reference goes before the supplicant is asked (TEE-4.9).
    yield* release(shm);
    if (type === SHM_TYPE.APPL) {
      yield* supplicant.request(RPC_CMD.SHM_FREE, [supplicantMemory(id)], call.caller);
    }
  }
  return TEEC.TEEC_SUCCESS;
}
