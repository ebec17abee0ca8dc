import { LOGIN, RPC_CMD, SOCKET_OP, TEEC } from "../../optee-abi/index.ts";
import { type TaParam, type TaParams, TEE_PARAM, paramTypes, typesOf } from "../param.ts";
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
import { PTA_DEFAULT_FLAGS, TA_FLAG, type TaInstance, type TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const SOCKET_UUID = "3b996a7d-2c2b-4a49-a896-e1fb5766d2f4";

/**
 * Commands, each with a handle in value[0].a but for OPEN: OPEN (value[0].a IP version, .b port,
 * memref[1] address, value[2].a protocol; value[3].a handle), CLOSE, SEND and RECV (value[0].b
 * timeout, memref[1] data; SEND: value[2].a bytes sent), IOCTL (value[0].b command, memref[1] data).
 */
export const SOCKET_CMD = { OPEN: 1, CLOSE: 2, SEND: 3, RECV: 4, IOCTL: 5 } as const;

const { VALUE_INPUT, VALUE_OUTPUT, MEMREF_INPUT, MEMREF_OUTPUT, MEMREF_INOUT } = TEE_PARAM;
const TYPES: Readonly<Record<number, number>> = {
  [SOCKET_CMD.OPEN]: paramTypes(VALUE_INPUT, MEMREF_INPUT, VALUE_INPUT, VALUE_OUTPUT),
  [SOCKET_CMD.CLOSE]: paramTypes(VALUE_INPUT),
  [SOCKET_CMD.SEND]: paramTypes(VALUE_INPUT, MEMREF_INPUT, VALUE_OUTPUT),
  [SOCKET_CMD.RECV]: paramTypes(VALUE_INPUT, MEMREF_OUTPUT),
  [SOCKET_CMD.IOCTL]: paramTypes(VALUE_INPUT, MEMREF_INOUT),
};

/** Sockets of one TA instance: the supplicant tells them apart by it (MSG-3.2). */
class Sockets {
  readonly #thread: Thread;
  readonly #instance: number;

  constructor(tee: TeeApi, instance: number) {
    this.#thread = tee.thread;
    this.#instance = instance;
  }

  *open([where, address, protocol, handle]: TaParams): SecureTask<number> {
    const payload = yield* this.#payload(address.size);
    if (payload === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    payload.pages.write(0, address.read());
    const answer = rpcValue("out");
    const result = yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [
      rpcValue("in", SOCKET_OP.OPEN, this.#instance),
      rpcValue("in", where.b, protocol.a, where.a),
      rpcMemref("in", payload, address.size),
      answer,
    ]);
    if (result === TEEC.TEEC_SUCCESS) handle.a = rpcWord(answer, 0) >>> 0;
    return result;
  }

  *close(handle: number): SecureTask<number> {
    const request = rpcValue("in", SOCKET_OP.CLOSE, this.#instance, handle);
    return yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [request]);
  }

  *closeAll(): SecureTask {
    const request = rpcValue("in", SOCKET_OP.CLOSE_ALL, this.#instance);
    yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [request]);
  }

  *send([socket, data, sent]: TaParams): SecureTask<number> {
    const payload = yield* this.#payload(data.size);
    if (payload === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    payload.pages.write(0, data.read());
    const bytes = rpcValue("inout", socket.b);
    const result = yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [
      rpcValue("in", SOCKET_OP.SEND, this.#instance, socket.a),
      rpcMemref("in", payload, data.size),
      bytes,
    ]);
    sent.a = rpcWord(bytes, 1) >>> 0;
    return result;
  }

  *receive([socket, data]: TaParams): SecureTask<number> {
    const payload = yield* this.#payload(data.size);
    if (payload === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    const answer = rpcMemref("out", payload, data.size);
    const result = yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [
      rpcValue("in", SOCKET_OP.RECV, this.#instance, socket.a),
      answer,
      rpcValue("in", socket.b),
    ]);
    return take(data, payload, answer, result);
  }

  *control([socket, data]: TaParams): SecureTask<number> {
    const payload = yield* this.#payload(data.size);
    if (payload === undefined) return TEEC.TEEC_ERROR_OUT_OF_MEMORY;
    payload.pages.write(0, data.read());
    const answer = rpcMemref("inout", payload, data.size);
    const result = yield* rpcCommand(this.#thread, RPC_CMD.SOCKET, [
      rpcValue("in", SOCKET_OP.IOCTL, this.#instance, socket.a),
      answer,
      rpcValue("in", socket.b),
    ]);
    return take(data, payload, answer, result);
  }

  /** Kept until the call ends (MSG-3.6); an empty buffer still needs one, for it has to be named. */
  #payload(size: number): ReturnType<typeof cachedPayload> {
    return cachedPayload(this.#thread, "SOCKET", Math.max(1, size));
  }
}

/** Hands out what came back; a size beyond the buffer says how much there was. */
function take(data: TaParam, payload: RpcPayload, answer: RpcParam, result: number): number {
  const size = rpcWord(answer, 1);
  data.write(payload.pages.read(0, Math.min(data.capacity, size)));
  data.size = size;
  return result;
}

function socketsOf(tee: TeeApi): Sockets | undefined {
  const { login, instance } = tee.client;
  if (login !== LOGIN.TRUSTED_APP || instance === undefined) return undefined;
  return new Sockets(tee, instance);
}

function invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> | number {
  const types = TYPES[command];
  if (types === undefined) return TEEC.TEEC_ERROR_NOT_IMPLEMENTED;
  const sockets = socketsOf(tee);
  if (types !== typesOf(params) || sockets === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  switch (command) {
    case SOCKET_CMD.OPEN:
      return sockets.open(params);
    case SOCKET_CMD.CLOSE:
      return sockets.close(params[0].a);
    case SOCKET_CMD.SEND:
      return sockets.send(params);
    case SOCKET_CMD.RECV:
      return sockets.receive(params);
    default:
      return sockets.control(params);
  }
}

/**
 * The pseudo-TA behind the GP sockets API of TAs; the normal world may not open it. When a session
 * ends, and with it at the latest when the TA's instance does, all sockets of that instance go.
 */
export const socketPta: TrustedApplication = {
  name: "socket",
  uuid: SOCKET_UUID,
  flags: PTA_DEFAULT_FLAGS | TA_FLAG.CONCURRENT,
  stackSize: 0,
  dataSize: 0,
  imageSize: 0,
  instantiate: (): TaInstance => ({
    open: (tee) => (socketsOf(tee) === undefined ? TEEC.TEEC_ERROR_ACCESS_DENIED : 0),
    invoke,
    close: (tee) => socketsOf(tee)?.closeAll(),
  }),
};
