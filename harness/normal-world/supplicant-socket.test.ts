import { expect, test } from "@jest/globals";
import { Scheduler, sleep, type Task } from "../machine/index.ts";
import { SOCKET_OP, SOCKET_TIMEOUT, TEEC } from "../optee-abi/index.ts";
import { echoPeer, type Peer, SimulatedNetwork } from "./network.ts";
import {
  SOCKET_IOCTL,
  SupplicantSockets,
  TEE_IP_VERSION,
  TEE_ISOCKET,
  TEE_ISOCKET_PROTOCOL,
} from "./supplicant-socket.ts";
import type { ServiceParam } from "./supplicant-service.ts";
import { decoded, memory, name, nullMemory, text, value } from "./testkit/service.ts";

const OK = TEEC.TEEC_SUCCESS;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const { TCP, UDP } = TEE_ISOCKET_PROTOCOL;
const INSTANCE = 42;

/** A TA's view of the supplicant's sockets. */
class Net {
  readonly scheduler = new Scheduler(1);
  readonly network = new SimulatedNetwork(this.scheduler);
  readonly sockets = new SupplicantSockets(this.network);

  run<T>(task: Task<T>): T {
    return this.scheduler.run("test", task);
  }

  serve(...params: ServiceParam[]): number {
    return this.run(this.sockets.serve(params));
  }

  open(protocol: number, server: string, port: number, ip: number = TEE_IP_VERSION.DONT_CARE) {
    const handle = value(2);
    const ret = this.serve(
      value(1, SOCKET_OP.OPEN, INSTANCE),
      value(1, port, protocol, ip),
      name(server),
      handle,
    );
    return { ret, handle: Number(handle.a) };
  }

  send(handle: number, of: string, timeout = 0, instance = INSTANCE) {
    const timing = value(3, timeout);
    const request = value(1, SOCKET_OP.SEND, instance, handle);
    const ret = this.serve(request, memory(5, text(of)), timing);
    return { ret, sent: Number(timing.b) };
  }

  *receiveTask(handle: number, room: number, timeout: number) {
    const data = room === 0 ? nullMemory(6) : memory(6, new Uint8Array(room));
    const request = value(1, SOCKET_OP.RECV, INSTANCE, handle);
    const ret: number = yield* this.sockets.serve([request, data, value(1, timeout)]);
    const size = Number(data.b);
    return { ret, size, text: decoded(data.bytes?.subarray(0, size)) };
  }

  receive(handle: number, room: number, timeout: number = SOCKET_TIMEOUT.BLOCKING) {
    return this.run(this.receiveTask(handle, room, timeout));
  }

  ioctl(handle: number, command: number, data: Uint8Array): number {
    const request = value(1, SOCKET_OP.IOCTL, INSTANCE, handle);
    return this.serve(request, memory(7, data), value(1, command));
  }

  close(handle: number, instance = INSTANCE): number {
    return this.serve(value(1, SOCKET_OP.CLOSE, instance, handle));
  }
}

function echoing(delayMs = 0): Net {
  const net = new Net();
  net.network.listen("tcp", "127.0.0.1", 80, echoPeer(delayMs));
  net.network.listen("udp", "127.0.0.1", 53, echoPeer(delayMs));
  return net;
}

test("MSG-3.2.OPEN, MSG-3.SOCKET: a TCP connection is made by address or name, with a handle of its instance", () => {
  const net = echoing();
  expect(net.open(TCP, "127.0.0.1", 80)).toEqual({ ret: OK, handle: 0 });
  expect(net.open(TCP, "localhost", 80)).toEqual({ ret: OK, handle: 1 });
  expect(net.sockets.openSockets).toBe(2);
  expect(net.send(1, "hello").ret).toBe(OK);
  expect(net.receive(1, 20)).toEqual({ ret: OK, size: 5, text: "hello" });
});

test("MSG-3.2.OPEN: the IP version chooses among the addresses of a name", () => {
  const net = echoing();
  net.network.listen("tcp", "::1", 81, echoPeer());
  expect(net.open(TCP, "localhost", 81, TEE_IP_VERSION.V6).ret).toBe(OK);
  expect(net.open(TCP, "localhost", 81, TEE_IP_VERSION.V4).ret).toBe(TEEC.TEEC_ERROR_COMMUNICATION);
  expect(net.open(TCP, "localhost", 81).ret).toBe(OK);
  expect(net.open(TCP, "127.0.0.1", 80, TEE_IP_VERSION.V6).ret).toBe(TEE_ISOCKET.ERROR_HOSTNAME);
  expect(net.open(TCP, "localhost", 80, 3).ret).toBe(BAD);
});

test("MSG-3.2.OPEN: unknown hosts, refusals and silence have codes of their own", () => {
  const net = echoing();
  net.network.addHost("10.0.0.1", "far", "is silent");
  expect(net.open(TCP, "nowhere", 80).ret).toBe(TEE_ISOCKET.ERROR_HOSTNAME);
  expect(net.open(TCP, "127.0.0.1", 81).ret).toBe(TEEC.TEEC_ERROR_COMMUNICATION);
  const before = net.scheduler.nowMs;
  expect(net.open(TCP, "far", 80).ret).toBe(TEE_ISOCKET.ERROR_TIMEOUT);
  expect(net.scheduler.nowMs).toBeGreaterThan(before);
  expect(net.open(0x67, "localhost", 80).ret).toBe(BAD);
  // A datagram socket has a peer without asking it.
  expect(net.open(UDP, "far", 80).ret).toBe(OK);
});

test("MSG-3.2.OPEN: the address must end with NUL where its buffer ends", () => {
  const net = echoing();
  const open = (server: ServiceParam): number =>
    net.serve(value(1, SOCKET_OP.OPEN, 1), value(1, 80, TCP, 0), server, value(2));
  expect(open(memory(5, text("127.0.0.1")))).toBe(TEE_ISOCKET.ERROR_HOSTNAME);
  expect(open(nullMemory(5))).toBe(TEE_ISOCKET.ERROR_HOSTNAME);
  expect(open(name("127.0.0.1"))).toBe(OK);
});

test("MSG-3.2.CLOSE: a handle is closed once, by its own instance, and used again", () => {
  const net = echoing();
  const { handle } = net.open(TCP, "localhost", 80);
  expect(net.close(handle, INSTANCE + 1)).toBe(BAD);
  expect([net.close(handle), net.close(handle)]).toEqual([OK, BAD]);
  expect(net.send(handle, "x").ret).toBe(BAD);
  expect(net.open(TCP, "localhost", 80).handle).toBe(handle);
});

test("MSG-3.2.CLOSE_ALL: all sockets of an instance go, and peers see it", () => {
  const net = new Net();
  let ended = 0;
  net.network.listen("tcp", "127.0.0.1", 80, function* peer(connection): Task {
    while ((yield* connection.receive()) !== undefined) continue;
    ended += 1;
  });
  net.open(TCP, "localhost", 80);
  net.open(TCP, "localhost", 80);
  const all = (instance: number): number => net.serve(value(1, SOCKET_OP.CLOSE_ALL, instance));
  expect([all(7), net.sockets.openSockets]).toEqual([OK, 2]);
  expect([all(INSTANCE), net.sockets.openSockets]).toEqual([OK, 0]);
  net.scheduler.runUntilIdle();
  expect(ended).toBe(2);
});

const deaf: Peer = function* peer(): Task {
  yield* sleep(1000);
};

test("MSG-3.2.SEND: what there is room for is sent; a full peer times out", () => {
  const net = new Net();
  net.network.listen("tcp", "127.0.0.1", 80, deaf);
  const { handle } = net.open(TCP, "localhost", 80);
  expect(net.send(handle, "x".repeat(60_000))).toEqual({ ret: OK, sent: 60_000 });
  expect(net.send(handle, "x".repeat(60_000))).toEqual({ ret: OK, sent: 65_536 - 60_000 });
  expect(net.send(handle, "x").ret).toBe(TEE_ISOCKET.ERROR_TIMEOUT);
  const before = net.scheduler.nowMs;
  expect(net.send(handle, "x", 30).ret).toBe(TEE_ISOCKET.ERROR_TIMEOUT);
  expect(net.scheduler.nowMs - before).toBe(30);
});

test("MSG-3.2.RECV, MSG-3.2.TIMEOUT: 0 does not wait, all ones waits for ever, others so many milliseconds", () => {
  const net = echoing(50);
  const { handle } = net.open(TCP, "localhost", 80);
  net.send(handle, "hello");
  const start = net.scheduler.nowMs;
  expect(net.receive(handle, 10, SOCKET_TIMEOUT.NONBLOCKING).ret).toBe(TEE_ISOCKET.ERROR_TIMEOUT);
  expect(net.scheduler.nowMs - start).toBe(0);
  expect(net.receive(handle, 10, 20).ret).toBe(TEE_ISOCKET.ERROR_TIMEOUT);
  expect(net.scheduler.nowMs - start).toBe(20);
  expect(net.receive(handle, 10, SOCKET_TIMEOUT.BLOCKING).text).toBe("hello");
  expect(net.scheduler.nowMs - start).toBe(50);
});

test("MSG-3.2.RECV: a stream is read in pieces, and its end is an empty piece", () => {
  const net = new Net();
  net.network.listen("tcp", "127.0.0.1", 80, function* peer(connection): Task {
    connection.send(text("abc"));
    connection.send(text("def"));
    connection.close();
    yield null;
  });
  const { handle } = net.open(TCP, "localhost", 80);
  expect(net.receive(handle, 2).text).toBe("ab");
  // How much there is, without taking it and without waiting.
  expect(net.receive(handle, 0)).toEqual({ ret: OK, size: 4, text: "" });
  expect(net.receive(handle, 9).text).toBe("c");
  expect(net.receive(handle, 9).text).toBe("def");
  expect(net.receive(handle, 9)).toEqual({ ret: OK, size: 0, text: "" });
});

test("MSG-3.2.RECV: a datagram that is cut says how long it was", () => {
  const net = echoing();
  const { handle } = net.open(UDP, "localhost", 53, TEE_IP_VERSION.V4);
  net.send(handle, "datagram");
  net.send(handle, "next");
  expect(net.receive(handle, 4)).toMatchObject({ ret: OK, size: 8, text: "data" });
  expect(net.receive(handle, 9)).toEqual({ ret: OK, size: 4, text: "next" });
  expect(net.receive(handle, 0)).toEqual({ ret: OK, size: 0, text: "" });
});

test("MSG-3.2.IOCTL: buffer sizes of a stream, and another peer for datagrams", () => {
  const net = echoing();
  net.network.listen("udp", "127.0.0.1", 54, function* peer(connection): Task {
    while ((yield* connection.receive()) !== undefined) connection.send(text("other port"));
  });
  net.network.addHost("10.0.0.2", "other");
  net.network.listen("udp", "10.0.0.2", 54, function* peer(connection): Task {
    while ((yield* connection.receive()) !== undefined) connection.send(text("other host"));
  });
  const stream = net.open(TCP, "localhost", 80).handle;
  const datagrams = net.open(UDP, "localhost", 53, TEE_IP_VERSION.V4).handle;
  const four = new Uint8Array(4);
  expect(net.ioctl(stream, SOCKET_IOCTL.TCP_SET_RECVBUF, four)).toBe(OK);
  expect(net.ioctl(stream, SOCKET_IOCTL.TCP_SET_SENDBUF, new Uint8Array(3))).toBe(BAD);
  const { UDP_CHANGEADDR, UDP_CHANGEPORT } = SOCKET_IOCTL;
  expect(net.ioctl(stream, UDP_CHANGEPORT, four)).toBe(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  expect(net.ioctl(datagrams, SOCKET_IOCTL.TCP_SET_RECVBUF, four)).toBe(
    TEEC.TEEC_ERROR_NOT_SUPPORTED,
  );
  expect(net.ioctl(datagrams, UDP_CHANGEPORT, four)).toBe(BAD);
  expect(net.ioctl(datagrams, UDP_CHANGEPORT, Uint8Array.of(54, 0))).toBe(OK);
  net.send(datagrams, "?");
  expect(net.receive(datagrams, 20).text).toBe("other port");
  expect(net.ioctl(datagrams, UDP_CHANGEADDR, text("nowhere\0"))).toBe(TEE_ISOCKET.ERROR_HOSTNAME);
  expect(net.ioctl(datagrams, UDP_CHANGEADDR, text("other\0"))).toBe(OK);
  net.send(datagrams, "?");
  expect(net.receive(datagrams, 20).text).toBe("other host");
  expect(net.ioctl(99, UDP_CHANGEPORT, four)).toBe(BAD);
});

test("MSG-3.SOCKET: unknown operations and other shapes are BAD_PARAMETERS", () => {
  const net = echoing();
  const shapes: ServiceParam[][] = [
    [],
    [name("x")],
    [value(1, 6)],
    [value(1, SOCKET_OP.OPEN), value(1), name("x")],
    [value(1, SOCKET_OP.CLOSE), value(1)],
    [value(1, SOCKET_OP.CLOSE_ALL), value(1)],
    [value(1, SOCKET_OP.SEND), name("x"), value(1)],
    [value(1, SOCKET_OP.RECV), name("x"), value(1)],
    [value(1, SOCKET_OP.IOCTL), memory(6, new Uint8Array(1)), value(1)],
  ];
  expect(shapes.map((params) => net.serve(...params))).toEqual(shapes.map(() => BAD));
});

test("MSG-3.2.CLOSE_ALL: the end of the supplicant's process closes every socket", () => {
  const net = echoing();
  net.open(TCP, "localhost", 80);
  net.sockets.close();
  expect(net.sockets.openSockets).toBe(0);
});
