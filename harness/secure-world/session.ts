import { SecureCondition } from "./sync.ts";
import type { TaContext } from "./ta-context.ts";
import type { TeeApi } from "./tas/tee-api.ts";
import type { TaParams } from "./param.ts";
import type { SecureTask, Thread } from "./thread.ts";

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
  ): SecureTask<Outcome>;
  closeSession(thread: Thread, open: Session[], id: number): SecureTask<number>;
}

/** Who opened a session. */
export interface ClientIdentity {
  readonly login: number;
  /** Lower-case text. */
  readonly uuid: string;
}

export class Session {
  readonly id: number;
  readonly client: ClientIdentity;
  context: TaContext | undefined;
  api: TeeApi | undefined;
  /** The call that opened it or uses it, and calls that wait for it. */
  references = 1;
  lockedBy: Thread | undefined;
  unlinked = false;
  readonly unlocked = new SecureCondition();
  readonly idle = new SecureCondition();
  /** Cancellation: requested, masked by the TA, and when the invocation times out (ms). */
  cancelled = false;
  cancelMask = true;
  cancelAtMs = Number.POSITIVE_INFINITY;

  constructor(id: number, client: ClientIdentity, thread: Thread) {
    this.id = id;
    this.client = client;
    this.lockedBy = thread;
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
