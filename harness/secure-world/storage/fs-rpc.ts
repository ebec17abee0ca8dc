import { FS_OP, RPC_CMD, SHM_TYPE, TEEC } from "../../optee-abi/index.ts";
import {
  cachedPayload,
  rpcCommand,
  rpcMemref,
  type RpcParam,
  type RpcPayload,
  rpcValue,
  rpcWord,
} from "../rpc.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail } from "./failure.ts";

/** Bytes of the buffer that carries a name, all of it passed whatever the name's length. */
const NAME_SIZE = 350;

function* payloadOf(thread: Thread, size: number): SecureTask<RpcPayload> {
  const payload = yield* cachedPayload(thread, "FS", size, SHM_TYPE.APPL);
  return payload ?? fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
}

function* command(thread: Thread, params: readonly RpcParam[]): SecureTask {
  const result = yield* rpcCommand(thread, RPC_CMD.FS, params);
  if (result !== TEEC.TEEC_SUCCESS) fail(result);
}

function* nameOf(thread: Thread, name: string): SecureTask<RpcParam> {
  const payload = yield* payloadOf(thread, NAME_SIZE);
  payload.pages.write(0, new TextEncoder().encode(`${name}\0`));
  return rpcMemref("in", payload, NAME_SIZE);
}

function* opened(thread: Thread, operation: number, name: string): SecureTask<number> {
  const named = yield* nameOf(thread, name);
  const handle = rpcValue("out");
  yield* command(thread, [rpcValue("in", operation), named, handle]);
  return rpcWord(handle, 0);
}

/**
 * Opens a file of the normal world's storage and gives its handle (MSG-3.1.OPEN). All of these fail
 * with what the normal world answers, and OUT_OF_MEMORY without a buffer.
 */
export const fsOpen = (thread: Thread, name: string): SecureTask<number> =>
  opened(thread, FS_OP.OPEN, name);

/** Creates or empties a file and opens it (MSG-3.1.CREATE). */
export const fsCreate = (thread: Thread, name: string): SecureTask<number> =>
  opened(thread, FS_OP.CREATE, name);

export const fsClose = (thread: Thread, handle: number): SecureTask =>
  command(thread, [rpcValue("in", FS_OP.CLOSE, handle)]);

/** Reads exactly `length` bytes; CORRUPT_OBJECT when there are fewer, or more are claimed. */
export function* fsRead(
  thread: Thread,
  handle: number,
  offset: number,
  length: number,
): SecureTask<Uint8Array> {
  const payload = yield* payloadOf(thread, length);
  const data = rpcMemref("out", payload, length);
  yield* command(thread, [rpcValue("in", FS_OP.READ, handle, offset), data]);
  if (rpcWord(data, 1) !== length) fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
  return payload.pages.read(0, length);
}

export function* fsWrite(
  thread: Thread,
  handle: number,
  offset: number,
  bytes: Uint8Array,
): SecureTask {
  const payload = yield* payloadOf(thread, bytes.length);
  payload.pages.write(0, bytes);
  yield* command(thread, [
    rpcValue("in", FS_OP.WRITE, handle, offset),
    rpcMemref("in", payload, bytes.length),
  ]);
}

export const fsTruncate = (thread: Thread, handle: number, length: number): SecureTask =>
  command(thread, [rpcValue("in", FS_OP.TRUNCATE, handle, length)]);

export function* fsRemove(thread: Thread, name: string): SecureTask {
  const named = yield* nameOf(thread, name);
  yield* command(thread, [rpcValue("in", FS_OP.REMOVE), named]);
}
