import { TEEC } from "../../optee-abi/index.ts";
import { PrivateMemory } from "../memory-object.ts";
import { paramTypes, TaParam, type TaParams, taParams, TEE_PARAM, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import { SOCKET_CMD, SOCKET_UUID } from "./pta-socket.ts";
import type { TaInstance, TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";

export const SOCKET_TEST_UUID = "873bcd08-c2c3-11e6-a937-d0bf9c45c61c";
export const SOCKET_TEST_CMD = {
  TCP_OPEN: 0,
  UDP_OPEN: 1,
  CLOSE: 2,
  SEND: 3,
  RECV: 4,
  ERROR: 5,
  IOCTL: 6,
} as const;

const { VALUE_INPUT, VALUE_OUTPUT, VALUE_INOUT, MEMREF_INPUT, MEMREF_OUTPUT, MEMREF_INOUT } =
  TEE_PARAM;
const OPEN_TYPES = paramTypes(VALUE_INPUT, MEMREF_INPUT, MEMREF_OUTPUT, VALUE_OUTPUT);
const TYPES: Readonly<Record<number, number>> = {
  [SOCKET_TEST_CMD.TCP_OPEN]: OPEN_TYPES,
  [SOCKET_TEST_CMD.UDP_OPEN]: OPEN_TYPES,
  [SOCKET_TEST_CMD.CLOSE]: paramTypes(MEMREF_INPUT),
  [SOCKET_TEST_CMD.SEND]: paramTypes(MEMREF_INPUT, MEMREF_INPUT, VALUE_INOUT),
  [SOCKET_TEST_CMD.RECV]: paramTypes(MEMREF_INPUT, MEMREF_OUTPUT, VALUE_INPUT),
  [SOCKET_TEST_CMD.ERROR]: paramTypes(MEMREF_INPUT, VALUE_OUTPUT),
  [SOCKET_TEST_CMD.IOCTL]: paramTypes(MEMREF_INPUT, MEMREF_INOUT, VALUE_INPUT),
};

/** Bytes of the handle that a client keeps: two pointers of the TA. */
const HANDLE_SIZE = 16;
const TEE_ISOCKET = { ERROR_PROTOCOL: 0xf100_7001, ERROR_HOSTNAME: 0xf100_7007 } as const;
const PROTOCOL = { TCP: 0x65, UDP: 0x66 } as const;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;

/** xtest's TA for the GP sockets API: clients open sockets in it and hold opaque handles. */
class SocketTest implements TaInstance {
  /** The session to the pseudo-TA, opened with the first socket and closed with the instance. */
  #pta: number | undefined;
  /** Protocol error of each socket, as its last operation left it. */
  readonly #errors = new Map<number, number>();
  readonly #protocols = new Map<number, number>();

  invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> | number {
    if (TYPES[command] !== typesOf(params)) return BAD;
    if (command === SOCKET_TEST_CMD.TCP_OPEN) return this.#open(tee, PROTOCOL.TCP, params);
    if (command === SOCKET_TEST_CMD.UDP_OPEN) return this.#open(tee, PROTOCOL.UDP, params);
    if (params[0].size !== HANDLE_SIZE) return BAD;
    const [handle = 0] = new Uint32Array(params[0].read(0, 4).slice().buffer);
    return this.#use(tee, command, handle, params);
  }

  *#call(tee: TeeApi, command: number, ...params: readonly TaParam[]): SecureTask<number> {
    if (this.#pta === undefined) {
      const opened = yield* tee.openTaSession(SOCKET_UUID, taParams());
      if (opened.result !== TEEC.TEEC_SUCCESS) return opened.result;
      this.#pta = opened.session;
    }
    return (yield* tee.invokeTaCommand(this.#pta, command, taParams(...params))).result;
  }

  *#open(tee: TeeApi, protocol: number, params: TaParams): SecureTask<number> {
    const [where, server, handle, error] = params;
    if (handle.size < HANDLE_SIZE) {
      handle.size = HANDLE_SIZE;
      return TEEC.TEEC_ERROR_SHORT_BUFFER;
    }
    const name = server.read();
    const end = name.indexOf(0);
    const address = new PrivateMemory(
      Uint8Array.from([...name.subarray(0, end < 0 ? name.length : end), 0]),
    );
    const made = TaParam.value(VALUE_OUTPUT, 0);
    const result = yield* this.#call(
      tee,
      SOCKET_CMD.OPEN,
      TaParam.value(VALUE_INPUT, where.a, where.b),
      TaParam.memref(MEMREF_INPUT, address),
      TaParam.value(VALUE_INPUT, protocol),
      made,
    );
    // Only a name that leads nowhere is an error of the protocol, which is told apart.
    error.a = result === TEE_ISOCKET.ERROR_HOSTNAME ? result : TEEC.TEEC_SUCCESS;
    if (result === TEE_ISOCKET.ERROR_HOSTNAME) return TEE_ISOCKET.ERROR_PROTOCOL;
    if (result !== TEEC.TEEC_SUCCESS) return result;
    this.#protocols.set(made.a, protocol);
    this.#errors.set(made.a, TEEC.TEEC_SUCCESS);
    const opaque = new Uint8Array(HANDLE_SIZE);
    new DataView(opaque.buffer).setUint32(0, made.a, true);
    handle.write(opaque);
    handle.size = HANDLE_SIZE;
    return result;
  }

  *#use(tee: TeeApi, command: number, handle: number, params: TaParams): SecureTask<number> {
    const error = this.#errors.get(handle);
    if (error === undefined) return tee.panic(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const [, data, timing] = params;
    let result: number = TEEC.TEEC_SUCCESS;
    switch (command) {
      case SOCKET_TEST_CMD.ERROR:
        data.a = error;
        return result;
      case SOCKET_TEST_CMD.CLOSE:
        this.#errors.delete(handle);
        return yield* this.#call(tee, SOCKET_CMD.CLOSE, TaParam.value(VALUE_INPUT, handle));
      case SOCKET_TEST_CMD.SEND: {
        const sent = TaParam.value(VALUE_OUTPUT, 0);
        const where = TaParam.value(VALUE_INPUT, handle, timing.a);
        const input = TaParam.memref(MEMREF_INPUT, data.memory, data.offset, data.size);
        result = yield* this.#call(tee, SOCKET_CMD.SEND, where, input, sent);
        timing.b = sent.a;
        break;
      }
      case SOCKET_TEST_CMD.RECV:
        result = yield* this.#buffer(tee, SOCKET_CMD.RECV, handle, timing.a, data);
        break;
      default: {
        // Commands for every protocol are none; those of another end the TA.
        const protocol = timing.a >>> 24;
        if (protocol === 0) return result;
        if (protocol !== this.#protocols.get(handle)) return tee.panic(0);
        result = yield* this.#buffer(tee, SOCKET_CMD.IOCTL, handle, timing.a, data);
      }
    }
    this.#errors.set(handle, result);
    return result;
  }

  /** A command whose data come back. */
  *#buffer(
    tee: TeeApi,
    command: number,
    handle: number,
    b: number,
    data: TaParam,
  ): SecureTask<number> {
    const bytes = TaParam.memref(data.type, data.memory, data.offset, data.size);
    const where = TaParam.value(VALUE_INPUT, handle, b);
    const result = yield* this.#call(tee, command, where, bytes);
    data.size = bytes.size;
    return result;
  }
}

export const socketTa: TrustedApplication = {
  name: "socket_test",
  uuid: SOCKET_TEST_UUID,
  flags: 0,
  stackSize: 2 * 1024,
  dataSize: 32 * 1024,
  imageSize: 117_864,
  instantiate: (): TaInstance => new SocketTest(),
};
