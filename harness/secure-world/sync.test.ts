import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  isRpcReturn,
  MSG_CMD,
  NOTIFICATION_OP,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import type { Registers } from "../machine/index.ts";
import { INVOKE_TESTS_CMD, INVOKE_TESTS_UUID, MUTEX_TEST, simsTa, storageTa } from "./tas/index.ts";
import { openMessage, SecureKit, value } from "./testkit/kit.ts";

/** Wake-ups in order: which thread sent one to which. */
const wakeUps = (kit: SecureKit): [by: number, to: number][] =>
  kit.rpcs.flatMap(({ message, thread }) => {
    const [first] = message?.params ?? [];
    const isSend =
      message?.cmd === RPC_CMD.NOTIFICATION && first?.a === BigInt(NOTIFICATION_OP.SEND);
    return isSend ? [[thread, Number(first.b) - 64] as [number, number]] : [];
  });
const woken = (kit: SecureKit): number[] => wakeUps(kit).map(([, to]) => to);

/** Serves a call until it asks for `command`, with a buffer of `size` where that is given. */
function until(kit: SecureKit, call: Registers, command: number, size?: number): void {
  for (let turn = 0; turn < 200; turn += 1) {
    const at = kit.argumentAt((BigInt(call.get(1)) << 32n) | BigInt(call.get(2)));
    const sizes = at === undefined ? [] : kit.get(at).params.map(({ b }) => Number(b));
    if (kit.commandOf(call) === command && (size === undefined || sizes[1] === size)) return;
    if (!isRpcReturn(call.get(0))) break;
    kit.serve(call);
  }
  throw new Error(`the call does not ask for command ${command}`);
}

const answerNotifications = (kit: SecureKit): void => {
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    own.reply(message, at, 0);
    return true;
  };
};

test.each([
  ["wrr", [1]],
  ["wwr", [1]],
  ["rwr", [1, 3]],
  ["rrw", [1, 2]],
])(
  "SMC-7.1, MSG-3.NOTIFICATION: a mutex with %s waiting wakes the first writer, or all readers",
  (kinds, expected) => {
    let interrupt = false;
    const kit = new SecureKit({ build: { threads: 4 }, interruptPending: () => interrupt });
    // A session each: one session does one thing at a time.
    const sessions = [0, 1, 2, 3].map(() => kit.open(INVOKE_TESTS_UUID).session);
    const enter = (kind: string): Registers =>
      kit.start(
        kit.put({
          cmd: MSG_CMD.INVOKE_COMMAND,
          session: sessions.pop() ?? 0,
          func: INVOKE_TESTS_CMD.MUTEX,
          params: [
            value(
              ATTR_TYPE.VALUE_INPUT,
              BigInt(kind === "w" ? MUTEX_TEST.WRITER : MUTEX_TEST.READER),
              1n,
            ),
            value(ATTR_TYPE.VALUE_OUTPUT),
          ],
        }),
      );
    // A writer is inside and interrupted there.
    interrupt = true;
    const holder = enter("w");
    kit.serve(holder);
    expect(holder.get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
    interrupt = false;
    const waiters = kinds.split("").map((kind) => {
      const call = enter(kind);
      while (kit.commandOf(call) !== RPC_CMD.NOTIFICATION) kit.serve(call);
      return call;
    });
    kit.rpcs.length = 0;
    answerNotifications(kit);
    kit.finish(holder);
    expect(woken(kit)).toEqual(expected);
    // Everybody gets in, one after the other or together.
    for (let turn = 0; waiters.some((call) => isRpcReturn(call.get(0))); turn += 1) {
      expect(turn).toBeLessThan(100);
      for (const call of waiters) if (isRpcReturn(call.get(0))) kit.serve(call);
    }
    expect(waiters.map((call) => call.get(0))).toEqual([0, 0, 0]);
  },
);

test("MSG-2.CLOSE_SESSION, MSG-3.NOTIFICATION: a session that closes lets those in who wait for it, one by the other", () => {
  let interrupt = false;
  const kit = new SecureKit({ build: { threads: 4 }, interruptPending: () => interrupt });
  const { session } = kit.open(INVOKE_TESTS_UUID);
  const write = {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: INVOKE_TESTS_CMD.MUTEX,
    params: [value(ATTR_TYPE.VALUE_INPUT, 0n, 1n), value(ATTR_TYPE.VALUE_OUTPUT)],
  };
  const start = (message: Parameters<SecureKit["put"]>[0]): [Registers, number] => {
    const at = kit.put(message);
    return [kit.start(at), at];
  };
  interrupt = true;
  const [holder] = start(write);
  kit.serve(holder);
  expect(holder.get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
  interrupt = false;
  const close = { cmd: MSG_CMD.CLOSE_SESSION, session };
  const [[closer], ...users] = [start(close), start(write), start(write)] as const;
  for (const [call] of [[closer], ...users]) until(kit, call, RPC_CMD.NOTIFICATION);
  kit.rpcs.length = 0;
  answerNotifications(kit);
  kit.finish(holder);
  // Back from its wait, it wakes one user, and waits again.
  kit.serve(closer);
  kit.serve(closer);
  for (const [call] of users) kit.finish(call);
  kit.finish(closer);
  // The holder wakes the closer, which wakes one user only; that wakes the next, who lets it end.
  expect(wakeUps(kit)).toEqual([
    [0, 1],
    [1, 2],
    [2, 3],
    [3, 1],
  ]);
  expect(users.map(([, at]) => kit.get(at).ret)).toEqual([
    TEEC.TEEC_ERROR_BAD_PARAMETERS,
    TEEC.TEEC_ERROR_BAD_PARAMETERS,
  ]);
});

test("MSG-3.NOTIFICATION: a signature is verified when no block of a file is being read or written", () => {
  const kit = new SecureKit();
  const loading = kit.start(kit.put(openMessage(simsTa.uuid)));
  until(kit, loading, RPC_CMD.LOAD_TA);
  kit.serve(loading);
  until(kit, loading, RPC_CMD.LOAD_TA);
  const reading = kit.start(kit.put(openMessage(storageTa.uuid)));
  until(kit, reading, RPC_CMD.FS, 4096);
  kit.rpcs.length = 0;
  answerNotifications(kit);
  // The image is there, and the other thread has the memory that its verification needs.
  kit.serve(loading);
  expect(kit.commandOf(loading)).toBe(RPC_CMD.NOTIFICATION);
  kit.serve(loading);
  expect(kit.commandOf(loading)).toBe(RPC_CMD.NOTIFICATION);
  kit.serve(reading);
  expect(kit.commandOf(reading)).toBe(RPC_CMD.NOTIFICATION);
  kit.serve(reading);
  expect(wakeUps(kit)).toEqual([[1, 0]]);
  kit.finish(reading);
  kit.finish(loading);
  expect([loading.get(0), reading.get(0)]).toEqual([0, 0]);
});
