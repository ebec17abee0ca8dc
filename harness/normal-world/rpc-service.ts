import { type Ipa, type Registers, type Task, WaitQueue } from "../machine/index.ts";
import {
  ATTR_TYPE,
  messageSize,
  MessageView,
  NOTIFICATION_OP,
  RPC_ARG_PARAM_COUNT,
  RPC_CMD,
  RPC_FUNC,
  rpcFunction,
  TEEC,
  WORD,
} from "../optee-abi/index.ts";
import type { Kernel } from "./kernel.ts";
import type { Notifications } from "./notifications.ts";
import { i2cTransfer, type RpmbRouting } from "./rpc-devices.ts";
import { allocateForRpc, freeForRpc } from "./rpc-memory.ts";
import { fromRpcParams, shmByPointer, toRpcParams } from "./rpc-params.ts";
import { shmAddress, type TeeShm } from "./shm.ts";
import type { Caller, SupplicantQueue } from "./supplicant-queue.ts";

/** What the kernel keeps for one call: the page list of its last SHM_ALLOC (SMC-9.6). */
export interface CallContext {
  pageList: readonly Ipa[];
  readonly caller: Caller;
}

export interface RpcServiceOptions {
  readonly kernel: Kernel;
  readonly supplicant: SupplicantQueue;
  readonly notifications: Notifications;
  /** Private memory of the kernel in whole pages: of the driver's pool, registered with nobody. */
  readonly allocate: (size: number) => TeeShm | undefined;
  /** Drops a reference; the last one frees the object. */
  readonly release: (shm: TeeShm) => Task;
  /** An object of the supplicant's context by id. */
  readonly supplicantShm: (id: number) => TeeShm | undefined;
  /** Where the secure world's RPMB commands are the kernel's to serve. */
  readonly rpmb: RpmbRouting | undefined;
}

/** The kernel's side of RPCs from the secure world (SMC-5, SMC-9, MSG-3). */
export class RpcService {
  readonly #options: RpcServiceOptions;
  /** How often each command was asked for. */
  readonly commands = new Map<number, number>();

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
        const shm = this.#options.allocate(registers.get(1));
        registers.setPair(1, shm === undefined ? 0 : shmAddress(shm));
        registers.set(4, shm?.cookieHigh ?? 0);
        registers.set(5, shm?.cookieLow ?? 0);
        return;
      }
      case RPC_FUNC.FREE: {
        const shm = shmByPointer(kernel, registers.get(1), registers.get(2), "RPC FREE");
        yield* this.#options.release(shm);
        return;
      }
      case RPC_FUNC.FOREIGN_INTR:
        // Interrupts are taken here: others may run before the call goes on.
        yield null;
        return;
      case RPC_FUNC.CMD:
        if (rpcArg === undefined) {
          const shm = shmByPointer(kernel, registers.get(1), registers.get(2), "RPC CMD");
          yield* this.#command(argumentIn(kernel, shm), reportArgument(kernel, shm), call);
        } else {
          yield* this.#command(rpcArg, written, call);
        }
        return;
      default:
        kernel.log(`optee: unknown RPC func 0x${registers.get(0).toString(16)}`);
    }
  }

  *#command(arg: () => MessageView, written: () => void, call: CallContext): Task {
    const view = arg();
    this.commands.set(view.cmd, (this.commands.get(view.cmd) ?? 0) + 1);
    let ret: number = TEEC.TEEC_ERROR_BAD_PARAMETERS;
    switch (view.cmd) {
      case RPC_CMD.GET_TIME:
        ret = this.#getTime(view);
        break;
      case RPC_CMD.NOTIFICATION:
        ret = yield* this.#notification(view);
        break;
      case RPC_CMD.SUSPEND:
        ret = yield* suspend(view, call.caller);
        break;
      case RPC_CMD.SHM_ALLOC:
        ret = yield* allocateForRpc(this.#options, arg, call);
        break;
      case RPC_CMD.SHM_FREE:
        ret = yield* freeForRpc(this.#options, view, call);
        break;
      case RPC_CMD.I2C_TRANSFER:
        ret = i2cTransfer(this.#options.kernel, view);
        break;
      default:
        ret = this.#rpmb(view) ?? (yield* this.#forward(arg, call));
    }
    arg().ret = ret;
    written();
  }

  /** The kernel's own RPMB service; undefined where the supplicant has to do it (SMC-9.8). */
  #rpmb(view: MessageView): number | undefined {
    const { rpmb } = this.#options;
    switch (view.cmd) {
      case RPC_CMD.RPMB_PROBE_RESET:
        return rpmb?.reset(view);
      case RPC_CMD.RPMB_PROBE_NEXT:
        return rpmb?.next(view);
      case RPC_CMD.RPMB_FRAMES:
        return rpmb?.frames(view);
      default:
        return undefined;
    }
  }

  #getTime(view: MessageView): number {
    if (view.numParams !== 1 || view.type(0) !== ATTR_TYPE.VALUE_OUTPUT) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const now = this.#options.kernel.wallMs;
    const seconds = Math.floor(now / 1000);
    view.setNumber(0, WORD.a, seconds);
    view.setNumber(0, WORD.b, Math.floor((now - seconds * 1000) * 1e6));
    return TEEC.TEEC_SUCCESS;
  }

  *#notification(view: MessageView): Task<number> {
    if (view.numParams !== 1 || view.type(0) !== ATTR_TYPE.VALUE_INPUT) {
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

  /** Every other command goes to the supplicant unchanged (SMC-9.8). */
  *#forward(arg: () => MessageView, call: CallContext): Task<number> {
    const view = arg();
    const params = fromRpcParams(this.#options.kernel, view);
    if (params === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const ret = yield* this.#options.supplicant.request(view.cmd, params, call.caller);
    toRpcParams(arg(), params);
    return ret;
  }
}

/** What a round trip through both worlds takes that does not sleep. */
const INTERRUPTED_SLEEP_MS = 1;

/** An interruptible sleep: a fatal signal ends it early. */
function* suspend(view: MessageView, caller: Caller): Task<number> {
  if (view.numParams !== 1 || view.type(0) !== ATTR_TYPE.VALUE_INPUT) {
    return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  }
  const queue = new WaitQueue("msleep_interruptible");
  caller.waitsOn.add(queue);
  // With a signal pending it returns at once, but time goes on: a secure world that waits for a time
  // asks again until that has come.
  yield { queue, timeoutMs: caller.killed ? INTERRUPTED_SLEEP_MS : view.low(0, WORD.a) };
  caller.waitsOn.delete(queue);
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
