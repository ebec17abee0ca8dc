import { expect, test } from "@jest/globals";
import { ATTR_TYPE, type Message, RPC_CMD, RPC_FUNC, TEEC } from "../optee-abi/index.ts";
import { type TaParams, taParams } from "./param.ts";
import {
  SOCKET_CMD,
  SOCKET_UUID,
  type TaInstance,
  type TeeApi,
  type TrustedApplication,
} from "./tas/index.ts";
import { type Param, rmem, SecureKit, value } from "./testkit/kit.ts";
import type { SecureTask } from "./thread.ts";

const USER_UUID = "aaaaaaaa-0000-4000-8000-0000000000aa";
const PANIC = 99;

/** A TA that opens the socket service at its creation and hands all commands on to it. */
function* create(self: { session: number }, tee: TeeApi): SecureTask<number> {
  const opened = yield* tee.openTaSession(SOCKET_UUID, taParams());
  self.session = opened.session;
  return opened.result;
}

function* forward(
  session: number,
  tee: TeeApi,
  command: number,
  params: TaParams,
): SecureTask<number> {
  if (command === PANIC) return tee.panic(1);
  return (yield* tee.invokeTaCommand(session, command, params)).result;
}

const user: TrustedApplication = {
  name: "socket user",
  uuid: USER_UUID,
  flags: 0,
  stackSize: 4096,
  dataSize: 4096,
  imageSize: 16,
  instantiate: (): TaInstance => {
    const self = { session: 0 };
    return {
      create: (tee) => create(self, tee),
      invoke: (tee, command, params) => forward(self.session, tee, command, params),
    };
  },
};

/** A normal world whose supplicant answers sockets by `serve`: outputs are changed in place. */
class SocketKit extends SecureKit {
  readonly requests: (readonly bigint[])[] = [];
  constructor(serve: (message: Message, data: number | undefined) => number = () => 0) {
    super({ userTas: [user] });
    this.onCommand = (message, _kit, at) => {
      if (message.cmd !== RPC_CMD.SOCKET) return false;
      this.requests.push(message.params.flatMap(({ a, b, c }) => [a, b, c]));
      const named = message.params.find(({ attr }) => attr >= 5n);
      const pages = named === undefined ? undefined : this.payload(named.c);
      this.reply(message, at, serve(message, pages?.[0]));
      return true;
    };
  }

  /** A registered buffer of the client with these bytes; a reference to it and its page. */
  buffer(type: number, bytes: Uint8Array, cookie: bigint): { param: Param; page: number } {
    const { pages } = this.register(cookie);
    const [page = 0] = pages;
    this.poke(page, bytes);
    return { param: rmem(type, cookie, 0, bytes.length), page };
  }
}

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (of: string): Uint8Array => new TextEncoder().encode(of);
const { VALUE_INPUT, VALUE_OUTPUT, RMEM_INPUT, RMEM_OUTPUT, RMEM_INOUT } = ATTR_TYPE;

test("MSG-3.2.OPEN: a TA's connection names its instance, port, protocol, IP version and address", () => {
  let address = "";
  const kit = new SocketKit((message, data) => {
    address = text(kit.peek(data ?? 0, 10));
    const [, , , handle] = message.params;
    if (handle !== undefined) handle.a = 5n;
    return 0;
  });
  const { session } = kit.open(USER_UUID);
  const { param } = kit.buffer(RMEM_INPUT, bytes("localhost\0"), 8n);
  const opened = kit.invoke(session, SOCKET_CMD.OPEN, [
    value(VALUE_INPUT, 1n, 80n),
    param,
    value(VALUE_INPUT, 0x65n),
    value(VALUE_OUTPUT),
  ]);
  expect(opened.ret).toBe(TEEC.TEEC_SUCCESS);
  expect(opened.params[3]?.a).toBe(5n);
  const [request = []] = kit.requests;
  expect(request.slice(0, 6)).toEqual([0n, request[1], 0n, 80n, 0x65n, 1n]);
  expect(request[1]).toBeGreaterThan(0n);
  expect(address).toBe("localhost\0");
});

test("MSG-3.2.SEND, MSG-3.2.TIMEOUT: data go out with the timeout, and come back with their number", () => {
  let sent = "";
  const kit = new SocketKit((message, data) => {
    sent = text(kit.peek(data ?? 0, 5));
    const [, , count] = message.params;
    if (count !== undefined) count.b = 3n;
    return 0;
  });
  const { session } = kit.open(USER_UUID);
  const { param } = kit.buffer(RMEM_INPUT, bytes("hello"), 8n);
  const done = kit.invoke(session, SOCKET_CMD.SEND, [
    value(VALUE_INPUT, 5n, 0xffff_ffffn),
    param,
    value(VALUE_OUTPUT),
  ]);
  expect([done.ret, done.params[2]?.a, sent]).toEqual([0, 3n, "hello"]);
  const [request = []] = kit.requests;
  expect([request[0], request[2], request[6]]).toEqual([3n, 5n, 0xffff_ffffn]);
});

test("MSG-3.2.RECV: what came is copied up to the client's buffer, and its size told", () => {
  for (const [size, expected] of [
    [3n, "heyxx"],
    [9n, "hey!!"],
  ] as const) {
    const kit = new SocketKit((message, data) => {
      kit.poke(data ?? 0, bytes("hey!!!!!!"));
      const [, out] = message.params;
      if (out !== undefined) out.b = size;
      return 0;
    });
    const { session } = kit.open(USER_UUID);
    const { param, page } = kit.buffer(RMEM_OUTPUT, bytes("xxxxx"), 8n);
    const done = kit.invoke(session, SOCKET_CMD.RECV, [value(VALUE_INPUT, 5n, 0n), param]);
    expect([done.ret, done.params[1]?.b]).toEqual([0, size]);
    expect(text(kit.peek(page, 5))).toBe(expected);
  }
});

test("MSG-3.2.IOCTL, MSG-3.2.CLOSE: command and handle go out, the code comes back", () => {
  const kit = new SocketKit(() => TEEC.TEEC_ERROR_NOT_SUPPORTED);
  const { session } = kit.open(USER_UUID);
  const { param } = kit.buffer(RMEM_INOUT, bytes("1234"), 8n);
  const ioctl = kit.invoke(session, SOCKET_CMD.IOCTL, [value(VALUE_INPUT, 5n, 0x77n), param]);
  const closed = kit.invoke(session, SOCKET_CMD.CLOSE, [value(VALUE_INPUT, 5n)]);
  expect([ioctl.ret, closed.ret]).toEqual([
    TEEC.TEEC_ERROR_NOT_SUPPORTED,
    TEEC.TEEC_ERROR_NOT_SUPPORTED,
  ]);
  const [first = [], second = []] = kit.requests;
  expect([first[0], first[2], first[6]]).toEqual([5n, 5n, 0x77n]);
  expect([second[0], second[2], second.length]).toEqual([1n, 5n, 3]);
});

test.each([
  ["MSG-3.2.END", "its session is closed", (kit: SecureKit, session: number) => kit.close(session)],
  ["MSG-3.2.END", "it panics", (kit: SecureKit, session: number) => kit.invoke(session, PANIC)],
])("%s: when %s, CLOSE_ALL names that instance alone", (_, _what, end) => {
  const kit = new SocketKit();
  const first = kit.open(USER_UUID).session;
  const second = kit.open(USER_UUID).session;
  for (const session of [first, second]) {
    kit.invoke(session, SOCKET_CMD.CLOSE, [value(VALUE_INPUT, 5n)]);
  }
  const instances = kit.requests.map((request) => request[1]);
  expect(new Set(instances).size).toBe(2);
  kit.requests.length = 0;
  end(kit, first);
  expect(kit.requests).toEqual([[2n, instances[0], 0n]]);
});

test("MSG-3.6: the payload memory of a TA's sockets lasts for the call, one buffer for all requests", () => {
  const kit = new SocketKit();
  const { session } = kit.open(USER_UUID);
  const { param } = kit.buffer(RMEM_INPUT, bytes("hello"), 8n);
  kit.rpcs.length = 0;
  kit.invoke(session, SOCKET_CMD.SEND, [value(VALUE_INPUT, 5n), param, value(VALUE_OUTPUT)]);
  const seen = kit.rpcs
    .filter(({ func }) => func === RPC_FUNC.CMD)
    .map(({ message }) => message?.cmd);
  expect(seen).toEqual([RPC_CMD.SHM_ALLOC, RPC_CMD.SOCKET, RPC_CMD.SHM_FREE]);
  expect(kit.livePayloads).toBe(0);
});

test("the socket service is for TAs, and refuses other shapes and commands without a request", () => {
  const kit = new SocketKit();
  expect(kit.open(SOCKET_UUID).ret).toBe(TEEC.TEEC_ERROR_ACCESS_DENIED);
  const { session } = kit.open(USER_UUID);
  expect(kit.invoke(session, SOCKET_CMD.CLOSE).ret).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  expect(kit.invoke(session, 7).ret).toBe(TEEC.TEEC_ERROR_NOT_IMPLEMENTED);
  expect(kit.requests).toEqual([]);
});
