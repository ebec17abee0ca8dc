import { TargetCrashError } from "../base/index.ts";
import { type Ipa, type Registers, type Task, WaitQueue } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  isRmemType,
  isTmemType,
  isValueType,
  messageSize,
  MessageView,
  NOTIFICATION_OP,
  RPC_ARG_PARAM_COUNT,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  SHM_TYPE,
  TEEC,
  WORD,
} from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { Kernel } from "./kernel.ts";
import type { Notifications } from "./notifications.ts";
import { makePageList } from "./page-list.ts";
import { shmAddress, type TeeShm } from "./shm.ts";
import type { Caller, SupplicantParam, SupplicantQueue } from "./supplicant-queue.ts";

/** What the kernel keeps for one call: the page list of its last SHM_ALLOC (SMC-9.6). */
export interface CallContext {
  pageList: readonly Ipa[];
  readonly caller: Caller;
}

export interface RpcServiceOptions {
  readonly kernel: Kernel;
  readonly supplicant: SupplicantQueue;
  readonly notifications: Notifications;
  /** Memory of the driver's pool, for SHM_ALLOC of kernel memory. */
  readonly allocate: (size: number) => TeeShm | undefined;
  /** Drops a reference; the last one frees the object. */
  readonly release: (shm: TeeShm) => Task;
  /** An object of the supplicant's context by id. */
  readonly supplicantShm: (id: number) => TeeShm | undefined;
}

/** The kernel's side of RPCs from the secure world (SMC-5, SMC-9, MSG-3). */
export class RpcService {
  readonly #options: RpcServiceOptions;

  constructor(options: RpcServiceOptions) {
    this.#options = options;
  }

  /** Serves the RPC in `registers` and puts the reply there; a0 is the caller's to set. */
  *serve(
    registers: Registers,
    rpcArg: (() => MessageView) | undefined,
    written: () => void,
    call: CallContext,
  ): Task {
    const { kernel } = this.#options;
    switch (rpcFunction(registers.get(0))) {
      case RPC_FUNC.ALLOC: {
        const shm = kernel.allocateShm(registers.get(1), undefined, 0);
        registers.setPair(1, shm === undefined ? 0 : shmAddress(shm));
        registers.set(4, shm?.cookieHigh ?? 0);
        registers.set(5, shm?.cookieLow ?? 0);
        return;
      }
      case RPC_FUNC.FREE: {
        const shm = this.#byPointer(registers.get(1), registers.get(2), "RPC FREE");
        kernel.freeShm(shm);
        return;
      }
      case RPC_FUNC.FOREIGN_INTR:
        // Interrupts are taken here: others may run before the call goes on.
        yield null;
        return;
      case RPC_FUNC.CMD:
        if (rpcArg === undefined) {
          const shm = this.#byPointer(registers.get(1), registers.get(2), "RPC CMD");
          yield* this.#command(argumentIn(kernel, shm), reportArgument(kernel, shm), call);
        } else {
          yield* this.#command(rpcArg, written, call);
        }
        return;
      default:
        kernel.log(`optee: unknown RPC func 0x${registers.get(0).toString(16)}`);
    }
  }

  /** The kernel does not check the pointer: a wrong one is a crash of Linux (SMC-9.5). */
  #byPointer(high: number, low: number, what: string): TeeShm {
    const shm = this.#options.kernel.shmPointers.find(high, low);
    if (shm !== undefined) return shm;
    throw new TargetCrashError(`Linux crashed: ${what} with a pointer to no shared memory`, {
      seen: `0x${high.toString(16)}${low.toString(16).padStart(8, "0")}`,
    });
  }

  *#command(arg: () => MessageView, written: () => void, call: CallContext): Task {
    const view = arg();
    let ret: number = TEEC.TEEC_ERROR_BAD_PARAMETERS;
    switch (view.cmd) {
      case RPC_CMD.GET_TIME:
        ret = this.#getTime(view);
        break;
      case RPC_CMD.NOTIFICATION:
        ret = yield* this.#notification(view);
        break;
      case RPC_CMD.SUSPEND:
        ret = yield* suspend(view);
        break;
      case RPC_CMD.SHM_ALLOC:
        ret = yield* this.#shmAlloc(arg, call);
        break;
      case RPC_CMD.SHM_FREE:
        ret = yield* this.#shmFree(view, call);
        break;
      default:
        ret = yield* this.#forward(arg, call);
    }
    arg().ret = ret;
    written();
  }

  #getTime(view: MessageView): number {
    if (view.numParams !== 1 || !view.attrIs(0, ATTR_TYPE.VALUE_OUTPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const now = this.#options.kernel.wallMs;
    const seconds = Math.floor(now / 1000);
    view.setNumber(0, WORD.a, seconds);
    view.setNumber(0, WORD.b, Math.floor((now - seconds * 1000) * 1e6));
    return TEEC.TEEC_SUCCESS;
  }

  *#notification(view: MessageView): Task<number> {
    if (view.numParams !== 1 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const { notifications, kernel } = this.#options;
    const value = view.number(0, WORD.b);
    switch (view.low(0, WORD.a)) {
      case NOTIFICATION_OP.WAIT: {
        const ticks = view.number(0, WORD.c);
        const wake = yield* notifications.wait(value, (ticks * 1000) / kernel.hz);
        if (wake === "sent") return TEEC.TEEC_SUCCESS;
        return wake === "timeout" ? TEEC.TEEC_ERROR_TIMEOUT : TEEC.TEEC_ERROR_BAD_PARAMETERS;
      }
      case NOTIFICATION_OP.SEND:
        return notifications.send(value) ? TEEC.TEEC_SUCCESS : TEEC.TEEC_ERROR_BAD_PARAMETERS;
      default:
        return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
  }

  *#shmAlloc(arg: () => MessageView, call: CallContext): Task<number> {
    const { kernel, supplicant, supplicantShm, allocate } = this.#options;
    const view = arg();
    if (view.numParams === 0 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const size = view.number(0, WORD.b);
    let shm: TeeShm | undefined;
    switch (view.low(0, WORD.a)) {
      case SHM_TYPE.APPL: {
        const param: SupplicantParam = {
          attr: PARAM_ATTR.VALUE_INOUT,
          a: BigInt(SHM_TYPE.APPL),
          b: BigInt(size),
          c: 0n,
          shm: undefined,
        };
        const ret = yield* supplicant.request(RPC_CMD.SHM_ALLOC, [param], call.caller);
        shm = ret === TEEC.TEEC_SUCCESS ? supplicantShm(Number(param.c)) : undefined;
        if (shm !== undefined) shm.references += 1;
        break;
      }
      case SHM_TYPE.KERNEL:
        shm = allocate(size);
        break;
      default:
        return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    if (shm === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    return this.#describe(arg(), shm, kernel, call);
  }

  /** Rewrites parameter 0 as the memory that was asked for. */
  #describe(view: MessageView, shm: TeeShm, kernel: Kernel, call: CallContext): number {
    view.setWords(0, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
    view.setNumber(0, WORD.size, shm.size);
    if (shm.kind === "reserved") {
      view.setWords(0, WORD.attr, 0, ATTR_TYPE.TMEM_OUTPUT);
      view.setNumber(0, WORD.buf_ptr, shmAddress(shm));
      return TEEC.TEEC_SUCCESS;
    }
    const list = makePageList(kernel, shm.span.pages);
    if (list === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    kernel.pages.drop(call.pageList);
    call.pageList = list;
    view.setWords(0, WORD.attr, 0, ATTR_TMEM_OUTPUT_NONCONTIG);
    view.setNumber(0, WORD.buf_ptr, (list[0] ?? 0) + shm.span.offset);
    return TEEC.TEEC_SUCCESS;
  }

  *#shmFree(view: MessageView, call: CallContext): Task<number> {
    const { supplicant, release } = this.#options;
    if (view.numParams !== 1 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const type = view.low(0, WORD.a);
    if (type === SHM_TYPE.APPL || type === SHM_TYPE.KERNEL) {
      const shm = this.#byPointer(view.high(0, WORD.b), view.low(0, WORD.b), "SHM_FREE");
      const { id } = shm;
      // The kernel's own reference goes before the supplicant is asked (TEE-4.9).
      yield* release(shm);
      if (type === SHM_TYPE.APPL) {
        const param: SupplicantParam = {
          attr: PARAM_ATTR.VALUE_INOUT,
          a: BigInt(SHM_TYPE.APPL),
          b: BigInt(id),
          c: 0n,
          shm: undefined,
        };
        yield* supplicant.request(RPC_CMD.SHM_FREE, [param], call.caller);
      }
    }
    // Whatever went wrong, the answer is SUCCESS (SMC-9.7).
    return TEEC.TEEC_SUCCESS;
  }

  /** Every other command goes to the supplicant unchanged (SMC-9.8). */
  *#forward(arg: () => MessageView, call: CallContext): Task<number> {
    const view = arg();
    const params: SupplicantParam[] = [];
    for (let index = 0; index < view.numParams; index += 1) {
      const param = this.#toSupplicant(view, index);
      if (param === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
      params.push(param);
    }
    const ret = yield* this.#options.supplicant.request(view.cmd, params, call.caller);
    const back = arg();
    for (const [index, param] of params.entries()) {
      if (param.attr === PARAM_ATTR.VALUE_OUTPUT || param.attr === PARAM_ATTR.VALUE_INOUT) {
        back.setBig(index, WORD.a, param.a);
        back.setBig(index, WORD.b, param.b);
        back.setBig(index, WORD.c, param.c);
      } else if (param.attr >= PARAM_ATTR.MEMREF_OUTPUT && param.attr <= PARAM_ATTR.MEMREF_INOUT) {
        back.setBig(index, WORD.size, param.b);
      }
    }
    return ret;
  }

  #toSupplicant(view: MessageView, index: number): SupplicantParam | undefined {
    const type = view.type(index);
    const words = { a: view.big(index, WORD.a), b: view.big(index, WORD.b), c: 0n };
    if (type === ATTR_TYPE.NONE) return { attr: 0, a: 0n, b: 0n, c: 0n, shm: undefined };
    if (isValueType(type)) {
      return { ...words, attr: type, c: view.big(index, WORD.c), shm: undefined };
    }
    if (!isRmemType(type) && !isTmemType(type)) return undefined;
    const attr = PARAM_ATTR.MEMREF_INPUT + ((type - 1) & 3);
    const high = view.high(index, WORD.shm_ref);
    const low = view.low(index, WORD.shm_ref);
    const shm = this.#options.kernel.shmPointers.find(high, low);
    if (isRmemType(type)) return shm === undefined ? undefined : { ...words, attr, shm };
    if (words.a === 0n || shm === undefined) return { ...words, attr, a: 0n, shm: undefined };
    return { ...words, attr, a: words.a - BigInt(shmAddress(shm)), shm };
  }
}

function* suspend(view: MessageView): Task<number> {
  if (view.numParams !== 1 || !view.attrIs(0, ATTR_TYPE.VALUE_INPUT)) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  yield { queue: new WaitQueue("msleep"), timeoutMs: view.number(0, WORD.a) };
  return TEEC.TEEC_SUCCESS;
}

const RPC_ARG_SIZE = messageSize(RPC_ARG_PARAM_COUNT);

function argumentIn(kernel: Kernel, shm: TeeShm): () => MessageView {
  const [page = 0 as Ipa] = shm.span.pages;
  return () =>
    new MessageView(
      kernel.conduit.memory.page(page) ?? new Uint8Array(RPC_ARG_SIZE),
      shm.span.offset,
      RPC_ARG_SIZE,
    );
}

function reportArgument(kernel: Kernel, shm: TeeShm): () => void {
  return () => kernel.conduit.memory.dirty(shmAddress(shm), RPC_ARG_SIZE);
}
