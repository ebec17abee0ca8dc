import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  isRpcReturn,
  MSG_CMD,
  NOTIFICATION_OP,
  RPC_CMD,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import type { Registers } from "../machine/index.ts";
import { INVOKE_TESTS_CMD, INVOKE_TESTS_UUID, MUTEX_TEST } from "./tas/index.ts";
import { SecureKit, value } from "./testkit/kit.ts";

/** Thread numbers that were sent a wake-up, in order. */
const woken = (kit: SecureKit): number[] =>
  kit.rpcs.flatMap(({ message }) => {
    const [first] = message?.params ?? [];
    const isSend =
      message?.cmd === RPC_CMD.NOTIFICATION && first?.a === BigInt(NOTIFICATION_OP.SEND);
    return isSend ? [Number(first.b) - 64] : [];
  });

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
    kit.onCommand = (message, own, at) => {
      if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
      own.reply(message, at, 0);
      return true;
    };
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
