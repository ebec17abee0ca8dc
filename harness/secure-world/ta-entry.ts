import { TEEC, TEEC_ORIGIN } from "../optee-abi/index.ts";
import type { TaParams } from "./param.ts";
import type { Session } from "./session.ts";
import type { TaContext } from "./ta-context.ts";
import { type EntryResult, TaPanic } from "./tas/ta.ts";
import { TeeApi } from "./tas/tee-api.ts";
import type { SecureTask, Thread } from "./thread.ts";

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

/** The invoke entry point. */
export function enterInvoke(
  thread: Thread,
  session: Session,
  context: TaContext,
  command: number,
  params: TaParams,
): SecureTask<number> {
  return execute(thread, session, context, params, (api) =>
    context.instance.invoke(api, command, params),
  );
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

/**
 * Runs code of a TA. A panic or a data abort ends the instance: what it did to its parameters is
 * lost then, and the secure console tells.
 */
function* execute(
  thread: Thread,
  session: Session,
  context: TaContext,
  params: TaParams | undefined,
  entry: (api: TeeApi) => EntryResult,
): SecureTask<number> {
  if (!context.isPseudo && thread.depth === MAX_DEPTH) {
    endOperation(session, context);
    return TEEC_ERROR_OUT_OF_MEMORY;
  }
  thread.depth += 1;
  const api = session.api;
  if (api === undefined) throw new Error("a session without its TA");
  api.enter(thread);
  try {
    const entered = entry(api);
    const result = typeof entered === "number" ? entered : yield* entered;
    session.origin = TEEC_ORIGIN.TEEC_ORIGIN_TRUSTED_APP;
    return result;
  } catch (error) {
    if (!(error instanceof TaPanic) && !(error instanceof RangeError)) throw error;
    context.panicked = true;
    if (params !== undefined) for (const param of params) param.restore();
    report(context, error);
    return TEEC_ERROR_TARGET_DEAD;
  } finally {
    api.leave();
    thread.depth -= 1;
    endOperation(session, context);
  }
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
