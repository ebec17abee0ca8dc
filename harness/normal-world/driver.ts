import { type Ipa, type MaybeTask, PAGE_SIZE, type Task } from "../machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  MSG_CMD,
  OPTEE_SMC,
  SEC_CAP,
  TEEC,
  TEEC_ORIGIN,
  WORD,
} from "../optee-abi/index.ts";
import { ERRNO } from "../tee-uapi/index.ts";
import { NotificationInterrupt } from "./async-notifications.ts";
import type { CallQueue } from "./call-queue.ts";
import { Carrier } from "./carrier.ts";
import type {
  DriverParam,
  DriverResult,
  InvokeRequest,
  OpenRequest,
  StoredResult,
} from "./driver-calls.ts";
import { COMMUNICATION, commsError, outcome, setOctets } from "./driver-calls.ts";
import { DEVICE_PTA_CMD, enumerateDevices } from "./device-enumeration.ts";
import type { Kernel } from "./kernel.ts";
import { type MessageBuffer, MessageBuffers, type Placement } from "./message-buffers.ts";
import { fromMessageParam, toMessageParam } from "./message-params.ts";
import { Notifications } from "./notifications.ts";
import { makePageList } from "./page-list.ts";
import { emptyShmCache, fastCalls, probe, type SecureWorldFacts } from "./probe.ts";
import { ProtectedHeap } from "./protected-heap.ts";
import { ReservedPool } from "./reserved-pool.ts";
import { RpmbRouting } from "./rpc-devices.ts";
import { RpcService } from "./rpc-service.ts";
import { dropReference, type TeeShm } from "./shm.ts";
import { type Caller, kernelCaller, SupplicantQueue } from "./supplicant-queue.ts";
import type { TeeContext } from "./tee-context.ts";

/** Linux's OP-TEE driver on the SMC transport. Everything that can sleep is a task. */
export class OpteeDriver {
  readonly kernel: Kernel;
  readonly facts: SecureWorldFacts;
  readonly supplicant = new SupplicantQueue();
  /** Protected memory to share, where the secure world has some. */
  readonly protectedHeap: ProtectedHeap | undefined;
  /** Answers for objects of the supplicant's context; set by the privileged device. */
  supplicantShm: (id: number) => TeeShm | undefined = () => undefined;
  readonly #queue: CallQueue;
  readonly #buffers: MessageBuffers;
  readonly #carrier: Carrier;
  readonly #rpc: RpcService;
  readonly #pool: ReservedPool | undefined;
  readonly #notifications: Notifications;
  readonly #interrupt: NotificationInterrupt | undefined;
  /** Sessions that may use the thread kept for them (TEE-3.2). */
  readonly #systemSessions = new Set<number>();

  private constructor(kernel: Kernel, facts: SecureWorldFacts, queue: CallQueue) {
    this.kernel = kernel;
    this.facts = facts;
    this.#queue = queue;
    const { protectedMemory } = facts;
    this.protectedHeap =
      protectedMemory === undefined ? undefined : new ProtectedHeap(protectedMemory);
    this.#notifications = new Notifications(facts.maxNotification);
    this.#pool = this.dynamicShm ? undefined : new ReservedPool(kernel, facts.reservedShm);
    this.#rpc = new RpcService({
      kernel,
      supplicant: this.supplicant,
      notifications: this.#notifications,
      allocate: (size) => this.#allocatePrivate(size),
      release: (shm) => this.releaseShm(shm),
      supplicantShm: (id) => this.supplicantShm(id),
      rpmb: this.#rpmbRouting(),
    });
    this.#carrier = new Carrier(kernel, queue, this.#rpc);
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
    if (driver.rpmbRoutingModel === "kernel" && (kernel.rpmb?.length ?? 0) > 0) {
      yield* enumerateDevices(driver, DEVICE_PTA_CMD.GET_DEVICES_RPMB);
    }
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

  /** Who serves RPMB: the kernel needs devices and a secure world that asks for them (SMC-9.8). */
  get rpmbRoutingModel(): "kernel" | "user" {
    const probes = (this.facts.capabilities & SEC_CAP.RPMB_PROBE) !== 0;
    return probes && this.kernel.rpmb !== undefined ? "kernel" : "user";
  }

  #rpmbRouting(): RpmbRouting | undefined {
    const { rpmb } = this.kernel;
    return rpmb !== undefined && this.rpmbRoutingModel === "kernel"
      ? new RpmbRouting(this.kernel, rpmb)
      : undefined;
  }

  get memrefNull(): boolean {
    return (this.facts.capabilities & SEC_CAP.MEMREF_NULL) !== 0;
  }

  /** Calls into the secure world that have not returned. */
  get callsRunning(): number {
    return this.#queue.running;
  }

  /** How often the secure world asked for each RPC command. */
  get rpcCommands(): ReadonlyMap<number, number> {
    return this.#rpc.commands;
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
    const request = { session, func, cancelId, params, count: params.length };
    const result = { ret: 0, origin: 0 };
    const later = this.invokeInto(request, caller, result);
    if (later !== undefined) yield* later;
    return result;
  }

  /**
   * As `invoke`, with the first `count` parameters and the result stored into `result`. Undefined when
   * all is done, else the task that remains.
   */
  invokeInto(request: InvokeRequest, caller: Caller, result: StoredResult): Task | undefined {
    const buffer = this.#buffers.takeFree();
    if (buffer === undefined) return this.#invokeInNew(request, caller, result);
    const sent = this.#sendInvoke(buffer, request, caller);
    if (typeof sent !== "boolean") return this.#endInvoke(buffer, request, result, sent);
    this.#invoked(buffer, request, result, sent);
    return undefined;
  }

  *#invokeInNew(request: InvokeRequest, caller: Caller, result: StoredResult): Task {
    const buffer = yield* this.#buffers.take();
    if (buffer === undefined) {
      result.ret = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
      result.origin = TEEC_ORIGIN.TEEC_ORIGIN_COMMS;
      return;
    }
    const sent = this.#sendInvoke(buffer, request, caller);
    if (typeof sent === "boolean") this.#invoked(buffer, request, result, sent);
    else yield* this.#endInvoke(buffer, request, result, sent);
  }

  *#endInvoke(
    buffer: MessageBuffer,
    request: InvokeRequest,
    result: StoredResult,
    sending: Task<boolean>,
  ): Task {
    this.#invoked(buffer, request, result, yield* sending);
  }

  #sendInvoke(
    buffer: MessageBuffer,
    { session, func, cancelId, params, count }: InvokeRequest,
    caller: Caller,
  ): MaybeTask<boolean> {
    const message = buffer.message();
    message.cmd = MSG_CMD.INVOKE_COMMAND;
    message.func = func;
    message.session = session;
    message.cancelId = cancelId;
    message.numParams = count;
    for (let index = 0; index < count; index += 1) {
      const param = params[index];
      if (param !== undefined) toMessageParam(message, index, param);
    }
    const system = this.#systemSessions.size > 0 && this.#systemSessions.has(session);
    return this.#carrier.send(buffer, count, caller, system);
  }

  #invoked(
    buffer: MessageBuffer,
    { params, count }: InvokeRequest,
    result: StoredResult,
    sent: boolean,
  ): void {
    result.ret = COMMUNICATION.ret;
    result.origin = COMMUNICATION.origin;
    if (sent) {
      const back = buffer.message();
      result.ret = back.ret;
      result.origin = back.retOrigin;
      for (let index = 0; index < count; index += 1) {
        const param = params[index];
        if (param !== undefined) fromMessageParam(back, index, param);
      }
    }
    this.#buffers.give(buffer);
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
    const done = this.register(shm);
    return typeof done === "number" ? done : yield* done;
  }

  /** As `registerShm`; a task only where something has to wait. */
  register(shm: TeeShm): MaybeTask<number> {
    const list = makePageList(this.kernel, shm.span.pages);
    if (list === undefined) return -ERRNO.ENOMEM;
    const sent = this.#registration(shm, (list[0] ?? 0) + shm.span.offset);
    return typeof sent === "number"
      ? this.#endRegister(shm, list, sent)
      : this.#registerLater(shm, list, sent);
  }

  *#registerLater(shm: TeeShm, list: readonly Ipa[], sending: Task<number>): Task<number> {
    return this.#endRegister(shm, list, yield* sending);
  }

  #endRegister(shm: TeeShm, list: readonly Ipa[], ret: number): number {
    this.kernel.pages.drop(list);
    shm.registered = ret === TEEC.TEEC_SUCCESS;
    return shm.registered ? 0 : -ERRNO.EINVAL;
  }

  /** Drops one reference; the last unregisters the object and frees its pages (TEE-3.3.2). */
  *releaseShm(shm: TeeShm): Task {
    const later = this.release(shm);
    if (later !== undefined) yield* later;
  }

  /** As `releaseShm`; undefined when all is done, else the task that remains. */
  release(shm: TeeShm): Task | undefined {
    if (dropReference(shm)) return undefined;
    shm.context?.device.freeShmId(shm.id);
    const sent = shm.registered ? this.#registration(shm, undefined) : TEEC.TEEC_SUCCESS;
    return typeof sent === "number" ? this.#endRelease(shm, sent) : this.#releaseLater(shm, sent);
  }

  *#releaseLater(shm: TeeShm, sending: Task<number>): Task {
    const later = this.#endRelease(shm, yield* sending);
    if (later !== undefined) yield* later;
  }

  #endRelease(shm: TeeShm, ret: number): Task | undefined {
    if (ret !== TEEC.TEEC_SUCCESS) this.kernel.log(`optee: failed to unregister shm ${shm.id}`);
    this.#free(shm);
    const { context } = shm;
    if (context === undefined) return undefined;
    if (context.references === 1) return context.device.putContext(context);
    context.references -= 1;
    return undefined;
  }

  /**
   * Registers an object with the list at `bufPtr`, or unregisters it; the result code. These messages
   * always use a private page, never a registered one (SMC-9).
   */
  #registration(shm: TeeShm, bufPtr: number | undefined): MaybeTask<number> {
    const page = this.#allocatePrivate(PAGE_SIZE);
    if (page === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    const fid =
      this.facts.rpcParamCount > 0 ? OPTEE_SMC.CALL_WITH_RPC_ARG : OPTEE_SMC.CALL_WITH_ARG;
    const buffer = MessageBuffers.single(this.kernel, page, fid);
    const message = buffer.message();
    message.numParams = 1;
    if (bufPtr === undefined) {
      message.cmd = MSG_CMD.UNREGISTER_SHM;
      message.setWords(0, WORD.attr, 0, ATTR_TYPE.RMEM_INPUT);
    } else {
      message.cmd = MSG_CMD.REGISTER_SHM;
      message.setWords(0, WORD.attr, 0, ATTR_TMEM_OUTPUT_NONCONTIG);
      message.setNumber(0, WORD.buf_ptr, bufPtr);
      message.setNumber(0, WORD.size, shm.size);
    }
    message.setWords(0, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
    const sent = this.#carrier.send(buffer, 1, kernelCaller());
    return typeof sent === "boolean"
      ? this.#registered(buffer, sent)
      : this.#endRegistration(buffer, sent);
  }

  *#endRegistration(buffer: MessageBuffer, sending: Task<boolean>): Task<number> {
    return this.#registered(buffer, yield* sending);
  }

  #registered(buffer: MessageBuffer, sent: boolean): number {
    const ret = sent ? buffer.message().ret : TEEC.TEEC_ERROR_COMMUNICATION;
    this.#free(buffer.shm);
    return ret;
  }

  #free(shm: TeeShm): void {
    if (shm.kind === "reserved") this.#pool?.free(shm);
    else this.kernel.freeShm(shm);
  }

  /**
   * Memory to share with TAs, for a client or for the kernel itself: registered when dynamic, from the
   * pool otherwise; undefined when short.
   */
  *allocateShm(size: number, context?: TeeContext, id = 0): Task<TeeShm | undefined> {
    const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
    if (this.#pool !== undefined) return this.#pool.allocate(rounded, context, id);
    const shm = this.kernel.allocateShm(rounded, context, id);
    if (shm === undefined) return undefined;
    if ((yield* this.registerShm(shm)) === 0) return shm;
    this.kernel.freeShm(shm);
    return undefined;
  }

  /** Memory for the supplicant's device, which the secure world learns about in RPCs only (TEE-3.3.4). */
  allocateForSupplicant(size: number, context: TeeContext, id: number): TeeShm | undefined {
    return this.#pool === undefined
      ? this.kernel.allocateShm(size, context, id)
      : this.#pool.allocate(size, context, id);
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
    return this.facts.rpcParamCount === 0
      ? this.#allocatePrivate(PAGE_SIZE)
      : yield* this.allocateShm(PAGE_SIZE);
  }

  *#call(buffer: MessageBuffer, params: number, caller: Caller, system = false): Task<boolean> {
    const sent = this.#carrier.send(buffer, params, caller, system);
    return typeof sent === "boolean" ? sent : yield* sent;
  }
}
