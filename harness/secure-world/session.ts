import { SecureCondition, type SecureMutex } from "./sync.ts";
import type { TaContext } from "./ta-context.ts";
import type { TeeApi } from "./tas/tee-api.ts";
import type { TaParams } from "./param.ts";
import type { MaybeSecure, SecureTask, Thread } from "./thread.ts";

/** A result code and who produced it. */
export interface Outcome {
  readonly result: number;
  readonly origin: number;
}

/** The session manager, as a TA that is itself a client uses it; `open` is the client's own list. */
export interface SessionCalls {
  openSession(
    thread: Thread,
    open: Session[],
    uuid: string,
    client: ClientIdentity,
    timeoutMs: number,
    params: TaParams,
  ): SecureTask<Outcome & { readonly session: number }>;
  invokeCommand(
    thread: Thread,
    open: Session[],
    id: number,
    timeoutMs: number,
    command: number,
    params: TaParams,
  ): MaybeSecure<Outcome>;
  closeSession(thread: Thread, open: Session[], id: number): SecureTask<number>;
}

/** Who opened a session. */
export interface ClientIdentity {
  readonly login: number;
  /** Lower-case text. */
  readonly uuid: string;
  /** The instance, where a TA opened it. */
  readonly instance?: number;
}

export class Session {
  readonly id: number;
  readonly client: ClientIdentity;
  context: TaContext | undefined;
  /** Its TA is being loaded. */
  loading = false;
  api: TeeApi | undefined;
  /** The call that opened it or uses it, and calls that wait for it. */
  references = 1;
  lockedBy: Thread | undefined;
  unlinked = false;
  /** Whether the TA knows it: its open entry point succeeded. */
  openInTa = false;
  /** Origin of its next result: TRUSTED_APP once the TA was entered (MSG-2.4). */
  origin = 0;
  readonly unlocked: SecureCondition;
  readonly idle: SecureCondition;
  /** Cancellation: requested, masked by the TA, and when the invocation times out (ms). */
  cancelled = false;
  cancelMask = true;
  cancelAtMs = Number.POSITIVE_INFINITY;

  constructor(
    id: number,
    client: ClientIdentity,
    lockedBy: Thread | undefined,
    mutex: SecureMutex,
  ) {
    this.id = id;
    this.client = client;
    this.lockedBy = lockedBy;
    this.unlocked = new SecureCondition(mutex);
    this.idle = new SecureCondition(mutex);
  }
}

/** The id of the next session in `open`: that of the last plus one, 0 and used ones skipped (MSG-2.1.2). */
export function nextSessionId(open: readonly Session[]): number {
  const last = open.at(-1);
  let id = last === undefined ? 1 : (last.id + 1) >>> 0;
  for (;;) {
    if (id === 0) id = 1;
    const candidate = id;
    if (!open.some((session) => session.id === candidate)) return id;
    id = (id + 1) >>> 0;
  }
}

const SECONDS_LIMIT = 0xffff_ffff;

/**
 * When an operation of `timeoutMs` that starts now is cancelled, in ms. As upstream computes it: where
 * the milliseconds of both add up to more than a second, the result is the next second but one,
 * whatever the timeout's own seconds (tee_ta_manager.c: set_invoke_timeout).
 */
export function cancellationTime(nowMs: number, timeoutMs: number): number {
  if (timeoutMs === 0xffff_ffff) return Number.POSITIVE_INFINITY;
  const now = Math.floor(nowMs / 1000);
  const millis = (nowMs % 1000) + (timeoutMs % 1000);
  const seconds = millis > 1000 ? now + 2 : now + Math.floor(timeoutMs / 1000);
  if (seconds > SECONDS_LIMIT) return Number.POSITIVE_INFINITY;
  return seconds * 1000 + (millis > 1000 ? millis - 1000 : millis);
}
