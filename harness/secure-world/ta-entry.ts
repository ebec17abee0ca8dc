import { TargetCrashError } from "../base/index.ts";
import { TEEC, TEEC_ORIGIN } from "../optee-abi/index.ts";
import type { TaParams } from "./param.ts";
import type { Session } from "./session.ts";
import type { TaContext } from "./ta-context.ts";
import { type EntryResult, TaPanic } from "./tas/ta.ts";
import { TeeApi } from "./tas/tee-api.ts";
import type { MaybeSecure, SecureTask, Thread } from "./thread.ts";

const { TEEC_SUCCESS, TEEC_ERROR_OUT_OF_MEMORY, TEEC_ERROR_TARGET_DEAD } = TEEC;
/** CFG_CORE_MAX_SYSCALL_RECURSION: how deep TAs may call each other. */
const MAX_DEPTH = 4;

/** The open entry point of a new session, and before it what creates the instance. */
export function* enterOpen(
  thread: Thread,
  session: Session,
  context: TaContext,
  params: TaParams,
): SecureTask<number> {
  const { instance } = context;
  return yield* execute(thread, session, context, params, function* (api): SecureTask<number> {
    // A pseudo-TA is created for its first session, each time; a user TA once, when that succeeds.
    if (context.isPseudo ? context.references === 1 : !context.created) {
      const created = yield* finish(instance.create?.(api));
      if (created !== TEEC_SUCCESS) return created;
      context.created = true;
    }
    if (!context.isPseudo) context.taSessions += 1;
    const result = yield* finish(instance.open?.(api, params));
    if (result === TEEC_SUCCESS) session.openInTa = true;
    else if (!context.isPseudo) endTaSession(context);
    return result;
  });
}

/** The invoke entry point; plain code for a TA that does not leave the secure world. */
export function enterInvoke(
  thread: Thread,
  session: Session,
  context: TaContext,
  command: number,
  params: TaParams,
): MaybeSecure<number> {
  const api = begin(thread, session, context, params);
  if (api === undefined) return TEEC_ERROR_OUT_OF_MEMORY;
  let entered: EntryResult;
  try {
    entered = context.instance.invoke(api, command, params);
  } catch (error) {
    end(thread, session, context, api);
    return die(context, params, error);
  }
  if (typeof entered !== "number") return goOn(thread, session, context, params, api, entered);
  session.origin = TEEC_ORIGIN.TEEC_ORIGIN_TRUSTED_APP;
  end(thread, session, context, api);
  return entered;
}

/** The close entry point; a user TA has none for a session that it refused. */
export function* enterClose(thread: Thread, session: Session, context: TaContext): SecureTask {
  if (!session.openInTa && !context.isPseudo) return;
  yield* execute(thread, session, context, undefined, function* (api): SecureTask<number> {
    yield* context.instance.close?.(api) ?? [];
    session.openInTa = false;
    endTaSession(context);
    return TEEC_SUCCESS;
  });
}

/**
 * The last session that a user TA itself knows ends what its globals hold, unless it is kept alive; a
 * pseudo-TA ends with the last session that the core knows.
 */
function endTaSession(context: TaContext): void {
  if (context.isPseudo) {
    if (context.references === 1) context.instance.destroy?.();
    return;
  }
  context.taSessions -= 1;
  if (context.taSessions === 0 && !context.keepAlive) context.instance.destroy?.();
}

function* finish(entered: EntryResult | undefined): SecureTask<number> {
  if (entered === undefined) return TEEC_SUCCESS;
  return typeof entered === "number" ? entered : yield* entered;
}

/** Runs code of a TA other than its invoke entry point. */
function* execute(
  thread: Thread,
  session: Session,
  context: TaContext,
  params: TaParams | undefined,
  entry: (api: TeeApi) => SecureTask<number>,
): SecureTask<number> {
  const api = begin(thread, session, context, params);
  if (api === undefined) return TEEC_ERROR_OUT_OF_MEMORY;
  return yield* goOn(thread, session, context, params, api, entry(api));
}

/** Before code of a TA runs; undefined when TAs may not call each other so deep. */
function begin(
  thread: Thread,
  session: Session,
  context: TaContext,
  params: TaParams | undefined,
): TeeApi | undefined {
  if (!context.isPseudo && thread.depth === MAX_DEPTH) {
    endOperation(session, context);
    return undefined;
  }
  thread.depth += 1;
  if (!context.isPseudo && params !== undefined) for (const param of params) param.hide();
  const api = session.api;
  if (api === undefined) throw new Error("a session without its TA");
  api.enter(thread);
  return api;
}

/** After code of a TA has run, however that ended. */
function end(thread: Thread, session: Session, context: TaContext, api: TeeApi): void {
  api.leave();
  thread.depth -= 1;
  endOperation(session, context);
}

/** Runs code of a TA that may leave the secure world. */
function* goOn(
  thread: Thread,
  session: Session,
  context: TaContext,
  params: TaParams | undefined,
  api: TeeApi,
  running: SecureTask<number>,
): SecureTask<number> {
  try {
    const result = yield* running;
    session.origin = TEEC_ORIGIN.TEEC_ORIGIN_TRUSTED_APP;
    return result;
  } catch (error) {
    return die(context, params, error);
  } finally {
    end(thread, session, context, api);
  }
}

/**
 * A panic or a data abort ends the instance: what it did to its parameters is lost then, and the
 * secure console tells. A pseudo-TA is code of the core, which ends with it. Anything else is thrown
 * on.
 */
function die(context: TaContext, params: TaParams | undefined, error: unknown): number {
  if (!(error instanceof TaPanic) && !(error instanceof RangeError)) throw error;
  if (context.isPseudo) {
    throw new TargetCrashError(`OP-TEE panicked: a fault in pseudo-TA ${context.ta.name}`, {
      seen: error.message,
      cause: error,
    });
  }
  context.panicked = true;
  if (params !== undefined) for (const param of params) param.restore();
  report(context, error);
  return TEEC_ERROR_TARGET_DEAD;
}

/** A cancellation belongs to one operation of a user TA; the next starts masked and without. */
function endOperation(session: Session, context: TaContext): void {
  if (context.isPseudo) return;
  session.cancelled = false;
  session.cancelMask = true;
}

/** The lines that the real console has for a panic, and for an abort of user code. */
function report(context: TaContext, error: TaPanic | RangeError): void {
  const { print } = context.partition.core;
  print("E/TC:? 0 ");
  if (error instanceof TaPanic) {
    print(`E/TC:? 0 TA panicked with code 0x${error.code.toString(16)}`);
  } else {
    print(`E/TC:? 0 User mode data-abort (${error.message})`);
  }
  print(`E/LD:  Status of TA ${context.ta.uuid}`);
}
