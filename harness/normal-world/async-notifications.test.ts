import { expect, test } from "@jest/globals";
import { InterruptLine, sleep, type Task } from "../machine/index.ts";
import {
  ASYNC_NOTIF,
  ATTR_TYPE,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  SEC_CAP,
} from "../optee-abi/index.ts";
import { kernelCaller } from "./supplicant-queue.ts";
import { Bench } from "./testkit/boot.ts";
import type { Script, ScriptedCall } from "./testkit/scripted-world.ts";

/** A secure world with values to take, lowest first. */
function notifying(): { bench: Bench; pending: Set<number>; line: InterruptLine; asked: number[] } {
  const line = new InterruptLine("test");
  const pending = new Set<number>();
  const asked: number[] = [];
  const bench = new Bench({
    capabilities: SEC_CAP.DYNAMIC_SHM | SEC_CAP.RPC_ARG | SEC_CAP.ASYNC_NOTIF,
    notifications: line,
  });
  bench.world.fast.set(OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, () => {
    const [value] = [...pending].toSorted((a, b) => a - b);
    asked.push(value ?? -1);
    if (value === undefined) return [0, 0, 0];
    pending.delete(value);
    const more = pending.size > 0 ? ASYNC_NOTIF.VALUE_PENDING : 0;
    return [0, value, ASYNC_NOTIF.VALUE_VALID | more];
  });
  return { bench: bench.probed(), pending, line, asked };
}

/** A call that waits for a notification; the result is in the message. */
function* waiting(call: ScriptedCall, value: number): Script {
  const reply = yield* call.rpc(RPC_CMD.NOTIFICATION, {
    attr: ATTR_TYPE.VALUE_INPUT,
    a: 0,
    b: value,
  });
  call.message.ret = reply.ret;
  return 0;
}

test("SMC-7.3, SMC-9.8: the handler takes values while more are pending and completes their waiters", () => {
  const { bench, pending, line, asked } = notifying();
  const { scheduler, driver, world } = bench;
  world.onMessage = (call) => waiting(call, call.message.session);
  const calls = [3, 9].map((value) =>
    scheduler.spawn(`waits for ${value}`, driver.invoke(value, 0, 0, [], kernelCaller())),
  );
  bench.run(
    (function* (): Task {
      yield* sleep(10);
      for (const value of [9, 3, 20]) pending.add(value);
      line.raise();
      for (const call of calls) expect((yield* call.join()).ret).toBe(0);
    })(),
  );
  // In ascending order, and not once more than there were.
  expect(asked).toEqual([3, 9, 20]);
  // Nobody waited for 20: whoever asks later finds it sent.
  const late = bench.run(driver.invoke(20, 0, 0, [], kernelCaller()));
  expect(late.ret).toBe(0);
});

test("SMC-7.3: an interrupt without a value is spurious", () => {
  const { bench, line, asked } = notifying();
  line.raise();
  bench.scheduler.runUntilIdle();
  expect(asked).toEqual([-1]);
});

test("SMC-7.4: value 0 makes a bottom half in a yielding call, once for several interrupts", () => {
  const { bench, pending, line } = notifying();
  let bottomHalves = 0;
  bench.world.onMessage = ({ message }) => {
    if (message.cmd !== MSG_CMD.DO_BOTTOM_HALF) return undefined;
    expect(message.numParams).toBe(0);
    bottomHalves += 1;
    return 0;
  };
  bench.run(
    (function* (): Task {
      yield* sleep(1);
      for (let time = 0; time < 3; time += 1) {
        pending.add(ASYNC_NOTIF.DO_BOTTOM_HALF);
        line.raise();
      }
      yield* sleep(1);
      expect(bottomHalves).toBe(1);
      pending.add(ASYNC_NOTIF.DO_BOTTOM_HALF);
      line.raise();
      yield* sleep(1);
      expect(bottomHalves).toBe(2);
    })(),
  );
});

test("SMC-7.4: a bottom half that waits does not hold up the interrupt it waits for", () => {
  const { bench, pending, line } = notifying();
  let done = false;
  bench.world.onMessage = (call) =>
    call.message.cmd === MSG_CMD.DO_BOTTOM_HALF ? bottomHalf(call) : undefined;
  function* bottomHalf(call: ScriptedCall): Script {
    yield* waiting(call, 5);
    done = true;
    return 0;
  }
  bench.run(
    (function* (): Task {
      pending.add(ASYNC_NOTIF.DO_BOTTOM_HALF);
      line.raise();
      yield* sleep(5);
      expect(done).toBe(false);
      pending.add(5);
      line.raise();
      yield* sleep(5);
      expect(done).toBe(true);
    })(),
  );
});
