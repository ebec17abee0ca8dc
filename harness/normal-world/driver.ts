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
  UUIDS,
  WORD,
} from "../optee-abi/index.ts";
import { uuidOctets } from "../base/index.ts";
import { ERRNO, Param, TEE_LOGIN } from "../tee-uapi/index.ts";
import { CallQueue } from "./call-queue.ts";
import type { Kernel } from "./kernel.ts";
import { type MessageBuffer, MessageBuffers, type Placement } from "./message-buffers.ts";
import { fromMessageParam, toMessageParam } from "./message-params.ts";
import { Notifications } from "./notifications.ts";
import { makePageList } from "./page-list.ts";
import { probe, type SecureWorldFacts } from "./probe.ts";
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
  readonly #releaseShm: (shm: TeeShm) => Task;

  private constructor(kernel: Kernel, facts: SecureWorldFacts) {
    this.kernel = kernel;
    this.facts = facts;
    this.#queue = new CallQueue(facts.threadCount);
    this.#pool = this.dynamicShm ? undefined : new ReservedPool(kernel, facts.reservedShm);
    this.#releaseShm = (shm) => this.releaseShm(shm);
    this.#rpc = new RpcService({
      kernel,
      supplicant: this.supplicant,
      notifications: new Notifications(facts.maxNotification),
      allocate: (size) => this.#pool?.allocate(size) ?? kernel.allocateShm(size, undefined, 0),
      release: this.#releaseShm,
      supplicantShm: (id) => this.supplicantShm(id),
    });
    this.#buffers = new MessageBuffers(kernel, this.#placement(), () => this.#makeEntry());
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
    const driver = new OpteeDriver(kernel, found.facts);
    yield* driver.enumerateDevices(0);
    return { ok: true, driver };
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
    const sent = yield* this.#call(buffer, params.length, caller);
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

  *closeSession(session: number): Task {
    yield* this.#simple(MSG_CMD.CLOSE_SESSION, session, 0);
  }

  *cancel(session: number, cancelId: number): Task {
    yield* this.#simple(MSG_CMD.CANCEL, session, cancelId);
  }

  *#simple(cmd: number, session: number, cancelId: number): Task {
    const buffer = yield* this.#buffers.take();
    if (buffer === undefined) return;
    const message = buffer.message();
    message.cmd = cmd;
    message.session = session;
    message.cancelId = cancelId;
    yield* this.#call(buffer, 0, kernelCaller());
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
    const shm = kernel.allocateShm(PAGE_SIZE, undefined, 0);
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
  *#call(buffer: MessageBuffer, params: number, caller: Caller): Task<boolean> {
    buffer.written();
    const { kernel } = this;
    const cpu = kernel.cpuForCall();
    const call: CallContext = { pageList: [], caller };
    const registers = new Registers();
    this.#entry(registers, buffer);
    yield* this.#queue.begin();
    let a0: number;
    for (;;) {
      kernel.smc(registers, cpu);
      a0 = registers.get(0);
      if (a0 === SMC_RETURN.ETHREAD_LIMIT) {
        yield* this.#queue.waitForCompletion();
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

  /**
   * Asks the device-enumeration pseudo-TA which TAs want a device: first the size with a NULL buffer,
   * then the list (SMC-9.12). `command` 0 at probe, 1 when the supplicant first opens.
   */
  *enumerateDevices(command: number): Task {
    const caller = kernelCaller();
    const opened = yield* this.openSession(
      undefined,
      {
        uuid: uuidOctets(UUIDS.deviceEnumeration),
        clientUuid: new Uint8Array(16),
        login: TEE_LOGIN.REE_KERNEL,
        cancelId: 0,
      },
      [],
      caller,
    );
    if (opened.ret !== TEEC.TEEC_SUCCESS) return;
    yield* this.#listDevices(opened.session, command, caller);
    yield* this.closeSession(opened.session);
  }

  *#listDevices(session: number, command: number, caller: Caller): Task {
    const query = { param: new Param().setNullMemref(6), shm: undefined };
    const first = yield* this.invoke(session, command, 0, [query], caller);
    if (first.ret !== TEEC.TEEC_ERROR_SHORT_BUFFER || query.param.bNumber === 0) return;
    const size = query.param.bNumber;
    const shm = yield* this.allocateKernelShm(size);
    if (shm === undefined) return;
    const list = { param: new Param().set(6, 0, size, 0), shm };
    const second = yield* this.invoke(session, command, 0, [list], caller);
    if (second.ret === TEEC.TEEC_SUCCESS) this.#addDevices(shm.span.read(0, size));
    yield* this.releaseShm(shm);
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

  #addDevices(octets: Uint8Array): void {
    for (let at = 0; at + 16 <= octets.length; at += 16) {
      const hex = Buffer.from(octets.subarray(at, at + 16)).toString("hex");
      this.devices.push(hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"));
    }
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
