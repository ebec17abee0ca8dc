import { TEEC, TEEC_ORIGIN } from "../optee-abi/index.ts";
import type { Partition } from "./partition.ts";
import type { TaParams } from "./param.ts";
import {
  cancellationTime,
  type ClientIdentity,
  nextSessionId,
  type Outcome,
  Session,
  type SessionCalls,
} from "./session.ts";
import { TaContext } from "./ta-context.ts";
import { loadUserTa } from "./ta-loader.ts";
import { enterClose, enterInvoke, enterOpen } from "./ta-entry.ts";
import { TA_FLAG } from "./tas/ta.ts";
import { TeeApi } from "./tas/tee-api.ts";
import type { MaybeSecure, SecureTask, Thread } from "./thread.ts";

const TEE = TEEC_ORIGIN.TEEC_ORIGIN_TEE;
const fromTee = (result: number): Outcome => ({ result, origin: TEE });

/** Opens a session of `client` in the list `open`. Gives its id, 0 unless the result is SUCCESS. */
export function* openSession(
  thread: Thread,
  open: Session[],
  uuid: string,
  client: ClientIdentity,
  timeoutMs: number,
  params: TaParams,
): SecureTask<Outcome & { readonly session: number }> {
  const { locksOpening } = thread.partition.core.features;
  const { taMutex } = thread.partition;
  const id = nextSessionId(open);
  const session = new Session(id, client, locksOpening ? thread : undefined, taMutex);
  open.push(session);
  const found = yield* findContext(thread, session, uuid);
  const context = session.context;
  if (found !== TEEC.TEEC_SUCCESS || context === undefined) {
    // Another thread may have guessed the id and wait: upstream frees the session under it.
    yield* unlink(thread, session, open);
    return { ...fromTee(found), session: 0 };
  }
  let outcome: Outcome;
  if (!mayHave(context, params)) {
    outcome = fromTee(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  } else if (yield* context.enter(thread)) {
    outcome = yield* runOpen(thread, session, context, timeoutMs, params);
    yield* context.leave(thread) ?? [];
  } else {
    outcome = fromTee(TEEC.TEEC_ERROR_BUSY);
  }
  if (outcome.result !== TEEC.TEEC_SUCCESS) {
    yield* endSession(thread, session, open);
    return { ...outcome, session: 0 };
  }
  yield* putSession(thread, session);
  return { ...outcome, session: session.id };
}

function* runOpen(
  thread: Thread,
  session: Session,
  context: TaContext,
  timeoutMs: number,
  params: TaParams,
): SecureTask<Outcome> {
  let result = 0;
  if (!context.panicked) {
    session.api = new TeeApi(session, context, CALLS);
    startTimeout(session, context, timeoutMs);
    result = yield* enterOpen(thread, session, context, params);
  }
  if (context.panicked) return yield* panicked(thread, context);
  return { result, origin: session.origin };
}

/** Invokes a command in a session of `open` (MSG-2). A task only where something has to wait. */
export function invokeCommand(
  thread: Thread,
  open: Session[],
  id: number,
  timeoutMs: number,
  command: number,
  params: TaParams,
): MaybeSecure<Outcome> {
  const session = findSession(open, id);
  const isQuiet = thread.partition.taMutex.isQuiet;
  if (session === undefined && isQuiet) return fromTee(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  const context = session?.context;
  if (
    session === undefined ||
    !isQuiet ||
    session.lockedBy !== undefined ||
    context === undefined ||
    context.panicked
  ) {
    return invokeWaiting(thread, open, id, timeoutMs, command, params);
  }
  session.references += 1;
  session.lockedBy = thread;
  if (!mayHave(context, params) || !context.tryEnter()) {
    return invokeEntering(thread, session, timeoutMs, command, params);
  }
  startTimeout(session, context, timeoutMs);
  const result = enterInvoke(thread, session, context, command, params);
  if (typeof result !== "number" || context.panicked) {
    return invokeRunning(thread, session, context, result);
  }
  const outcome = { result, origin: session.origin };
  const rest = context.leave(thread);
  return rest === undefined && thread.partition.taMutex.isQuiet
    ? release(session, outcome)
    : leaveInvoked(thread, session, outcome, rest);
}

/** The end of an invocation that nobody waits for. */
function release(session: Session, outcome: Outcome): Outcome {
  session.lockedBy = undefined;
  session.references -= 1;
  return outcome;
}

function* invokeWaiting(
  thread: Thread,
  open: readonly Session[],
  id: number,
  timeoutMs: number,
  command: number,
  params: TaParams,
): SecureTask<Outcome> {
  const session = yield* getSession(thread, open, id);
  if (session === undefined) return fromTee(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  return yield* invokeEntering(thread, session, timeoutMs, command, params);
}

/** In a session that the thread has locked. */
function* invokeEntering(
  thread: Thread,
  session: Session,
  timeoutMs: number,
  command: number,
  params: TaParams,
): SecureTask<Outcome> {
  const { context } = session;
  if (context === undefined && !thread.partition.core.features.locksOpening) {
    return yield* invokeTooEarly(thread, session);
  }
  let outcome = fromTee(TEEC.TEEC_ERROR_BAD_STATE);
  if (context !== undefined && !mayHave(context, params)) {
    outcome = fromTee(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  } else if (context !== undefined) {
    outcome = fromTee(TEEC.TEEC_ERROR_BUSY);
    if (yield* context.enter(thread)) {
      let result: MaybeSecure<number> = 0;
      if (!context.panicked) {
        startTimeout(session, context, timeoutMs);
        result = enterInvoke(thread, session, context, command, params);
      }
      return yield* invokeRunning(thread, session, context, result);
    }
  }
  yield* putSession(thread, session);
  return outcome;
}

/** Before 4.10 nothing kept a client from a session whose TA is only being loaded, or waited for. */
function* invokeTooEarly(thread: Thread, session: Session): SecureTask<Outcome> {
  if (!session.loading) {
    thread.partition.core.panic("an invocation in a session without a TA", {
      expected: "a session that is open",
      seen: `session ${session.id}, which waits for its TA`,
    });
  }
  yield* putSession(thread, session);
  return { result: TEEC.TEEC_ERROR_ACCESS_DENIED, origin: 0 };
}

/** In a session that the thread has locked and an instance that it has entered. */
function* invokeRunning(
  thread: Thread,
  session: Session,
  context: TaContext,
  running: MaybeSecure<number>,
): SecureTask<Outcome> {
  const result = typeof running === "number" ? running : yield* running;
  const outcome = context.panicked
    ? yield* panicked(thread, context)
    : { result, origin: session.origin };
  return yield* leaveInvoked(thread, session, outcome, context.leave(thread));
}

function* leaveInvoked(
  thread: Thread,
  session: Session,
  outcome: Outcome,
  leaving: SecureTask | undefined,
): SecureTask<Outcome> {
  if (leaving !== undefined) yield* leaving;
  yield* putSession(thread, session);
  return outcome;
}

/** Protected memory is for TAs that ask for it in their flags. */
function mayHave(context: TaContext, params: TaParams): boolean {
  if (context.partition.core.features.protectedMemory === undefined) return true;
  if (context.has(TA_FLAG.SECURE_DATA_PATH)) return true;
  return !params.some((param) => param.isProtected && param.size > 0);
}

/** Closes a session of `open`; ITEM_NOT_FOUND when there is none with that id. */
export function* closeSession(thread: Thread, open: Session[], id: number): SecureTask<number> {
  const session = yield* getSession(thread, open, id);
  if (session === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
  yield* endSession(thread, session, open);
  return TEEC.TEEC_SUCCESS;
}

/** Sets the cancel flag; BAD_PARAMETERS when there is no such session (MSG-2). */
export function cancelCommand(open: readonly Session[], id: number): number {
  const session = open.find((one) => one.id === id && !one.unlinked);
  if (session === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  session.cancelled = true;
  return TEEC.TEEC_SUCCESS;
}

function* findContext(thread: Thread, session: Session, uuid: string): SecureTask<number> {
  const { partition } = thread;
  const joined = yield* joinLoaded(thread, partition, session, uuid);
  const pseudo = partition.core.pseudoTas.get(uuid);
  if (joined === TEEC.TEEC_ERROR_ITEM_NOT_FOUND && pseudo === undefined) {
    return yield* loadUserTa(thread, session, uuid);
  }
  let result = joined;
  if (joined === TEEC.TEEC_ERROR_ITEM_NOT_FOUND && pseudo !== undefined) {
    const context = new TaContext(partition, pseudo, true, 0);
    partition.contexts.push(context);
    session.context = context;
    result = TEEC.TEEC_SUCCESS;
  }
  yield* partition.taMutex.leave(thread) ?? [];
  return result;
}

function* joinLoaded(
  thread: Thread,
  partition: Partition,
  session: Session,
  uuid: string,
): SecureTask<number> {
  for (;;) {
    const context = partition.contexts.find((one) => one.ta.uuid === uuid);
    if (context === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    if (context.initializing) {
      yield* partition.contextInitialized.wait(thread);
      continue;
    }
    if (!context.has(TA_FLAG.SINGLE_INSTANCE)) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    if (!context.has(TA_FLAG.MULTI_SESSION) && context.references > 0) {
      return TEEC.TEEC_ERROR_BUSY;
    }
    context.references += 1;
    session.context = context;
    return TEEC.TEEC_SUCCESS;
  }
}

/**
 * A panicked instance leaves the list and all that it had is freed, unless it is kept to remember
 * that it crashed (MSG-2.1.3).
 */
function* panicked(thread: Thread, context: TaContext): SecureTask<Outcome> {
  if (!context.keepCrashed) {
    const isFirst = context.unlist();
    yield* thread.partition.taMutex.leave(thread) ?? [];
    if (isFirst) yield* releaseState(thread, context);
  }
  return fromTee(TEEC.TEEC_ERROR_TARGET_DEAD);
}

function findSession(open: readonly Session[], id: number): Session | undefined {
  for (let index = 0; index < open.length; index += 1) {
    const session = open[index];
    if (session?.id === id) return session.unlinked ? undefined : session;
  }
  return undefined;
}

function* getSession(
  thread: Thread,
  open: readonly Session[],
  id: number,
): SecureTask<Session | undefined> {
  const session = findSession(open, id);
  const isLocked = session !== undefined && (yield* lockSession(thread, session));
  yield* thread.partition.taMutex.leave(thread) ?? [];
  return isLocked ? session : undefined;
}

/** Waits for a session and locks it; false when it was closed meanwhile. */
function* lockSession(thread: Thread, session: Session): SecureTask<boolean> {
  session.references += 1;
  while (session.lockedBy !== undefined && !session.unlinked) {
    yield* session.unlocked.wait(thread);
  }
  if (session.unlinked) {
    dropReference(session);
    return false;
  }
  session.lockedBy = thread;
  return true;
}

function* putSession(thread: Thread, session: Session): SecureTask {
  if (session.lockedBy === thread) {
    session.lockedBy = undefined;
    session.unlocked.signal();
  }
  dropReference(session);
  yield* thread.partition.taMutex.leave(thread) ?? [];
}

function dropReference(session: Session): void {
  session.references -= 1;
  if (session.references === 1) session.idle.signal();
}

/** Closes what `thread` holds locked: the TA's close entry, then the session, then the instance. */
function* endSession(thread: Thread, session: Session, open: Session[]): SecureTask {
  const { context } = session;
  if (context === undefined) return;
  if (context.panicked) {
    yield* unlink(thread, session, open);
  } else {
    const entered = yield* context.enter(thread);
    session.cancelAtMs = Number.POSITIVE_INFINITY;
    if (session.api !== undefined) yield* enterClose(thread, session, context);
    yield* unlink(thread, session, open);
    if (entered) yield* context.leave(thread) ?? [];
  }
  context.references -= 1;
  const { keepAlive, keepCrashed } = context;
  const stays = context.references > 0 || (keepAlive && !(context.panicked && !keepCrashed));
  if (!stays) context.unlist();
  yield* thread.partition.taMutex.leave(thread) ?? [];
  if (!stays) yield* releaseState(thread, context);
}

function* unlink(thread: Thread, session: Session, open: Session[]): SecureTask {
  session.unlinked = true;
  session.unlocked.broadcast();
  while (session.references > 1) yield* session.idle.wait(thread);
  open.splice(open.indexOf(session), 1);
  yield* thread.partition.taMutex.leave(thread) ?? [];
}

/** Closes the sessions and the objects that an instance opened, and gives its RAM back; once. */
function* releaseState(thread: Thread, context: TaContext): SecureTask {
  yield* context.objects.closeAll(thread);
  for (let first = context.openSessions[0]; first !== undefined; first = context.openSessions[0]) {
    const closed = yield* closeSession(thread, context.openSessions, first.id);
    if (closed !== TEEC.TEEC_SUCCESS) break;
  }
  context.partition.giveTaRam(context.ram);
  context.ram = 0;
}

function startTimeout(session: Session, context: TaContext, timeoutMs: number): void {
  session.cancelAtMs = cancellationTime(context.partition.core.nowMs(), timeoutMs);
}

/** What TAs may do with sessions of their own. */
const CALLS: SessionCalls = { openSession, invokeCommand, closeSession };
