import { PAGE_SIZE, Registers, type Task } from "../machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  isRpcReturn,
  type MessageView,
  MSG_CMD,
  OPTEE_SMC,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
  TEEC_ORIGIN,
  WORD,
} from "../optee-abi/index.ts";
import { ERRNO, type Param } from "../tee-uapi/index.ts";
import { NotificationInterrupt } from "./async-notifications.ts";
import type { CallQueue } from "./call-queue.ts";
import { DEVICE_PTA_CMD, enumerateDevices } from "./device-enumeration.ts";
import type { Kernel } from "./kernel.ts";
import { type MessageBuffer, MessageBuffers, type Placement } from "./message-buffers.ts";
import { fromMessageParam, toMessageParam } from "./message-params.ts";
import { Notifications } from "./notifications.ts";
import { makePageList } from "./page-list.ts";
import { emptyShmCache, fastCalls, probe, type SecureWorldFacts } from "./probe.ts";
import { ReservedPool } from "./reserved-pool.ts";
import { type CallContext, RpcService } from "./rpc-service.ts";
import type { TeeShm } from "./shm.ts";
import { type Caller, kernelCaller, SupplicantQueue } from "./supplicant-queue.ts";
import type { TeeContext } from "./tee-context.ts";

/** A parameter on its way to the secure world, with the object behind a memory reference. */
export interface DriverParam {
  readonly param: Param;
  readonly shm: TeeShm | undefined;
}

export interface DriverResult {
  readonly ret: number;
  readonly origin: number;
}

export interface OpenRequest {
  readonly uuid: Uint8Array;
  readonly clientUuid: Uint8Array;
  readonly login: number;
  readonly cancelId: number;
}

/** Linux's OP-TEE driver on the SMC transport. Everything that can sleep is a task. */
export class OpteeDriver {
  readonly kernel: Kernel;
  readonly facts: SecureWorldFacts;
  readonly supplicant = new SupplicantQueue();
  /** Answers for objects of the supplicant's context; set by the privileged device. */
  supplicantShm: (id: number) => TeeShm | undefined = () => undefined;
  readonly #queue: CallQueue;
  readonly #buffers: MessageBuffers;
  readonly #rpc: RpcService;
  readonly #pool: ReservedPool | undefined;
  readonly #notifications: Notifications;
  readonly #interrupt: NotificationInterrupt | undefined;
  /** Sessions that may use the thread kept for them (TEE-3.2). */
  readonly #systemSessions = new Set<number>();
  readonly #releaseShm: (shm: TeeShm) => Task;

  private constructor(kernel: Kernel, facts: SecureWorldFacts, queue: CallQueue) {
    this.kernel = kernel;
    this.facts = facts;
    this.#queue = queue;
    this.#notifications = new Notifications(facts.maxNotification);
    this.#pool = this.dynamicShm ? undefined : new ReservedPool(kernel, facts.reservedShm);
    this.#releaseShm = (shm) => this.releaseShm(shm);
    this.#rpc = new RpcService({
      kernel,
      supplicant: this.supplicant,
      notifications: this.#notifications,
      allocate: (size) => this.#allocatePrivate(size),
      release: this.#releaseShm,
      supplicantShm: (id) => this.supplicantShm(id),
    });
    this.#buffers = new MessageBuffers(kernel, this.#placement(), () => this.#makeEntry());
    const line = kernel.conduit.notifications;
    if (line !== undefined && (facts.capabilities & SEC_CAP.ASYNC_NOTIF) !== 0) {
      this.#interrupt = new NotificationInterrupt({
        line,
        ask: fastCalls(kernel),
        send: (value) => this.#notifications.send(value),
        bottomHalf: () => this.#simple(MSG_CMD.DO_BOTTOM_HALF, 0, 0, kernelCaller()),
      });
    }
  }

  /** Probes the secure world (SMC-9); an errno when there is none that the driver can use. */
  static *probe(
    kernel: Kernel,
  ): Task<
    | { readonly ok: true; readonly driver: OpteeDriver }
    | { readonly ok: false; readonly errno: number }
  > {
    const found = yield* probe(kernel);
    if (!found.ok) return found;
    const driver = new OpteeDriver(kernel, found.facts, found.queue);
    driver.#interrupt?.start(kernel.scheduler, kernel.name);
    yield* enumerateDevices(driver, DEVICE_PTA_CMD.GET_DEVICES);
    return { ok: true, driver };
  }

  /** Undoes the probe (SMC-9.11). Every context must be gone. */
  *remove(): Task {
    yield* this.shutdown();
    if (this.#interrupt !== undefined) {
      yield* this.#simple(MSG_CMD.STOP_ASYNC_NOTIF, 0, 0, kernelCaller());
      this.#interrupt.stop();
    }
    for (const shm of this.#buffers.drain()) yield* this.releaseShm(shm);
  }

  /** What the system's shutdown does: takes cached RPC arguments back (SMC-9.11). */
  *shutdown(): Task {
    if (this.facts.rpcParamCount > 0) return;
    const cookies: [number, number][] = [];
    yield* emptyShmCache(fastCalls(this.kernel), this.#queue, (high, low) => {
      cookies.push([high, low]);
    });
    for (const [high, low] of cookies) {
      const shm = this.kernel.shmPointers.find(high, low);
      if (shm !== undefined) yield* this.releaseShm(shm);
    }
  }

  get dynamicShm(): boolean {
    return (this.facts.capabilities & SEC_CAP.DYNAMIC_SHM) !== 0;
  }

  get memrefNull(): boolean {
    return (this.facts.capabilities & SEC_CAP.MEMREF_NULL) !== 0;
  }

  /** Calls into the secure world that have not returned. */
  get callsRunning(): number {
    return this.#queue.running;
  }

  /** UUIDs of the TAs that the secure world wants devices for, as found by enumeration. */
  readonly devices: string[] = [];

  *openSession(
    context: TeeContext | undefined,
    request: OpenRequest,
    params: readonly DriverParam[],
    caller: Caller,
  ): Task<DriverResult & { readonly session: number }> {
    const buffer = yield* this.#buffers.take();
    if (buffer === undefined) return { ...commsError(TEEC.TEEC_ERROR_OUT_OF_MEMORY), session: 0 };
    const message = buffer.message();
    message.cmd = MSG_CMD.OPEN_SESSION;
    message.cancelId = request.cancelId;
    message.numParams = params.length + 2;
    message.setWords(0, WORD.attr, 0, ATTR_META_VALUE_INPUT);
    setOctets(message, 0, request.uuid);
    message.setWords(1, WORD.attr, 0, ATTR_META_VALUE_INPUT);
    setOctets(message, 1, request.clientUuid);
    message.setWords(1, WORD.c, 0, request.login);
    for (const [index, param] of params.entries()) toMessageParam(message, index + 2, param);
    const sent = yield* this.#call(buffer, params.length + 2, caller);
    const back = buffer.message();
    const result = sent ? outcome(back) : COMMUNICATION;
    let session = 0;
    if (sent) {
      session = back.session;
      if (result.ret === TEEC.TEEC_SUCCESS) context?.sessions.add(session);
      for (const [index, param] of params.entries()) fromMessageParam(back, index + 2, param);
    }
    this.#buffers.give(buffer);
    return { ...result, session };
  }

  *invoke(
    session: number,
    func: number,
    cancelId: number,
    params: readonly DriverParam[],
    caller: Caller,
  ): Task<DriverResult> {
    const buffer = yield* this.#buffers.take();
    if (buffer === undefined) return commsError(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    const message = buffer.message();
    message.cmd = MSG_CMD.INVOKE_COMMAND;
    message.func = func;
    message.session = session;
    message.cancelId = cancelId;
    message.numParams = params.length;
    for (let index = 0; index < params.length; index += 1) {
      const param = params[index];
      if (param !== undefined) toMessageParam(message, index, param);
    }
    const system = this.#systemSessions.size > 0 && this.#systemSessions.has(session);
    const sent = yield* this.#call(buffer, params.length, caller, system);
    let result: DriverResult = COMMUNICATION;
    if (sent) {
      const back = buffer.message();
      result = outcome(back);
      for (let index = 0; index < params.length; index += 1) {
        const param = params[index];
        if (param !== undefined) fromMessageParam(back, index, param);
      }
    }
    this.#buffers.give(buffer);
    return result;
  }

  /** Makes a kernel client's session a system session; false where no thread can be kept (TEE-3.2). */
  systemSession(session: number): boolean {
    if (this.#systemSessions.has(session)) return true;
    if (!this.#queue.addSystemSession()) return false;
    this.#systemSessions.add(session);
    return true;
  }

  *closeSession(session: number, caller: Caller): Task {
    const system = this.#systemSessions.delete(session);
    yield* this.#simple(MSG_CMD.CLOSE_SESSION, session, 0, caller, system);
    if (system) this.#queue.removeSystemSession();
  }

  *cancel(session: number, cancelId: number, caller: Caller): Task {
    yield* this.#simple(MSG_CMD.CANCEL, session, cancelId, caller);
  }

  *#simple(cmd: number, session: number, cancelId: number, caller: Caller, system = false): Task {
    const buffer = yield* this.#buffers.take();
    if (buffer === undefined) return;
    const message = buffer.message();
    message.cmd = cmd;
    message.session = session;
    message.cancelId = cancelId;
    yield* this.#call(buffer, 0, caller, system);
    this.#buffers.give(buffer);
  }

  /** Registers an object with the secure world; 0 or a negative errno (SMC-9.10). */
  *registerShm(shm: TeeShm): Task<number> {
    const list = makePageList(this.kernel, shm.span.pages);
    if (list === undefined) return -ERRNO.ENOMEM;
    const ret = yield* this.#registration((message) => {
      message.cmd = MSG_CMD.REGISTER_SHM;
      message.numParams = 1;
      message.setWords(0, WORD.attr, 0, ATTR_TMEM_OUTPUT_NONCONTIG);
      message.setNumber(0, WORD.buf_ptr, (list[0] ?? 0) + shm.span.offset);
      message.setNumber(0, WORD.size, shm.size);
      message.setWords(0, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
    });
    this.kernel.pages.drop(list);
    shm.registered = ret === TEEC.TEEC_SUCCESS;
    return shm.registered ? 0 : -ERRNO.EINVAL;
  }

  /** Drops one reference; the last unregisters the object and frees its pages (TEE-3.3.2). */
  *releaseShm(shm: TeeShm): Task {
    shm.references -= 1;
    if (shm.references > 0) return;
    shm.context?.device.freeShmId(shm.id);
    if (shm.registered) {
      const ret = yield* this.#registration((message) => {
        message.cmd = MSG_CMD.UNREGISTER_SHM;
        message.numParams = 1;
        message.setWords(0, WORD.attr, 0, ATTR_TYPE.RMEM_INPUT);
        message.setWords(0, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
      });
      if (ret !== TEEC.TEEC_SUCCESS) this.kernel.log(`optee: failed to unregister shm ${shm.id}`);
    }
    if (shm.kind === "reserved") this.#pool?.free(shm);
    else this.kernel.freeShm(shm);
    const { context } = shm;
    if (context !== undefined) yield* context.device.putContext(context);
  }

  /** Registration messages always use a private page, never a registered one (SMC-9). */
  *#registration(fill: (message: MessageView) => void): Task<number> {
    const { kernel } = this;
    const shm = this.#allocatePrivate(PAGE_SIZE);
    if (shm === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    const fid =
      this.facts.rpcParamCount > 0 ? OPTEE_SMC.CALL_WITH_RPC_ARG : OPTEE_SMC.CALL_WITH_ARG;
    const buffer = MessageBuffers.single(kernel, shm, fid);
    fill(buffer.message());
    buffer.written();
    const sent = yield* this.#call(buffer, 1, kernelCaller());
    const ret = sent ? buffer.message().ret : TEEC.TEEC_ERROR_COMMUNICATION;
    kernel.freeShm(shm);
    return ret;
  }

  /** Memory for clients: registered when dynamic, from the pool otherwise; undefined when short. */
  *allocateShm(size: number, context: TeeContext, id: number): Task<TeeShm | undefined> {
    const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    if (this.#pool !== undefined) return this.#pool.allocate(rounded, context, id);
    const shm = this.kernel.allocateShm(rounded, context, id);
    if (shm === undefined) return undefined;
    if ((yield* this.registerShm(shm)) === 0) return shm;
    this.kernel.freeShm(shm);
    return undefined;
  }

  /** Memory for RPCs and messages, in whole pages and registered with nobody. */
  #allocatePrivate(size: number): TeeShm | undefined {
    const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    return this.#pool === undefined
      ? this.kernel.allocateShm(rounded, undefined, 0)
      : this.#pool.allocate(rounded);
  }

  #placement(): Placement {
    const rpcArg = this.facts.rpcParamCount > 0;
    if (this.dynamicShm) return rpcArg ? "registered" : "private";
    return rpcArg ? "reserved rpc" : "reserved";
  }

  *#makeEntry(): Task<TeeShm | undefined> {
    if (this.#pool !== undefined) return this.#pool.allocate(PAGE_SIZE);
    const shm = this.kernel.allocateShm(PAGE_SIZE, undefined, 0);
    if (shm === undefined || this.facts.rpcParamCount === 0) return shm;
    if ((yield* this.registerShm(shm)) === 0) return shm;
    this.kernel.freeShm(shm);
    return undefined;
  }

  /** Carries a message to the secure world and back; false when the transport failed (SMC-9.3). */
  *#call(buffer: MessageBuffer, params: number, caller: Caller, system = false): Task<boolean> {
    buffer.written();
    const { kernel } = this;
    const cpu = kernel.cpuForCall();
    const call: CallContext = { pageList: [], caller };
    const registers = new Registers();
    this.#entry(registers, buffer);
    yield* this.#queue.begin(system);
    let a0: number;
    for (;;) {
      kernel.smc(registers, cpu);
      a0 = registers.get(0);
      if (a0 === SMC_RETURN.ETHREAD_LIMIT) {
        yield* this.#queue.waitForCompletion(system);
        this.#entry(registers, buffer);
      } else if (isRpcReturn(a0)) {
        const rpcArg = buffer.hasRpcArg ? () => buffer.rpcArg(params) : undefined;
        yield* this.#rpc.serve(registers, rpcArg, () => buffer.written(), call);
        registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
      } else {
        break;
      }
    }
    this.#queue.end();
    kernel.pages.drop(call.pageList);
    return a0 === SMC_RETURN.OK;
  }

  /** a3 says where the message is in a registered object; otherwise it and a4 to a7 are 0 (SMC-9.1). */
  #entry(registers: Registers, buffer: MessageBuffer): void {
    registers.set(0, buffer.fid);
    for (let index = 3; index < 8; index += 1) registers.set(index, 0);
    if (buffer.fid === OPTEE_SMC.CALL_WITH_REGD_ARG) {
      registers.set(1, buffer.shm.cookieHigh);
      registers.set(2, buffer.shm.cookieLow);
      registers.set(3, buffer.offset);
    } else {
      registers.setPair(1, buffer.page + buffer.within);
    }
  }

  /** Memory that the kernel itself shares with TAs. */
  *allocateKernelShm(size: number): Task<TeeShm | undefined> {
    const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    if (this.#pool !== undefined) return this.#pool.allocate(rounded);
    const shm = this.kernel.allocateShm(rounded, undefined, 0);
    if (shm !== undefined && (yield* this.registerShm(shm)) !== 0) {
      this.kernel.freeShm(shm);
      return undefined;
    }
    return shm;
  }
}

const COMMUNICATION: DriverResult = {
  ret: TEEC.TEEC_ERROR_COMMUNICATION,
  origin: TEEC_ORIGIN.TEEC_ORIGIN_COMMS,
};

const commsError = (ret: number): DriverResult => ({
  ret,
  origin: TEEC_ORIGIN.TEEC_ORIGIN_COMMS,
});

const outcome = (message: MessageView): DriverResult => ({
  ret: message.ret,
  origin: message.retOrigin,
});

function setOctets(message: MessageView, index: number, octets: Uint8Array): void {
  const view = new DataView(octets.buffer, octets.byteOffset, 16);
  message.setWords(index, WORD.a, view.getUint32(4, true), view.getUint32(0, true));
  message.setWords(index, WORD.b, view.getUint32(12, true), view.getUint32(8, true));
}
