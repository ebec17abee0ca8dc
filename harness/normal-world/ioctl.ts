import { PAGE_SIZE, type Task } from "../machine/index.ts";
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
  isValueType,
  OPEN_SESSION_ARG,
  Param,
  PARAM,
  readParam,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  TEE_IMPL_ID,
  TEE_IOC,
  TEE_OPTEE_CAP_TZ,
  VERSION_DATA,
  writeParam,
} from "../tee-uapi/index.ts";
import type { DriverParam } from "./driver.ts";
import { type IoctlCall, variableBuffer } from "./ioctl-call.ts";
import type { Process } from "./process.ts";
import type { TeeShm } from "./shm.ts";
import { supplicantRecv, supplicantSend } from "./supplicant-ioctl.ts";
import type { TeeContext } from "./tee-context.ts";

const REQUESTS: ReadonlySet<number> = new Set(Object.values(TEE_IOC));

/** The ioctls of a TEE device (TEE-2); 0, a descriptor, or a negative errno. */
export function* teeIoctl(
  process: Process,
  context: TeeContext,
  request: number,
  payload: Uint8Array,
  buffer: Uint8Array | undefined,
): Task<number> {
  if (!REQUESTS.has(request)) return -ERRNO.EINVAL;
  if (payload.length < ioctlPayloadSize(request)) return -ERRNO.EFAULT;
  const view = new DataView(payload.buffer, payload.byteOffset, payload.byteLength);
  const call: IoctlCall = { process, context, view, buffer };
  const { privileged } = context.device;
  switch (request) {
    case TEE_IOC.VERSION:
      view.setUint32(VERSION_DATA.implId, TEE_IMPL_ID.OPTEE, true);
      view.setUint32(VERSION_DATA.implCaps, TEE_OPTEE_CAP_TZ, true);
      view.setUint32(VERSION_DATA.genCaps, context.device.genCaps, true);
      return 0;
    case TEE_IOC.SHM_ALLOC:
      return yield* shmAlloc(call);
    case TEE_IOC.SHM_REGISTER:
      return yield* shmRegister(call);
    case TEE_IOC.OPEN_SESSION:
      return privileged ? -ERRNO.EINVAL : yield* openSession(call);
    case TEE_IOC.INVOKE:
      return privileged ? -ERRNO.EINVAL : yield* invoke(call);
    case TEE_IOC.CANCEL:
      return privileged ? -ERRNO.EINVAL : yield* cancel(call);
    case TEE_IOC.CLOSE_SESSION:
      return privileged ? -ERRNO.EINVAL : yield* closeSession(call);
    case TEE_IOC.SUPPL_RECV:
      return privileged ? yield* supplicantRecv(call) : -ERRNO.EINVAL;
    case TEE_IOC.SUPPL_SEND:
      return privileged ? supplicantSend(call) : -ERRNO.EINVAL;
    default:
      // SHM_REGISTER_FD needs a dma-buf heap and OBJECT_INVOKE another driver.
      return -ERRNO.EINVAL;
  }
}

interface Parsed {
  readonly errno: number;
  readonly params: readonly DriverParam[];
}

/** Reads `count` parameters at `at`, with a reference on every object that they name (TEE-2.2). */
function readParams(call: IoctlCall, view: DataView, at: number, count: number): Parsed {
  const params: DriverParam[] = [];
  const { device } = call.context;
  let errno = 0;
  for (let index = 0; index < count && errno === 0; index += 1) {
    const param = readParam(view, at + index * PARAM.size, new Param());
    let shm: TeeShm | undefined;
    if (!attrIsWellFormed(param.attr)) {
      errno = ERRNO.EINVAL;
    } else if (isMemrefType(param.type)) {
      if (param.isNullMemref) {
        if (!device.driver.memrefNull) errno = ERRNO.EINVAL;
      } else {
        shm = param.cHigh === 0 ? device.findShm(call.context, param.c) : undefined;
        if (shm === undefined || param.aNumber + param.bNumber > shm.size) {
          errno = ERRNO.EINVAL;
          shm = undefined;
        } else {
          shm.references += 1;
        }
      }
    } else if (param.type !== 0 && !isValueType(param.type)) {
      errno = ERRNO.EINVAL;
    }
    if (errno === 0) params.push({ param, shm });
  }
  return { errno, params };
}

/** Writes results back: a, b, c of output values and b of output references (TEE-2.2). */
function writeParams(view: DataView, at: number, params: readonly DriverParam[]): void {
  for (let index = 0; index < params.length; index += 1) {
    const param = params[index]?.param;
    if (param === undefined || !isOutputType(param.type)) continue;
    writeParam(view, at + index * PARAM.size, param);
  }
}

function* dropParams(call: IoctlCall, params: readonly DriverParam[]): Task {
  for (let index = 0; index < params.length; index += 1) {
    const shm = params[index]?.shm;
    if (shm !== undefined) yield* call.context.device.driver.releaseShm(shm);
  }
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
  const { errno, params } = readParams(call, view, A.size, count);
  if (errno !== 0 || !client.ok) {
    yield* dropParams(call, params);
    return -(errno === 0 && !client.ok ? client.errno : errno);
  }
  const { driver } = call.context.device;
  const uuid = new Uint8Array(view.buffer, view.byteOffset + A.uuid, 16).slice();
  const request = {
    uuid,
    clientUuid: uuidOctets(client.uuid),
    login,
    cancelId: view.getUint32(A.cancelId, true),
  };
  const fits = params.length <= MAX_USER_PARAMS;
  const opened = fits
    ? yield* driver.openSession(call.context, request, params, call.process)
    : undefined;
  if (opened !== undefined) {
    view.setUint32(A.session, opened.session, true);
    view.setUint32(A.ret, opened.ret, true);
    view.setUint32(A.retOrigin, opened.origin, true);
    writeParams(view, A.size, params);
  }
  yield* dropParams(call, params);
  return opened === undefined ? -ERRNO.EINVAL : 0;
}

/** Parameters that a message of the driver has room for beside the meta ones. */
const MAX_USER_PARAMS = 4;

function* invoke(call: IoctlCall): Task<number> {
  const A = INVOKE_ARG;
  const view = variableBuffer(call, A.size);
  if (view === undefined) return -ERRNO.EINVAL;
  const count = view.getUint32(A.numParams, true);
  if (A.size + count * PARAM.size !== view.byteLength) return -ERRNO.EINVAL;
  const { errno, params } = readParams(call, view, A.size, count);
  const session = view.getUint32(A.session, true);
  const allowed = call.context.sessions.has(session) && params.length <= MAX_USER_PARAMS;
  if (errno !== 0 || !allowed) {
    yield* dropParams(call, params);
    return -(errno === 0 ? ERRNO.EINVAL : errno);
  }
  const result = yield* call.context.device.driver.invoke(
    session,
    view.getUint32(A.func, true),
    view.getUint32(A.cancelId, true),
    params,
    call.process,
  );
  view.setUint32(A.ret, result.ret, true);
  view.setUint32(A.retOrigin, result.origin, true);
  if (result.ret !== TEEC.TEEC_ERROR_COMMUNICATION) writeParams(view, A.size, params);
  yield* dropParams(call, params);
  return 0;
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

function* shmAlloc(call: IoctlCall): Task<number> {
  const { view, context, process } = call;
  const size = readSize(view, SHM_ALLOC_DATA.length);
  const flags = view.getUint32(SHM_ALLOC_DATA.flags, true);
  if (flags !== 0 || size === 0 || size === undefined) return -ERRNO.EINVAL;
  const { device } = context;
  const rounded = Math.ceil(size / PAGE_SIZE) * PAGE_SIZE;
  const id = device.takeShmId();
  const shm = device.privileged
    ? process.kernel.allocateShm(rounded, context, id)
    : yield* device.driver.allocateShm(rounded, context, id);
  if (shm === undefined) {
    device.freeShmId(id);
    return -ERRNO.ENOMEM;
  }
  device.addShm(shm);
  view.setInt32(SHM_ALLOC_DATA.id, id, true);
  writeSize(view, SHM_ALLOC_DATA.length, shm.size);
  return process.install({ kind: "shm", shm, references: 1 });
}

function* shmRegister(call: IoctlCall): Task<number> {
  const { view, context, process } = call;
  const { device } = context;
  const address = readSize(view, SHM_REGISTER_DATA.addr);
  const length = readSize(view, SHM_REGISTER_DATA.length);
  const flags = view.getUint32(SHM_REGISTER_DATA.flags, true);
  if (flags !== 0 || length === undefined || length === 0) return -ERRNO.EINVAL;
  if (!device.driver.dynamicShm) return -ERRNO.EINVAL;
  const span = address === undefined ? undefined : process.memory.span(address, length);
  if (span === undefined) return -ERRNO.EFAULT;
  const { kernel } = process;
  kernel.pages.hold(span.pages);
  const id = device.takeShmId();
  const shm = kernel.makeShm({ id, context, span, size: length, kind: "user" });
  const registered = device.privileged ? 0 : yield* device.driver.registerShm(shm);
  if (registered !== 0) {
    device.freeShmId(id);
    kernel.freeShm(shm);
    return registered;
  }
  device.addShm(shm);
  view.setInt32(SHM_REGISTER_DATA.id, id, true);
  writeSize(view, SHM_REGISTER_DATA.length, length);
  return process.install({ kind: "shm", shm, references: 1 });
}

/** A u64 that is below 2^53; undefined for larger ones, which no object can have. */
function readSize(view: DataView, at: number): number | undefined {
  const value = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
  return Number.isSafeInteger(value) ? value : undefined;
}

function writeSize(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}
