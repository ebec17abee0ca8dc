import { FS_OP, RPC_CMD, SHM_TYPE, TEEC } from "../../optee-abi/index.ts";
import { cachedPayload, rpcCommand, rpcMemref, rpcValue, rpcWord } from "../rpc.ts";
import type { SecureTask, Thread } from "../thread.ts";

export interface FsResult<T> {
  readonly result: number;
  readonly value: T;
}

const NO_MEMORY = TEEC.TEEC_ERROR_OUT_OF_MEMORY;

function* withName(thread: Thread, operation: number, name: string): SecureTask<FsResult<number>> {
  const bytes = new TextEncoder().encode(`${name}\0`);
  const payload = yield* cachedPayload(thread, "FS", bytes.length, SHM_TYPE.APPL);
  if (payload === undefined) return { result: NO_MEMORY, value: -1 };
  payload.pages.write(0, bytes);
  const handle = rpcValue("out");
  const result = yield* rpcCommand(thread, RPC_CMD.FS, [
    rpcValue("in", operation),
    rpcMemref("in", payload, bytes.length),
    handle,
  ]);
  return { result, value: rpcWord(handle, 0) };
}

/** Opens a file of the normal world's storage; the value is its handle (MSG-3.1). */
export const fsOpen = (thread: Thread, name: string): SecureTask<FsResult<number>> =>
  withName(thread, FS_OP.OPEN, name);

export const fsCreate = (thread: Thread, name: string): SecureTask<FsResult<number>> =>
  withName(thread, FS_OP.CREATE, name);

export function* fsClose(thread: Thread, handle: number): SecureTask<number> {
  return yield* rpcCommand(thread, RPC_CMD.FS, [rpcValue("in", FS_OP.CLOSE, handle)]);
}

/** Reads at most `length` bytes at `offset`; fewer at the end of the file. */
export function* fsRead(
  thread: Thread,
  handle: number,
  offset: number,
  length: number,
): SecureTask<FsResult<Uint8Array>> {
  const nothing = new Uint8Array(0);
  const payload = yield* cachedPayload(thread, "FS", length, SHM_TYPE.APPL);
  if (payload === undefined) return { result: NO_MEMORY, value: nothing };
  const data = rpcMemref("out", payload, length);
  const result = yield* rpcCommand(thread, RPC_CMD.FS, [
    rpcValue("in", FS_OP.READ, handle, offset),
    data,
  ]);
  if (result !== TEEC.TEEC_SUCCESS) return { result, value: nothing };
  const size = rpcWord(data, 1);
  if (size > length) return { result: TEEC.TEEC_ERROR_GENERIC, value: nothing };
  return { result, value: payload.pages.read(0, size) };
}

export function* fsWrite(
  thread: Thread,
  handle: number,
  offset: number,
  bytes: Uint8Array,
): SecureTask<number> {
  const payload = yield* cachedPayload(thread, "FS", bytes.length, SHM_TYPE.APPL);
  if (payload === undefined) return NO_MEMORY;
  payload.pages.write(0, bytes);
  return yield* rpcCommand(thread, RPC_CMD.FS, [
    rpcValue("in", FS_OP.WRITE, handle, offset),
    rpcMemref("in", payload, bytes.length),
  ]);
}
