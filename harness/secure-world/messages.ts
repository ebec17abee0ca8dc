import { NIL_UUID, uuidText } from "../base/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  LOGIN,
  messageSize,
  MSG_CMD,
  SMC_RETURN,
  TEEC,
  TEEC_ORIGIN,
} from "../optee-abi/index.ts";
import { lentMemoryMessage } from "./lent-memory.ts";
import { extractPages } from "./mapping.ts";
import type { SharedPages } from "./memory-object.ts";
import { exportParams, type Imported, importParams, releaseParams } from "./message-params.ts";
import type { RegisteredObject, RegisteredObjects } from "./registered-shm.ts";
import type { ClientIdentity, Outcome } from "./session.ts";
import { cancelCommand, closeSession, invokeCommand, openSession } from "./session-manager.ts";
import { TEE_TIMEOUT_INFINITE } from "./tas/tee-api.ts";
import { isTask, type MaybeSecure, type SecureTask, type Thread } from "./thread.ts";

const TWO_32 = 0x1_0000_0000;
const TEE = TEEC_ORIGIN.TEEC_ORIGIN_TEE;
/** Offsets in the header that are written or read when used (MSG-2.2). */
const AT = { cmd: 0, func: 4, session: 8, ret: 20, retOrigin: 24 } as const;

/** Carries out the message in `arg`, which has `count` parameters; gives a0 of the call. */
export function handleMessage(
  thread: Thread,
  arg: SharedPages,
  count: number,
): MaybeSecure<number> {
  const { core } = thread.partition;
  const command = arg.u32(AT.cmd);
  switch (command) {
    case MSG_CMD.OPEN_SESSION:
      return open(thread, arg, count);
    case MSG_CMD.INVOKE_COMMAND:
      return invoke(thread, arg, count);
    case MSG_CMD.CLOSE_SESSION:
      return close(thread, arg, count);
    case MSG_CMD.CANCEL: {
      const result =
        count === 0
          ? cancelCommand(thread.partition.sessions, arg.u32(AT.session))
          : TEEC.TEEC_ERROR_BAD_PARAMETERS;
      answer(arg, { result, origin: TEE });
      return SMC_RETURN.OK;
    }
    case MSG_CMD.REGISTER_SHM:
      if (!core.build.dynamicShm) return SMC_RETURN.EBADCMD;
      register(thread, arg, count);
      return SMC_RETURN.OK;
    case MSG_CMD.UNREGISTER_SHM:
      if (!core.build.dynamicShm) return SMC_RETURN.EBADCMD;
      return unregister(thread, arg, count);
    case MSG_CMD.DO_BOTTOM_HALF:
      if (!core.features.asyncNotif) return SMC_RETURN.EBADCMD;
      return thenOk(thread.partition.notifications.bottomHalf(thread));
    case MSG_CMD.STOP_ASYNC_NOTIF:
      if (!core.features.asyncNotif) return SMC_RETURN.EBADCMD;
      return thenOk(thread.partition.notifications.stop(thread));
    default:
      if (command > MSG_CMD.ASSIGN_PROTMEM) return SMC_RETURN.EBADCMD;
      return lentMemoryMessage(thread, command, arg, count);
  }
}

function answer(arg: SharedPages, { result, origin }: Outcome): void {
  arg.setU32(AT.ret, result);
  arg.setU32(AT.retOrigin, origin);
}

function* thenOk(running: SecureTask): SecureTask<number> {
  yield* running;
  return SMC_RETURN.OK;
}

function* close(thread: Thread, arg: SharedPages, count: number): SecureTask<number> {
  const result =
    count === 0
      ? yield* closeSession(thread, thread.partition.sessions, arg.u32(AT.session))
      : TEEC.TEEC_ERROR_BAD_PARAMETERS;
  answer(arg, { result, origin: TEE });
  return SMC_RETURN.OK;
}

function* open(thread: Thread, arg: SharedPages, count: number): SecureTask<number> {
  const refuse = (result: number): void => {
    arg.setU32(AT.session, 0);
    answer(arg, { result, origin: TEE });
  };
  const meta = openMeta(arg, count);
  if (meta === undefined) {
    refuse(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    return SMC_RETURN.OK;
  }
  const imported = importParams(thread.partition, arg, 2, count - 2);
  if (imported.result === TEEC.TEEC_SUCCESS) {
    const opened = yield* openSession(
      thread,
      thread.partition.sessions,
      meta.uuid,
      meta.client,
      TEE_TIMEOUT_INFINITE,
      imported.params,
    );
    exportParams(arg, 2, imported.params);
    arg.setU32(AT.session, opened.session);
    answer(arg, opened);
  } else {
    refuse(imported.result);
  }
  yield* releaseParams(thread, imported) ?? [];
  return SMC_RETURN.OK;
}

/** The TA and the client from the two meta parameters (MSG-2.1); undefined when they are wrong. */
function openMeta(
  arg: SharedPages,
  count: number,
): { readonly uuid: string; readonly client: ClientIdentity } | undefined {
  if (count < 2) return undefined;
  for (const index of [0, 1]) {
    const at = messageSize(index);
    if (arg.u32(at) !== ATTR_META_VALUE_INPUT || arg.u32(at + 4) !== 0) return undefined;
  }
  const uuid = uuidText(arg.read(messageSize(0) + 8, 16));
  const login = arg.u32(messageSize(1) + 24);
  switch (login) {
    case LOGIN.PUBLIC:
    case LOGIN.REE_KERNEL:
      return { uuid, client: { login, uuid: NIL_UUID } };
    case LOGIN.USER:
    case LOGIN.GROUP:
    case LOGIN.APPLICATION:
    case LOGIN.APPLICATION_USER:
    case LOGIN.APPLICATION_GROUP:
      return { uuid, client: { login, uuid: uuidText(arg.read(messageSize(1) + 8, 16)) } };
    default:
      return undefined;
  }
}

/** Plain code as long as neither TA nor core leaves the secure world: most calls are of this kind. */
function invoke(thread: Thread, arg: SharedPages, count: number): MaybeSecure<number> {
  const { partition } = thread;
  const imported = importParams(partition, arg, 0, count);
  if (imported.result !== TEEC.TEEC_SUCCESS) {
    answer(arg, { result: imported.result, origin: TEE });
    const release = releaseParams(thread, imported);
    return release === undefined ? SMC_RETURN.OK : thenOk(release);
  }
  const session = arg.u32(AT.session);
  const command = arg.u32(AT.func);
  const outcome = invokeCommand(
    thread,
    partition.sessions,
    session,
    TEE_TIMEOUT_INFINITE,
    command,
    imported.params,
  );
  if (isTask(outcome)) return invokeLater(thread, arg, imported, outcome);
  exportParams(arg, 0, imported.params);
  answer(arg, outcome);
  const release = releaseParams(thread, imported);
  return release === undefined ? SMC_RETURN.OK : thenOk(release);
}

function* invokeLater(
  thread: Thread,
  arg: SharedPages,
  imported: Imported,
  running: SecureTask<Outcome>,
): SecureTask<number> {
  const outcome = yield* running;
  exportParams(arg, 0, imported.params);
  answer(arg, outcome);
  yield* releaseParams(thread, imported) ?? [];
  return SMC_RETURN.OK;
}

/** ret_origin is never written (MSG-2.3.4). */
function register(thread: Thread, arg: SharedPages, count: number): void {
  const { partition } = thread;
  const at = messageSize(0);
  arg.setU32(AT.ret, TEEC.TEEC_ERROR_BAD_PARAMETERS);
  const exact = count === 1 && arg.u32(at) === ATTR_TMEM_OUTPUT_NONCONTIG && arg.u32(at + 4) === 0;
  if (!exact) return;
  const pages = extractPages(
    partition,
    arg.u32(at + 12) * TWO_32 + arg.u32(at + 8),
    arg.u32(at + 20) * TWO_32 + arg.u32(at + 16),
  );
  if (pages === undefined) return;
  partition.register(pages, arg.u32(at + 28), arg.u32(at + 24));
  arg.setU32(AT.ret, TEEC.TEEC_SUCCESS);
}

/** ret_origin is written for a wrong number of parameters only (MSG-2.3.4). */
function unregister(thread: Thread, arg: SharedPages, count: number): MaybeSecure<number> {
  if (count !== 1) {
    answer(arg, { result: TEEC.TEEC_ERROR_BAD_PARAMETERS, origin: TEE });
    return SMC_RETURN.OK;
  }
  const { registered } = thread.partition;
  const at = messageSize(0);
  const object = registered.find(arg.u32(at + 28), arg.u32(at + 24));
  if (object === undefined || object.guarded || object.releasing) {
    arg.setU32(AT.ret, TEEC.TEEC_ERROR_BAD_PARAMETERS);
    return SMC_RETURN.OK;
  }
  object.releasing = true;
  const waiting =
    object.users > 0 ? registered.untilUnused(thread, object) : registered.announce(thread);
  if (waiting !== undefined) return unregisterLater(registered, arg, object, waiting);
  registered.remove(object);
  arg.setU32(AT.ret, TEEC.TEEC_SUCCESS);
  return SMC_RETURN.OK;
}

function* unregisterLater(
  registered: RegisteredObjects,
  arg: SharedPages,
  object: RegisteredObject,
  waiting: SecureTask,
): SecureTask<number> {
  yield* waiting;
  registered.remove(object);
  arg.setU32(AT.ret, TEEC.TEEC_SUCCESS);
  return SMC_RETURN.OK;
}
