import type { MaybeTask, Task } from "../machine/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import { uuidOctets } from "../base/index.ts";
import {
  attrIsWellFormed,
  CANCEL_ARG,
  clientUuid,
  CLOSE_SESSION_ARG,
  ERRNO,
  INVOKE_ARG,
  ioctlPayloadSize,
  isMemrefType,
  isOutputType,
  isUserBufferType,
  isValueType,
  OPEN_SESSION_ARG,
  Param,
  PARAM,
  PARAM_ATTR_TYPE_MASK,
  readParam,
  TEE_IMPL_ID,
  TEE_IOC,
  TEE_OPTEE_CAP_TZ,
  VERSION_DATA,
  writeParam,
} from "../tee-uapi/index.ts";
import { type IoctlCall, variableBuffer, viewOf } from "./ioctl-call.ts";
import { MAX_MESSAGE_PARAMS } from "./message-buffers.ts";
import type { Process } from "./process.ts";
import type { TeeShm } from "./shm.ts";
import { shmAlloc, shmRegister, shmRegisterFd } from "./shm-ioctl.ts";
import { supplicantRecv, supplicantSend } from "./supplicant-ioctl.ts";
import type { TeeContext } from "./tee-context.ts";

const REQUESTS: ReadonlySet<number> = new Set(Object.values(TEE_IOC));

/** The ioctls of a TEE device (TEE-2); 0, a descriptor, or a negative errno. */
export function teeIoctl(
  process: Process,
  context: TeeContext,
  request: number,
  payload: Uint8Array | DataView,
  buffer: Uint8Array | DataView | undefined,
  writable = true,
): MaybeTask<number> {
  if (!REQUESTS.has(request)) return -ERRNO.EINVAL;
  if (payload.byteLength < ioctlPayloadSize(request)) return -ERRNO.EFAULT;
  const view = viewOf(payload);
  const call: IoctlCall = { process, context, view, buffer, writable };
  const { privileged } = context.device;
  switch (request) {
    case TEE_IOC.VERSION:
      view.setUint32(VERSION_DATA.implId, TEE_IMPL_ID.OPTEE, true);
      view.setUint32(VERSION_DATA.implCaps, TEE_OPTEE_CAP_TZ, true);
      view.setUint32(VERSION_DATA.genCaps, context.device.genCaps, true);
      return 0;
    case TEE_IOC.SHM_ALLOC:
      return shmAlloc(call);
    case TEE_IOC.SHM_REGISTER:
      return shmRegister(call);
    case TEE_IOC.SHM_REGISTER_FD:
      return shmRegisterFd(call);
    case TEE_IOC.OPEN_SESSION:
      return privileged ? -ERRNO.EINVAL : openSession(call);
    case TEE_IOC.INVOKE:
      return privileged ? -ERRNO.EINVAL : invoke(call);
    case TEE_IOC.CANCEL:
      return privileged ? -ERRNO.EINVAL : cancel(call);
    case TEE_IOC.CLOSE_SESSION:
      return privileged ? -ERRNO.EINVAL : closeSession(call);
    case TEE_IOC.SUPPL_RECV:
      return privileged ? supplicantRecv(call) : -ERRNO.EINVAL;
    case TEE_IOC.SUPPL_SEND:
      return privileged ? supplicantSend(call) : -ERRNO.EINVAL;
    default:
      // OBJECT_INVOKE is for another driver.
      return -ERRNO.EINVAL;
  }
}

/** Parameters that the driver puts before those of OPEN_SESSION. */
const META_PARAMS = 2;
/** End of user space with 48-bit addresses. */
const TASK_SIZE = 2 ** 48;

/** Parameters of one call and its result; used again, so that a call makes no objects. */
class Frame {
  readonly params: { readonly param: Param; shm: TeeShm | undefined }[] = [];
  readonly result = { ret: 0, origin: 0 };
  /** How many of `params` were read. */
  count = 0;
}

const idleFrames: Frame[] = [];

/** Reads `count` parameters at `at`, with a reference on every object that they name (TEE-2.2). */
function readParams(
  call: IoctlCall,
  view: DataView,
  at: number,
  count: number,
  frame: Frame,
): number {
  const { device } = call.context;
  frame.count = 0;
  while (frame.params.length < count) frame.params.push({ param: new Param(), shm: undefined });
  for (let index = 0; index < count; index += 1) {
    const entry = frame.params[index];
    if (entry === undefined) return ERRNO.EINVAL;
    const param = readParam(view, at + index * PARAM.size, entry.param);
    entry.shm = undefined;
    const { attr } = param;
    if (!attrIsWellFormed(attr)) return ERRNO.EINVAL;
    if (isMemrefType(attr & PARAM_ATTR_TYPE_MASK)) {
      if (param.isNullMemref) {
        if (!device.driver.memrefNull) return ERRNO.EINVAL;
      } else {
        const shm = param.cHigh === 0 ? device.findShm(call.context, param.c) : undefined;
        if (shm === undefined || param.aNumber + param.bNumber > shm.size) return ERRNO.EINVAL;
        shm.references += 1;
        entry.shm = shm;
      }
    } else if (param.type !== 0 && !isValueType(param.type)) {
      // Buffers without sharing and object references are for other drivers than OP-TEE's.
      const beyond = isUserBufferType(param.type) && param.aNumber + param.bNumber > TASK_SIZE;
      return beyond ? ERRNO.EFAULT : ERRNO.EINVAL;
    }
    frame.count = index + 1;
  }
  return 0;
}

/** Writes results back: a, b, c of output values and b of output references (TEE-2.2). */
function writeParams(view: DataView, at: number, frame: Frame): void {
  for (let index = 0; index < frame.count; index += 1) {
    const param = frame.params[index]?.param;
    if (param === undefined || !isOutputType(param.type)) continue;
    writeParam(view, at + index * PARAM.size, param);
  }
}

/** Ends a call with `status`: drops what its parameters hold and gives the frame back. */
function endFrame(call: IoctlCall, frame: Frame, status: number): MaybeTask<number> {
  for (let index = 0; index < frame.count; index += 1) {
    const entry = frame.params[index];
    const shm = entry?.shm;
    if (entry === undefined || shm === undefined) continue;
    if (shm.references === 1) return endFrameLater(call, frame, index, status);
    shm.references -= 1;
    entry.shm = undefined;
  }
  idleFrames.push(frame);
  return status;
}

/** From parameter `index` on, which has the last reference of its object. */
function* endFrameLater(
  call: IoctlCall,
  frame: Frame,
  index: number,
  status: number,
): Task<number> {
  for (let at = index; at < frame.count; at += 1) {
    const shm = frame.params[at]?.shm;
    if (shm !== undefined) yield* call.context.device.driver.releaseShm(shm);
  }
  idleFrames.push(frame);
  return status;
}

function* openSession(call: IoctlCall): Task<number> {
  const A = OPEN_SESSION_ARG;
  const view = variableBuffer(call, A.size);
  if (view === undefined) return -ERRNO.EINVAL;
  const count = view.getUint32(A.numParams, true);
  if (A.size + count * PARAM.size !== view.byteLength) return -ERRNO.EINVAL;
  const login = view.getUint32(A.clntLogin, true);
  const group = view.getUint32(A.clntUuid, true);
  const client = clientUuid(login, group, call.process.credentials);
  const frame = idleFrames.pop() ?? new Frame();
  const errno = readParams(call, view, A.size, count, frame);
  if (errno !== 0 || !client.ok || frame.count > MAX_MESSAGE_PARAMS - META_PARAMS) {
    const invalid = errno === 0 ? ERRNO.EINVAL : errno;
    const refusal = errno === 0 && !client.ok ? client.errno : invalid;
    return yield* ended(endFrame(call, frame, -refusal));
  }
  const { driver } = call.context.device;
  const uuid = new Uint8Array(view.buffer, view.byteOffset + A.uuid, 16).slice();
  const request = {
    uuid,
    clientUuid: uuidOctets(client.uuid),
    login,
    cancelId: view.getUint32(A.cancelId, true),
  };
  const params = frame.params.slice(0, frame.count);
  const opened = yield* driver.openSession(call.context, request, params, call.process);
  if (!call.writable) {
    // Nobody can learn the session's id: it is closed again (TEE-2.1.4).
    if (call.context.sessions.delete(opened.session)) {
      yield* driver.closeSession(opened.session, call.process);
    }
    return yield* ended(endFrame(call, frame, -ERRNO.EFAULT));
  }
  view.setUint32(A.session, opened.session, true);
  view.setUint32(A.ret, opened.ret, true);
  view.setUint32(A.retOrigin, opened.origin, true);
  writeParams(view, A.size, frame);
  return yield* ended(endFrame(call, frame, 0));
}

function* ended(end: MaybeTask<number>): Task<number> {
  return typeof end === "number" ? end : yield* end;
}

/** INVOKE: plain code as long as nothing has to wait, as it is most of what clients do. */
function invoke(call: IoctlCall): MaybeTask<number> {
  const A = INVOKE_ARG;
  const view = variableBuffer(call, A.size);
  if (view === undefined) return -ERRNO.EINVAL;
  const count = view.getUint32(A.numParams, true);
  if (A.size + count * PARAM.size !== view.byteLength) return -ERRNO.EINVAL;
  const frame = idleFrames.pop() ?? new Frame();
  const errno = readParams(call, view, A.size, count, frame);
  const session = view.getUint32(A.session, true);
  const allowed = call.context.sessions.has(session) && frame.count <= MAX_MESSAGE_PARAMS;
  if (errno !== 0 || !allowed) {
    return endFrame(call, frame, -(errno === 0 ? ERRNO.EINVAL : errno));
  }
  const request = {
    session,
    func: view.getUint32(A.func, true),
    cancelId: view.getUint32(A.cancelId, true),
    params: frame.params,
    count: frame.count,
  };
  const later = call.context.device.driver.invokeInto(request, call.process, frame.result);
  return later === undefined ? endInvoke(call, view, frame) : invokeLater(call, view, frame, later);
}

function* invokeLater(call: IoctlCall, view: DataView, frame: Frame, later: Task): Task<number> {
  yield* later;
  return yield* ended(endInvoke(call, view, frame));
}

function endInvoke(call: IoctlCall, view: DataView, frame: Frame): MaybeTask<number> {
  const { ret, origin } = frame.result;
  if (!call.writable) return endFrame(call, frame, -ERRNO.EFAULT);
  view.setUint32(INVOKE_ARG.ret, ret, true);
  view.setUint32(INVOKE_ARG.retOrigin, origin, true);
  if (ret !== TEEC.TEEC_ERROR_COMMUNICATION) writeParams(view, INVOKE_ARG.size, frame);
  return endFrame(call, frame, 0);
}

function* cancel(call: IoctlCall): Task<number> {
  const session = call.view.getUint32(CANCEL_ARG.session, true);
  if (!call.context.sessions.has(session)) return -ERRNO.EINVAL;
  const { driver } = call.context.device;
  yield* driver.cancel(session, call.view.getUint32(CANCEL_ARG.cancelId, true), call.process);
  return 0;
}

function* closeSession(call: IoctlCall): Task<number> {
  const session = call.view.getUint32(CLOSE_SESSION_ARG.session, true);
  if (!call.context.sessions.delete(session)) return -ERRNO.EINVAL;
  yield* call.context.device.driver.closeSession(session, call.process);
  return 0;
}
