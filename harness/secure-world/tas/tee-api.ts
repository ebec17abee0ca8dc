import { LOGIN, RPC_CMD, TEEC } from "../../optee-abi/index.ts";
import type { TaParams } from "../param.ts";
import { foreignInterrupt, rpcCommand, rpcValue, rpcWord } from "../rpc.ts";
import type { ClientIdentity, Outcome, Session, SessionCalls } from "../session.ts";
import type { TaContext } from "../ta-context.ts";
import { codeOf } from "../storage/failure.ts";
import { isTask, type SecureTask, type Thread } from "../thread.ts";
import { TaPanic } from "./ta.ts";
import { TeeStorage } from "./tee-api-storage.ts";

export const TEE_TIMEOUT_INFINITE = 0xffff_ffff;

/**
 * What a TA may ask of the TEE, for one session. The same object is passed to every entry point of
 * that session, so a TA can key its per-session state on it.
 */
export class TeeApi {
  readonly #session: Session;
  readonly #context: TaContext;
  readonly #calls: SessionCalls;
  /** Transient and persistent objects, which all sessions of an instance share. */
  readonly storage: TeeStorage;
  #thread: Thread | undefined;

  constructor(session: Session, context: TaContext, calls: SessionCalls) {
    this.#session = session;
    this.#context = context;
    this.#calls = calls;
    this.storage = new TeeStorage(this, context.objects);
  }

  /** For the session manager: `thread` starts to execute TA code. */
  enter(thread: Thread): void {
    this.#thread = thread;
  }

  leave(): void {
    this.#thread = undefined;
  }

  /** gpd.client.identity. */
  get client(): ClientIdentity {
    return this.#session.client;
  }

  /** The thread that executes, for pseudo-TAs, which are part of the core. */
  get thread(): Thread {
    const thread = this.#thread;
    if (thread === undefined) throw new Error("a TA ran outside of its entry points");
    return thread;
  }

  /** Ends the TA instance. */
  panic(code: number): never {
    throw new TaPanic(code >>> 0);
  }

  /**
   * The normal world has a new RPMB part: where there is no storage in files it is looked for at once,
   * elsewhere when it is needed (RPMB-5.1.4). False when there is none to be had.
   */
  *rpmbAnnounced(): SecureTask<boolean> {
    const { core, storage } = this.#context.partition;
    if (core.build.reeFs) return true;
    if (storage.rpmb === undefined) return false;
    return (yield* codeOf(storage.rpmb.reinit(this.thread))) === TEEC.TEEC_SUCCESS;
  }

  /** TEE_GetSystemTime, in milliseconds. */
  systemTimeMs(): number {
    return this.#context.partition.core.nowMs();
  }

  /** TEE_GetREETime: milliseconds since the Unix epoch, from the normal world. */
  *reeTimeMs(): SecureTask<{ readonly result: number; readonly ms: number }> {
    const time = rpcValue("out");
    const result = yield* rpcCommand(this.thread, RPC_CMD.GET_TIME, [time]);
    return { result, ms: rpcWord(time, 0) * 1000 + Math.floor(rpcWord(time, 1) / 1e6) };
  }

  /** TEE_Wait: SUCCESS after `ms`, or CANCEL as soon as a cancellation is seen. */
  *wait(ms: number): SecureTask<number> {
    const end = this.systemTimeMs() + ms;
    for (;;) {
      if (this.cancelled) return TEEC.TEEC_ERROR_CANCEL;
      const left = end - this.systemTimeMs();
      if (left <= 0) return TEEC.TEEC_SUCCESS;
      yield* rpcCommand(this.thread, RPC_CMD.SUSPEND, [rpcValue("in", Math.ceil(left))]);
    }
  }

  /** TEE_GetCancellationFlag, which a masked TA never sees set. */
  get cancelled(): boolean {
    const session = this.#session;
    return !session.cancelMask && (session.cancelled || this.systemTimeMs() >= session.cancelAtMs);
  }

  /** TEE_MaskCancellation and TEE_UnmaskCancellation; gives the mask as it was. */
  maskCancellation(masked: boolean): boolean {
    const before = this.#session.cancelMask;
    this.#session.cancelMask = masked;
    return before;
  }

  /** A place where an interrupt of the normal world can be taken: long computations have many. */
  *preempt(): SecureTask {
    yield* foreignInterrupt(this.thread);
  }

  /** TEE_OpenTASession. */
  *openTaSession(
    uuid: string,
    params: TaParams,
    timeoutMs = TEE_TIMEOUT_INFINITE,
  ): SecureTask<Outcome & { readonly session: number }> {
    const list = this.#context.openSessions;
    const client = {
      login: LOGIN.TRUSTED_APP,
      uuid: this.#context.ta.uuid,
      instance: this.#context.id,
    };
    return yield* this.#calls.openSession(this.thread, list, uuid, client, timeoutMs, params);
  }

  /** TEE_InvokeTACommand. */
  *invokeTaCommand(
    session: number,
    command: number,
    params: TaParams,
    timeoutMs = TEE_TIMEOUT_INFINITE,
  ): SecureTask<Outcome> {
    const list = this.#context.openSessions;
    const { thread } = this;
    const outcome = this.#calls.invokeCommand(thread, list, session, timeoutMs, command, params);
    return isTask(outcome) ? yield* outcome : outcome;
  }

  /** TEE_CloseTASession. */
  *closeTaSession(session: number): SecureTask {
    yield* this.#calls.closeSession(this.thread, this.#context.openSessions, session);
  }
}
