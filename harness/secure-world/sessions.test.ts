import { expect, test } from "@jest/globals";
import { ATTR_TYPE, isRpcReturn, MSG_CMD, OPTEE_SMC, RPC_CMD, TEEC } from "../optee-abi/index.ts";
import { nextSessionId, type Session } from "./session.ts";
import { INVOKE_TESTS_UUID, OS_TEST_CMD, OS_TEST_UUID } from "./tas/index.ts";
import { openMessage, type Param, SecureKit, value } from "./testkit/kit.ts";
import { ProbeTa } from "./testkit/probe-ta.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;

function probed(): { kit: SecureKit; probe: ProbeTa } {
  const probe = new ProbeTa();
  return { kit: new SecureKit({ pseudoTas: [probe.ta], userTas: [] }), probe };
}

test("MSG-2.OPEN_SESSION: two leading parameters of exactly 0x101, and at most four more", () => {
  const { kit } = probed();
  const { params = [] } = openMessage(ProbeTa.uuid);
  const open = (changed: readonly Param[]): unknown => {
    const { a0, ret, ret_origin: origin, session } = kit.call({ params: changed, session: 77 });
    return { a0, ret, origin, session };
  };
  const refused = { a0: 0, ret: BAD, origin: 3, session: 0 };
  expect(open(params)).toEqual({ a0: 0, ret: 0, origin: 4, session: 1 });
  const [first = {}, second = {}] = params;
  for (const attr of [0x1n, 0x100n, 0x102n, 0x103n, 0x301n, 0x1_0101n, 0x1_0000_0101n]) {
    expect(open([{ ...first, attr }, second])).toEqual(refused);
    expect(open([first, { ...second, attr }])).toEqual(refused);
  }
  expect([open([]), open([first])]).toEqual([refused, refused]);
  const none = Array.from({ length: 5 }, () => value(ATTR_TYPE.NONE));
  expect(open([...params, ...none.slice(1)])).toMatchObject({ ret: 0, session: 2 });
  expect(open([...params, ...none])).toEqual(refused);
  // A further META parameter is none of the two.
  expect(open([...params, value(0x101)])).toEqual(refused);
});

test("MSG-2.1.P0: the UUID of the TA is 16 octets in RFC 4122 order; c of both is no part of a UUID", () => {
  const kit = new SecureKit();
  const { params = [] } = openMessage(INVOKE_TESTS_UUID);
  const [first = {}, second = {}] = params;
  const at = kit.put({ params: [{ ...first, c: 0xffff_ffffn }, second] });
  const octets = Uint8Array.from(Buffer.from(INVOKE_TESTS_UUID.replaceAll("-", ""), "hex"));
  expect(kit.peek(at + 40, 16)).toEqual(octets);
  kit.finish(kit.start(at));
  expect(kit.get(at).ret).toBe(0);
  // Fields in the machine's order name another TA.
  kit.put({ params }, at);
  kit.poke(at + 40, octets.slice(0, 4).toReversed());
  kit.finish(kit.start(at));
  expect(kit.get(at).ret).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
});

test("MSG-2.1.P1: the login class is the low word of c", () => {
  const { kit, probe } = probed();
  expect(kit.open(ProbeTa.uuid, [], 0x7_0000_0001n).ret).toBe(0);
  expect(probe.client.login).toBe(1);
});

const sessionsOf = (...ids: number[]): Session[] => ids.map((id) => ({ id }) as Session);

test("MSG-2.1.2: ids go on past the last one of 32 bits, over 0 and those in use", () => {
  expect(nextSessionId(sessionsOf())).toBe(1);
  expect(nextSessionId(sessionsOf(7))).toBe(8);
  expect(nextSessionId(sessionsOf(9, 3))).toBe(4);
  expect(nextSessionId(sessionsOf(4, 3))).toBe(5);
  expect(nextSessionId(sessionsOf(0xffff_ffff))).toBe(1);
  expect(nextSessionId(sessionsOf(1, 2, 0xffff_ffff))).toBe(3);
  expect(nextSessionId(sessionsOf(0xffff_ffff, 1, 0xffff_fffe))).toBe(2);
});

test("MSG-2.2.FETCH: parameters are fetched once; cmd, func and session are read when used", () => {
  const seen: number[] = [];
  let message = 0;
  let armed = false;
  const probe = new ProbeTa();
  const kit = new SecureKit({
    pseudoTas: [probe.ta],
    userTas: [],
    onAccess: (page, own) => {
      if (!armed || page !== message) return;
      seen.push(page);
      // After num_params, cmd and the parameter were read: another value, and the right session.
      if (seen.length < 12) return;
      own.poke(message + 40, Uint8Array.of(99));
      own.poke(message + 8, Uint8Array.of(session, 0));
    },
  });
  const { session } = kit.open(ProbeTa.uuid);
  message = kit.put({
    cmd: MSG_CMD.INVOKE_COMMAND,
    session: 0x1234,
    params: [value(1, 5n), value(1, 6n), value(1, 7n)],
  });
  armed = true;
  kit.finish(kit.start(message));
  armed = false;
  expect(kit.get(message).ret).toBe(0);
  expect([0, 1, 2].map((index) => probe.param(index).a)).toEqual([5, 6, 7]);
});

test("MSG-2.INVOKE_COMMAND: up to four parameters reach the TA; an unknown session is BAD_PARAMETERS from the TEE", () => {
  const { kit, probe } = probed();
  const { session } = kit.open(ProbeTa.uuid);
  const values = [1n, 2n, 3n, 4n].map((a) => value(1, a));
  expect(kit.invoke(session, 0, values)).toMatchObject({ a0: 0, ret: 0, ret_origin: 4 });
  expect([0, 1, 2, 3].map((index) => probe.param(index).a)).toEqual([1, 2, 3, 4]);
  expect(kit.invoke(session + 1, 0, values)).toMatchObject({ ret: BAD, ret_origin: 3 });
  expect(kit.invoke(0, 0)).toMatchObject({ ret: BAD, ret_origin: 3 });
});

test("MSG-2.CANCEL: cancels what the session does, whatever cancel_id says, and only that operation", () => {
  const kit = new SecureKit();
  const { session } = kit.open(OS_TEST_UUID);
  const wait = {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: OS_TEST_CMD.WAIT,
    cancel_id: 5,
    params: [value(ATTR_TYPE.VALUE_INPUT, 10_000n)],
  };
  const at = kit.put(wait);
  const registers = kit.start(at);
  while (kit.commandOf(registers) !== RPC_CMD.SUSPEND) kit.serve(registers);
  const cancelled = kit.call({ cmd: MSG_CMD.CANCEL, session, cancel_id: 0xdead });
  expect(cancelled).toMatchObject({ a0: 0, ret: 0, ret_origin: 3 });
  // The answer to the wait comes early: the TA sees the cancellation before it waits again.
  kit.onCommand = (message, own, where) => {
    if (message.cmd !== RPC_CMD.SUSPEND) return false;
    own.nowMs += 10;
    own.reply(message, where, 0);
    return true;
  };
  kit.finish(registers);
  expect(kit.get(at)).toMatchObject({ ret: TEEC.TEEC_ERROR_CANCEL, ret_origin: 4 });
  expect(kit.nowMs).toBeLessThan(100);
  // The next operation starts without.
  kit.onCommand = undefined;
  expect(kit.call(wait)).toMatchObject({ ret: 0 });
  expect(kit.nowMs).toBeGreaterThanOrEqual(10_000);
});

test("MSG-2.CLOSE_SESSION: a session that is in use is closed when it is free, and waiters find it gone", () => {
  const kit = new SecureKit({ build: { threads: 3 } });
  const { session } = kit.open(OS_TEST_UUID);
  const busy = kit.start(
    kit.put({
      cmd: MSG_CMD.INVOKE_COMMAND,
      session,
      func: OS_TEST_CMD.WAIT,
      params: [value(ATTR_TYPE.VALUE_INPUT, 10n)],
    }),
  );
  while (kit.commandOf(busy) !== RPC_CMD.SUSPEND) kit.serve(busy);
  const close = kit.put({ cmd: MSG_CMD.CLOSE_SESSION, session });
  const invoke = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, session, func: OS_TEST_CMD.INIT });
  const waiting = [kit.start(close), kit.start(invoke)];
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    own.reply(message, at, 0);
    return true;
  };
  for (const call of waiting) {
    while (kit.commandOf(call) !== RPC_CMD.NOTIFICATION) kit.serve(call);
  }
  kit.finish(busy);
  while (waiting.some((call) => isRpcReturn(call.get(0)))) {
    for (const call of waiting) if (isRpcReturn(call.get(0))) kit.serve(call);
  }
  expect([kit.get(close).ret, kit.get(invoke).ret]).toEqual([0, BAD]);
  expect(kit.world.partitions.all[0]?.sessions).toHaveLength(0);
});

test("MSG-2.1.2: guests count their sessions for themselves", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  const ids = [1, 2].map((client) => {
    kit.smc(OPTEE_SMC.VM_CREATED, client);
    kit.clientId = client;
    return [kit.open(INVOKE_TESTS_UUID).session, kit.open(INVOKE_TESTS_UUID).session];
  });
  expect(ids).toEqual([
    [1, 2],
    [1, 2],
  ]);
});

test("MSG-2.1.3: who waits for a session that cannot be opened finds it gone", () => {
  const kit = new SecureKit({ build: { threads: 3, version: { major: 4, minor: 10 } } });
  const unknown = "99999999-0000-4000-8000-000000000000";
  const open = kit.start(kit.put(openMessage(unknown)));
  while (kit.commandOf(open) !== RPC_CMD.LOAD_TA) kit.serve(open);
  // The id of the session that is being opened can be guessed.
  const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, session: 1 });
  const guess = kit.start(at);
  while (kit.commandOf(guess) !== RPC_CMD.NOTIFICATION) kit.serve(guess);
  kit.onCommand = (message, own, where) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    own.reply(message, where, 0);
    return true;
  };
  for (let turn = 0; turn < 100 && isRpcReturn(open.get(0)); turn += 1) {
    kit.serve(open);
    if (isRpcReturn(guess.get(0))) kit.serve(guess);
  }
  expect([open.get(0), guess.get(0), kit.get(at).ret]).toEqual([0, 0, BAD]);
  expect(kit.world.partitions.all[0]?.sessions).toHaveLength(0);
});

test("MSG-2.INVOKE_COMMAND: before 4.10 a session whose TA is being loaded can be used, which is denied", () => {
  const kit = new SecureKit();
  const open = kit.start(kit.put(openMessage(OS_TEST_UUID)));
  while (kit.commandOf(open) !== RPC_CMD.LOAD_TA) kit.serve(open);
  const early = kit.invoke(1, 0);
  expect([early.ret, early.ret_origin]).toEqual([TEEC.TEEC_ERROR_ACCESS_DENIED, 0]);
  kit.finish(open);
  expect(kit.invoke(1, 0)).toMatchObject({ ret: TEEC.TEEC_ERROR_TIME_NOT_SET, ret_origin: 4 });
});
