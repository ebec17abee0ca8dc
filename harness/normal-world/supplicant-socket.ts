import type { Task, WaitQueue } from "../machine/index.ts";
import { SOCKET_OP, SOCKET_TIMEOUT, TEEC } from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { ConnectResult, Protocol, SimulatedNetwork, Socket } from "./network.ts";
import { isValue, type ServiceParam, shapeIs, u32 } from "./supplicant-service.ts";

/** Result codes of the GP sockets API that the supplicant gives. */
export const TEE_ISOCKET = {
  ERROR_TIMEOUT: 0xf100_7003,
  ERROR_HOSTNAME: 0xf100_7007,
} as const;
/** value[1].b of OPEN. */
export const TEE_ISOCKET_PROTOCOL = { TCP: 0x65, UDP: 0x66 } as const;
/** value[1].c of OPEN. */
export const TEE_IP_VERSION = { DONT_CARE: 0, V4: 1, V6: 2 } as const;
/** value[2].a of IOCTL. */
export const SOCKET_IOCTL = {
  TCP_SET_RECVBUF: 0x65f0_0000,
  TCP_SET_SENDBUF: 0x65f0_0001,
  UDP_CHANGEADDR: 0x6600_0001,
  UDP_CHANGEPORT: 0x6600_0002,
} as const;

const { VALUE_INPUT, VALUE_OUTPUT, VALUE_INOUT, MEMREF_INPUT, MEMREF_OUTPUT, MEMREF_INOUT } =
  PARAM_ATTR;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OK = TEEC.TEEC_SUCCESS;
/** How much of a datagram is looked at for its size. */
const MAX_PEEK = 4096;

/** The supplicant's service for sockets of TAs (MSG-3.2). */
export class SupplicantSockets {
  readonly #network: SimulatedNetwork;
  /** Sockets by TA instance and handle. */
  readonly #instances = new Map<number, Map<number, Socket>>();

  constructor(network: SimulatedNetwork) {
    this.#network = network;
  }

  get openSockets(): number {
    return [...this.#instances.values()].reduce((sum, sockets) => sum + sockets.size, 0);
  }

  *serve(params: readonly ServiceParam[]): Task<number> {
    const [request] = params;
    if (request === undefined || !isValue(request)) return BAD;
    switch (u32(request.a)) {
      case SOCKET_OP.OPEN:
        return yield* this.#open(params);
      case SOCKET_OP.CLOSE:
        return shapeIs(params, VALUE_INPUT) ? this.#close(request) : BAD;
      case SOCKET_OP.CLOSE_ALL:
        return shapeIs(params, VALUE_INPUT) ? this.#closeAll(u32(request.b)) : BAD;
      case SOCKET_OP.SEND:
        return shapeIs(params, VALUE_INPUT, MEMREF_INPUT, VALUE_INOUT)
          ? yield* this.#send(params)
          : BAD;
      case SOCKET_OP.RECV:
        return shapeIs(params, VALUE_INPUT, MEMREF_OUTPUT, VALUE_INPUT)
          ? yield* this.#receive(params)
          : BAD;
      case SOCKET_OP.IOCTL:
        return shapeIs(params, VALUE_INPUT, MEMREF_INOUT, VALUE_INPUT)
          ? yield* this.#ioctl(params)
          : BAD;
      default:
        return BAD;
    }
  }

  *#open(params: readonly ServiceParam[]): Task<number> {
    const [request, where, server, handle] = params;
    if (!shapeIs(params, VALUE_INPUT, VALUE_INPUT, MEMREF_INPUT, VALUE_OUTPUT)) return BAD;
    if (handle === undefined) return BAD;
    const name = serverName(server);
    if (name === undefined) return TEE_ISOCKET.ERROR_HOSTNAME;
    const version = IP_VERSIONS.get(u32(where?.c));
    const protocol = PROTOCOLS.get(u32(where?.b));
    if (version === undefined || protocol === undefined) return BAD;
    const port = u32(where?.a) & 0xffff;
    const made = yield* this.#network.connect(protocol, name, port, version);
    if (typeof made === "string") return CONNECT_FAILURES[made];
    const instance = u32(request?.b);
    const sockets = this.#instances.get(instance) ?? new Map<number, Socket>();
    this.#instances.set(instance, sockets);
    let number = 0;
    while (sockets.has(number)) number += 1;
    sockets.set(number, made);
    handle.a = BigInt(number);
    return OK;
  }

  #find(request: ServiceParam | undefined): Socket | undefined {
    return this.#instances.get(u32(request?.b))?.get(u32(request?.c));
  }

  #close(request: ServiceParam): number {
    const socket = this.#find(request);
    if (socket === undefined) return BAD;
    this.#instances.get(u32(request.b))?.delete(u32(request.c));
    socket.close();
    return OK;
  }

  #closeAll(instance: number): number {
    for (const socket of this.#instances.get(instance)?.values() ?? []) socket.close();
    this.#instances.delete(instance);
    return OK;
  }

  *#send(params: readonly ServiceParam[]): Task<number> {
    const [request, data, timing] = params;
    const socket = this.#find(request);
    if (socket === undefined || timing === undefined) return BAD;
    const timeout = u32(timing.a);
    const ready = yield* this.#poll(() => socket.room > 0, socket.writable, timeout);
    if (!ready) return TEE_ISOCKET.ERROR_TIMEOUT;
    if (data?.bytes === undefined && data?.b !== 0n) return BAD;
    timing.b = BigInt(socket.send(data.bytes ?? new Uint8Array(0)));
    return OK;
  }

  *#receive(params: readonly ServiceParam[]): Task<number> {
    const [request, data, timing] = params;
    const socket = this.#find(request);
    if (socket === undefined || data === undefined) return BAD;
    const length = Number(data.b);
    if (length === 0) {
      // Only asks how much there is; never waits.
      data.b = BigInt(Math.min(socket.queued, MAX_PEEK + (socket.queued > MAX_PEEK ? 1 : 0)));
      return OK;
    }
    const timeout = u32(timing?.a);
    const ready = yield* this.#poll(() => socket.hasInput, socket.readable, timeout);
    if (!ready) return TEE_ISOCKET.ERROR_TIMEOUT;
    if (data.bytes === undefined) return BAD;
    const { bytes, whole } = socket.receive(length);
    data.bytes.set(bytes);
    // A datagram that was cut says how long it was.
    const lost = socket.protocol === "udp" && whole > bytes.length;
    data.b = BigInt(lost ? Math.max(Math.min(whole, MAX_PEEK + 1), length + 1) : bytes.length);
    return OK;
  }

  /** Waits as poll(2) does: not at all, for ever, or some milliseconds (MSG-3.2.TIMEOUT). */
  *#poll(ready: () => boolean, queue: WaitQueue, timeout: number): Task<boolean> {
    const until = this.#network.nowMs + timeout;
    while (!ready()) {
      const left = until - this.#network.nowMs;
      if (timeout === SOCKET_TIMEOUT.BLOCKING) yield queue;
      else if (left > 0) yield { queue, timeoutMs: left };
      else return false;
    }
    return true;
  }

  /** Ends every connection, as the end of the process does. */
  close(): void {
    for (const instance of Array.from(this.#instances.keys())) this.#closeAll(instance);
  }

  *#ioctl(params: readonly ServiceParam[]): Task<number> {
    const [request, data, command] = params;
    const socket = this.#find(request);
    if (socket === undefined) return BAD;
    const bytes = data?.bytes ?? new Uint8Array(0);
    switch (u32(command?.a)) {
      case SOCKET_IOCTL.TCP_SET_RECVBUF:
      case SOCKET_IOCTL.TCP_SET_SENDBUF:
        if (socket.protocol !== "tcp") break;
        return bytes.length >= 4 ? OK : BAD;
      case SOCKET_IOCTL.UDP_CHANGEADDR: {
        if (socket.protocol !== "udp") break;
        const name = serverName(data);
        const [address] = name === undefined ? [] : this.#network.resolve(name, socket.version);
        if (address === undefined) return TEE_ISOCKET.ERROR_HOSTNAME;
        yield* this.#network.reach(socket, address, socket.port);
        return OK;
      }
      case SOCKET_IOCTL.UDP_CHANGEPORT: {
        if (socket.protocol !== "udp") break;
        if (bytes.length !== 2) return BAD;
        const port = new DataView(bytes.buffer, bytes.byteOffset, 2).getUint16(0, true);
        yield* this.#network.reach(socket, socket.address, port);
        return OK;
      }
      default:
    }
    return TEEC.TEEC_ERROR_NOT_SUPPORTED;
  }
}

const PROTOCOLS: ReadonlyMap<number, Protocol> = new Map([
  [TEE_ISOCKET_PROTOCOL.TCP, "tcp"],
  [TEE_ISOCKET_PROTOCOL.UDP, "udp"],
]);
const IP_VERSIONS: ReadonlyMap<number, 0 | 4 | 6> = new Map([
  [TEE_IP_VERSION.DONT_CARE, 0],
  [TEE_IP_VERSION.V4, 4],
  [TEE_IP_VERSION.V6, 6],
]);

/** A NUL-terminated name that fills its buffer. */
function serverName(param: ServiceParam | undefined): string | undefined {
  const { bytes } = param ?? {};
  if (bytes === undefined || bytes.at(-1) !== 0) return undefined;
  return new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0)));
}

const CONNECT_FAILURES: Readonly<Record<Exclude<ConnectResult, Socket>, number>> = {
  "no such host": TEE_ISOCKET.ERROR_HOSTNAME,
  "timed out": TEE_ISOCKET.ERROR_TIMEOUT,
  refused: TEEC.TEEC_ERROR_COMMUNICATION,
};
