import { NIL_UUID, uuidOctets } from "../base/index.ts";
import type { Task } from "../machine/index.ts";
import { TEEC, TEEC_ORIGIN } from "../optee-abi/index.ts";
import {
  BUF_DATA,
  CANCEL_ARG,
  CLOSE_SESSION_ARG,
  ERRNO,
  INVOKE_ARG,
  MEMREF_NULL,
  OPEN_SESSION_ARG,
  PARAM,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  TEE_GEN_CAP,
  TEE_IMPL_ID,
  TEE_IOC,
  TEE_OPTEE_CAP_TZ,
  VERSION_DATA,
} from "../tee-uapi/index.ts";
import { TEEC_PARAM, type TeecMemory, type TeecParam } from "./libteec-params.ts";
import type { Process } from "./process.ts";
import type { UserBuffer } from "./user-memory.ts";

export interface TeecResult {
  /** A TEEC_* code. */
  readonly result: number;
  /** A TEEC_ORIGIN_* number. */
  readonly origin: number;
}

export interface TeecSession {
  readonly context: TeecContext;
  readonly id: number;
}

export interface OpenSessionOptions {
  /** A TEEC_LOGIN_* number; PUBLIC when left out. */
  readonly login?: number;
  /** The group of a GROUP login. */
  readonly group?: number;
  readonly params?: readonly TeecParam[];
}

/** `/dev/tee0` to 9 are tried. */
const MAX_DEVICES = 10;
/** What libteec registers for a buffer of no bytes. */
const EMPTY_BUFFER_SIZE = 8;
const api = (result: number): TeecResult => ({ result, origin: TEEC_ORIGIN.TEEC_ORIGIN_API });

/** Turns an errno into the result that libteec reports, with the origin COMMS. */
function fromErrno(negative: number): TeecResult {
  const codes: Readonly<Record<number, number>> = {
    [ERRNO.ENOMEM]: TEEC.TEEC_ERROR_OUT_OF_MEMORY,
    [ERRNO.EINVAL]: TEEC.TEEC_ERROR_BAD_PARAMETERS,
  };
  const result = codes[-negative] ?? TEEC.TEEC_ERROR_GENERIC;
  return { result, origin: TEEC_ORIGIN.TEEC_ORIGIN_COMMS };
}

/**
 * `TEEC_InitializeContext`: the first device that answers as a GlobalPlatform TEE; with the name
 * "optee-tz" it also has to be OP-TEE in TrustZone. ITEM_NOT_FOUND when there is none (TEE-5).
 */
export function* teecInitializeContext(
  process: Process,
  name?: string,
): Task<TeecResult & { readonly context?: TeecContext }> {
  for (let number = 0; number < MAX_DEVICES; number += 1) {
    const fd = yield* process.open(`/dev/tee${number}`);
    if (fd < 0) continue;
    const version = new Uint8Array(VERSION_DATA.size);
    const answered = yield* process.ioctl(fd, TEE_IOC.VERSION, version);
    const view = new DataView(version.buffer);
    const caps = view.getUint32(VERSION_DATA.genCaps, true);
    const optee =
      view.getUint32(VERSION_DATA.implId, true) === TEE_IMPL_ID.OPTEE &&
      (view.getUint32(VERSION_DATA.implCaps, true) & TEE_OPTEE_CAP_TZ) !== 0;
    const suits = name === undefined || (name === "optee-tz" && optee);
    if (answered === 0 && (caps & TEE_GEN_CAP.GP) !== 0 && suits) {
      return { ...api(TEEC.TEEC_SUCCESS), context: new TeecContext(process, fd, caps) };
    }
    yield* process.close(fd);
  }
  return api(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
}

/** A GP client context (`TEEC_Context`) of one process. */
export class TeecContext {
  readonly process: Process;
  readonly fd: number;
  readonly registersMemory: boolean;
  readonly memrefNull: boolean;
  readonly #idle: Operation[] = [];
  readonly #idlePayloads: DataView[] = [];

  constructor(process: Process, fd: number, caps: number) {
    this.process = process;
    this.fd = fd;
    this.registersMemory = (caps & TEE_GEN_CAP.REG_MEM) !== 0;
    this.memrefNull = (caps & TEE_GEN_CAP.MEMREF_NULL) !== 0;
  }

  /** `TEEC_FinalizeContext`: only closes the descriptor (TEE-5). */
  *finalize(): Task {
    yield* this.process.close(this.fd);
  }

  /** `TEEC_OpenSession`. */
  *openSession(
    uuid: string,
    options: OpenSessionOptions = {},
  ): Task<TeecResult & { readonly session?: TeecSession }> {
    const params = options.params ?? [];
    const A = OPEN_SESSION_ARG;
    const operation = new Operation(A.size);
    const { view } = operation;
    operation.bytes.set(uuidOctets(uuid), A.uuid);
    operation.bytes.set(uuidOctets(NIL_UUID), A.clntUuid);
    if (options.group !== undefined) view.setUint32(A.clntUuid, options.group, true);
    view.setUint32(A.clntLogin, options.login ?? 0, true);
    view.setUint32(A.numParams, PARAMS, true);
    const refused = yield* this.#encodeAll(operation, params);
    if (refused !== undefined) {
      yield* this.#releaseTemporary(operation);
      return refused;
    }
    const { payload } = operation;
    const status = yield* this.process.ioctl(this.fd, TEE_IOC.OPEN_SESSION, payload, view);
    decodeAll(operation, params);
    yield* this.#releaseTemporary(operation);
    if (status < 0) return fromErrno(status);
    const result = view.getUint32(A.ret, true);
    const origin = view.getUint32(A.retOrigin, true);
    if (result !== TEEC.TEEC_SUCCESS) return { result, origin };
    return { result, origin, session: { context: this, id: view.getUint32(A.session, true) } };
  }

  /** `TEEC_InvokeCommand`. Outputs are stored into `params`. */
  *invokeCommand(
    session: TeecSession,
    command: number,
    params: readonly TeecParam[] = [],
  ): Task<TeecResult> {
    const A = INVOKE_ARG;
    const operation = this.#idle.pop() ?? new Operation(A.size);
    const { view } = operation;
    operation.bytes.fill(0);
    view.setUint32(A.func, command, true);
    view.setUint32(A.session, session.id, true);
    view.setUint32(A.numParams, PARAMS, true);
    let outcome = params.some(isTemporary)
      ? yield* this.#encodeAll(operation, params)
      : encodeRegistered(operation, params);
    if (outcome === undefined) {
      const { payload } = operation;
      const status = yield* this.process.ioctl(this.fd, TEE_IOC.INVOKE, payload, view);
      if (status < 0) {
        outcome = fromErrno(status);
      } else {
        outcome = {
          result: view.getUint32(A.ret, true),
          origin: view.getUint32(A.retOrigin, true),
        };
        decodeAll(operation, params);
      }
    }
    if (operation.temporary.length > 0) yield* this.#releaseTemporary(operation);
    this.#idle.push(operation);
    return outcome;
  }

  /** `TEEC_CloseSession`. */
  *closeSession(session: TeecSession): Task {
    const payload = new Uint8Array(CLOSE_SESSION_ARG.size);
    new DataView(payload.buffer).setUint32(CLOSE_SESSION_ARG.session, session.id, true);
    yield* this.process.ioctl(this.fd, TEE_IOC.CLOSE_SESSION, payload);
  }

  /** `TEEC_RequestCancellation` of whatever runs in `session`; cancel_id is always 0 (TEE-3.4). */
  *requestCancellation(session: TeecSession): Task {
    const payload = new Uint8Array(CANCEL_ARG.size);
    new DataView(payload.buffer).setUint32(CANCEL_ARG.session, session.id, true);
    yield* this.process.ioctl(this.fd, TEE_IOC.CANCEL, payload);
  }

  /** `TEEC_AllocateSharedMemory`; `flags` are TEEC_MEM_INPUT and TEEC_MEM_OUTPUT. */
  *allocateSharedMemory(
    size: number,
    flags: number,
  ): Task<TeecResult & { readonly memory?: TeecMemory }> {
    if (flags === 0 || flags > 3) return api(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const bytes = size === 0 ? EMPTY_BUFFER_SIZE : size;
    if (this.registersMemory) {
      const buffer = this.process.memory.allocate(bytes);
      if (buffer === undefined) return api(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
      const made = yield* this.#register(buffer, size, flags);
      if (made.memory !== undefined) return made;
      this.process.memory.unmap(buffer);
      return api(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    }
    return yield* this.#allocate(undefined, size, flags);
  }

  /** `TEEC_RegisterSharedMemory` of a buffer of the caller. A NULL buffer is BAD_PARAMETERS. */
  *registerSharedMemory(
    buffer: UserBuffer | null,
    flags: number,
  ): Task<TeecResult & { readonly memory?: TeecMemory }> {
    if (buffer === null || flags === 0 || flags > 3) {
      return api(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    }
    return this.registersMemory
      ? yield* this.#registerOrShadow(buffer, buffer.size, flags)
      : yield* this.#allocate(buffer, buffer.size, flags);
  }

  /** `TEEC_ReleaseSharedMemory`. */
  *releaseSharedMemory(memory: TeecMemory): Task {
    if (memory.fd >= 0) yield* this.process.close(memory.fd);
    if (memory.shadow !== undefined) yield* this.process.munmap(memory.shadow);
  }

  /** What the kernel refuses is shared as a copy in memory of the library's own (TEE-5.REGISTER). */
  *#registerOrShadow(
    buffer: UserBuffer,
    size: number,
    flags: number,
  ): Task<TeecResult & { readonly memory?: TeecMemory }> {
    const made = yield* this.#register(buffer, size, flags);
    if (made.memory !== undefined) return made;
    const shadow = this.process.memory.allocate(size === 0 ? EMPTY_BUFFER_SIZE : size);
    if (shadow === undefined) return api(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    const copy = yield* this.#register(shadow, size, flags);
    if (copy.memory !== undefined) return { ...copy, memory: { ...copy.memory, buffer, shadow } };
    this.process.memory.unmap(shadow);
    return copy.result === TEEC.TEEC_ERROR_OUT_OF_MEMORY
      ? api(TEEC.TEEC_ERROR_OUT_OF_MEMORY)
      : api(TEEC.TEEC_ERROR_GENERIC);
  }

  *#register(
    buffer: UserBuffer,
    size: number,
    flags: number,
  ): Task<TeecResult & { readonly memory?: TeecMemory }> {
    const view = this.#idlePayloads.pop() ?? new DataView(new ArrayBuffer(SHM_REGISTER_DATA.size));
    putQuad(view, SHM_REGISTER_DATA.addr, buffer.address);
    putQuad(view, SHM_REGISTER_DATA.length, size === 0 ? EMPTY_BUFFER_SIZE : size);
    const fd = yield* this.process.ioctl(this.fd, TEE_IOC.SHM_REGISTER, view);
    const id = view.getInt32(SHM_REGISTER_DATA.id, true);
    this.#idlePayloads.push(view);
    if (fd < 0) return fromErrno(fd);
    const memory = { buffer, size, flags, id, fd, shadow: undefined };
    return { result: TEEC.TEEC_SUCCESS, origin: TEEC_ORIGIN.TEEC_ORIGIN_API, memory };
  }

  /** Without registration: memory from the driver's pool, and a copy of the caller's buffer there. */
  *#allocate(
    buffer: UserBuffer | undefined,
    size: number,
    flags: number,
  ): Task<TeecResult & { readonly memory?: TeecMemory }> {
    const payload = new Uint8Array(SHM_ALLOC_DATA.size);
    const view = new DataView(payload.buffer);
    const bytes = size === 0 ? EMPTY_BUFFER_SIZE : size;
    view.setBigUint64(SHM_ALLOC_DATA.length, BigInt(bytes), true);
    const fd = yield* this.process.ioctl(this.fd, TEE_IOC.SHM_ALLOC, payload);
    if (fd < 0) return api(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    const shadow = this.process.mmap(fd);
    // The mapping alone keeps it.
    yield* this.process.close(fd);
    if (shadow === undefined) return api(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    const id = view.getInt32(SHM_ALLOC_DATA.id, true);
    return {
      ...api(TEEC.TEEC_SUCCESS),
      memory: { buffer: buffer ?? shadow, size, flags, id, fd: -1, shadow },
    };
  }

  /** Encodes the parameters; temporary references get memory for the length of the call. */
  *#encodeAll(operation: Operation, params: readonly TeecParam[]): Task<TeecResult | undefined> {
    for (let index = 0; index < params.length; index += 1) {
      const param = params[index];
      if (param === undefined) continue;
      if (!param.isValid) return api(TEEC.TEEC_ERROR_BAD_PARAMETERS);
      const place = operation.params + index * PARAM.size;
      let { memory } = param;
      if (param.isTemporary) {
        if (param.buffer === null && param.size !== 0) return api(TEEC.TEEC_ERROR_BAD_PARAMETERS);
        if (param.buffer === null && this.memrefNull) {
          putWords(operation.view, place, param.attr, 0, 0);
          operation.view.setBigUint64(place + PARAM.c, MEMREF_NULL, true);
          continue;
        }
        const made = yield* this.#temporary(param);
        ({ memory } = made);
        if (memory === undefined) return { result: made.result, origin: made.origin };
        operation.temporary.push({ index, memory });
      }
      encode(operation.view, place, param, memory);
    }
    return undefined;
  }

  *#temporary(param: TeecParam): Task<TeecResult & { readonly memory?: TeecMemory }> {
    const { buffer, size } = param;
    const made =
      this.registersMemory && buffer !== null
        ? yield* this.#registerOrShadow(buffer, size, 3)
        : yield* this.#allocate(buffer ?? undefined, size, 3);
    if (made.memory?.shadow !== undefined && buffer !== null) {
      made.memory.shadow.write(buffer.read(0, size));
    }
    return made;
  }

  /** Ends what lived for the call. */
  *#releaseTemporary({ temporary }: Operation): Task {
    for (let index = 0; index < temporary.length; index += 1) {
      const entry = temporary[index];
      if (entry === undefined) continue;
      const { memory } = entry;
      if (memory.shadow !== undefined) yield* this.releaseSharedMemory(memory);
      else if (memory.fd >= 0) yield* this.process.close(memory.fd);
    }
    temporary.length = 0;
  }
}

/** Parameters of an operation: always four. */
const PARAMS = 4;

/** What a call into the kernel has on its stack: header and parameters, and the way to find them. */
class Operation {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** struct tee_ioctl_buf_data. */
  readonly payload: DataView;
  /** Offset of the parameters. */
  readonly params: number;
  /** Memory that lives for the call, by parameter. */
  readonly temporary: { readonly index: number; readonly memory: TeecMemory }[] = [];

  constructor(header: number) {
    this.params = header;
    this.bytes = new Uint8Array(header + PARAMS * PARAM.size);
    this.view = new DataView(this.bytes.buffer);
    this.payload = new DataView(new ArrayBuffer(BUF_DATA.size));
    this.payload.setUint32(BUF_DATA.bufLen, this.bytes.length, true);
  }
}

const isTemporary = (param: TeecParam): boolean => param.isTemporary;

/** Encodes parameters of which none is temporary. */
function encodeRegistered(
  operation: Operation,
  params: readonly TeecParam[],
): TeecResult | undefined {
  for (let index = 0; index < params.length; index += 1) {
    const param = params[index];
    if (param === undefined) continue;
    if (!param.isValid) return api(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    encode(operation.view, operation.params + index * PARAM.size, param, param.memory);
  }
  return undefined;
}

/** Takes results back. */
function decodeAll(operation: Operation, params: readonly TeecParam[]): void {
  for (let index = 0; index < params.length; index += 1) {
    const param = params[index];
    if (param === undefined || !param.isOutput) continue;
    decode(operation.view, operation.params + index * PARAM.size, param);
    const temporary = param.isTemporary
      ? operation.temporary.find((entry) => entry.index === index)
      : undefined;
    const shadow = (temporary?.memory ?? param.memory)?.shadow;
    const target = param.isTemporary ? param.buffer : (param.memory?.buffer ?? null);
    if (shadow === undefined || target === null || target === shadow) continue;
    const from = param.isTemporary ? 0 : param.offset;
    target.write(shadow.read(from, Math.min(param.size, target.size - from)), from);
  }
}

function putQuad(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true);
  view.setUint32(at + 4, Math.floor(value / 0x1_0000_0000), true);
}

function putWords(view: DataView, at: number, attr: number, a: number, b: number): void {
  view.setUint32(at + PARAM.attr, attr, true);
  view.setUint32(at + PARAM.a, a >>> 0, true);
  view.setUint32(at + PARAM.a + 4, Math.floor(a / 0x1_0000_0000), true);
  view.setUint32(at + PARAM.b, b >>> 0, true);
  view.setUint32(at + PARAM.b + 4, Math.floor(b / 0x1_0000_0000), true);
}

function encode(
  view: DataView,
  at: number,
  param: TeecParam,
  memory: TeecMemory | undefined,
): void {
  if (param.isValue) {
    putWords(view, at, param.attr, param.a, param.b);
    return;
  }
  if (memory === undefined) return;
  const whole = param.type === TEEC_PARAM.MEMREF_WHOLE;
  const size = whole ? memory.size : param.size;
  const offset = whole || param.isTemporary ? 0 : param.offset;
  const { shadow, buffer } = memory;
  if (!param.isTemporary && shadow !== undefined && shadow !== buffer && param.isInput) {
    const count = Math.min(size, Math.max(0, buffer.size - offset));
    shadow.write(buffer.read(offset, count), offset);
  }
  putWords(view, at, param.attr, offset, size);
  view.setUint32(at + PARAM.c, memory.id, true);
}

function decode(view: DataView, at: number, param: TeecParam): void {
  if (param.isValue) {
    param.a = view.getUint32(at + PARAM.a, true);
    param.b = view.getUint32(at + PARAM.b, true);
  } else {
    param.size =
      view.getUint32(at + PARAM.b + 4, true) * 0x1_0000_0000 + view.getUint32(at + PARAM.b, true);
  }
}
