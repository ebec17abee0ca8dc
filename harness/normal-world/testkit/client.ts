import { uuidOctets } from "../../base/index.ts";
import type { Task } from "../../machine/index.ts";
import {
  BUF_DATA,
  INVOKE_ARG,
  OPEN_SESSION_ARG,
  type Param,
  PARAM,
  SHM_ALLOC_DATA,
  SHM_REGISTER_DATA,
  TEE_IOC,
  writeParam,
} from "../../tee-uapi/index.ts";
import type { Process } from "../process.ts";

const UUID = "d96a5b40-c3e5-21e3-8794-1002a5d5c61b";

/** An ioctl with a variable structure of `buffer.length` bytes, or as long as it is said to be. */
export function variable(
  process: Process,
  fd: number,
  request: number,
  buffer: Uint8Array,
  options: { readonly length?: number; readonly writable?: boolean } = {},
): Task<number> {
  const payload = new Uint8Array(BUF_DATA.size);
  new DataView(payload.buffer).setUint32(BUF_DATA.bufLen, options.length ?? buffer.length, true);
  return process.ioctl(fd, request, payload, buffer, options.writable ?? true);
}

/** An OPEN_SESSION structure with these parameters. */
export function openArg(params: readonly Param[] = [], login = 0): Uint8Array {
  const A = OPEN_SESSION_ARG;
  const buffer = new Uint8Array(A.size + params.length * PARAM.size);
  const view = new DataView(buffer.buffer);
  buffer.set(uuidOctets(UUID), A.uuid);
  view.setUint32(A.clntLogin, login, true);
  view.setUint32(A.numParams, params.length, true);
  for (const [index, param] of params.entries()) {
    writeParam(view, A.size + index * PARAM.size, param);
  }
  return buffer;
}

/** An INVOKE structure. */
export function invokeArg(session: number, params: readonly Param[] = []): Uint8Array {
  const A = INVOKE_ARG;
  const buffer = new Uint8Array(A.size + params.length * PARAM.size);
  const view = new DataView(buffer.buffer);
  view.setUint32(A.session, session, true);
  view.setUint32(A.numParams, params.length, true);
  for (const [index, param] of params.entries()) {
    writeParam(view, A.size + index * PARAM.size, param);
  }
  return buffer;
}

export interface Made {
  /** A descriptor, or a negative errno. */
  readonly fd: number;
  readonly id: number;
  readonly size: number;
}

/** SHM_ALLOC. */
export function* alloc(process: Process, fd: number, size: number, flags = 0): Task<Made> {
  const payload = new Uint8Array(SHM_ALLOC_DATA.size);
  const view = new DataView(payload.buffer);
  view.setUint32(SHM_ALLOC_DATA.length, size, true);
  view.setUint32(SHM_ALLOC_DATA.flags, flags, true);
  const made = yield* process.ioctl(fd, TEE_IOC.SHM_ALLOC, payload);
  return {
    fd: made,
    id: view.getInt32(SHM_ALLOC_DATA.id, true),
    size: view.getUint32(SHM_ALLOC_DATA.length, true),
  };
}

/** SHM_REGISTER of [address, address + size), or SHM_REGISTER_FD of descriptor `address`. */
export function* register(
  process: Process,
  fd: number,
  address: number,
  size: number,
  options: { readonly flags?: number; readonly request?: number } = {},
): Task<Made> {
  const { flags = 0, request = TEE_IOC.SHM_REGISTER } = options;
  const payload = new Uint8Array(SHM_REGISTER_DATA.size);
  const view = new DataView(payload.buffer);
  view.setBigUint64(SHM_REGISTER_DATA.addr, BigInt(address), true);
  view.setBigUint64(SHM_REGISTER_DATA.length, BigInt(size), true);
  view.setUint32(SHM_REGISTER_DATA.flags, flags, true);
  const made = yield* process.ioctl(fd, request, payload);
  return {
    fd: made,
    id: view.getInt32(SHM_REGISTER_DATA.id, true),
    size: Number(view.getBigUint64(SHM_REGISTER_DATA.length, true)),
  };
}
