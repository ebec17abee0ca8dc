import { expect, test } from "@jest/globals";
import { MSG_CMD, NOTIFICATION_OP, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import type { NotificationDriver } from "./notifications.ts";
import { SecureCondition, SecureMutex } from "./sync.ts";
import { SecureKit } from "./testkit/kit.ts";

const { ENABLE_ASYNC_NOTIF, GET_ASYNC_NOTIF_VALUE, VM_CREATED, VM_DESTROYED } = OPTEE_SMC;
const { DO_BOTTOM_HALF, STOP_ASYNC_NOTIF } = MSG_CMD;

/** a0, a1 and a2 of GET_ASYNC_NOTIF_VALUE. */
const read = (kit: SecureKit, client = 0): number[] => {
  const registers = kit.smc(GET_ASYNC_NOTIF_VALUE, 0, 0, 0, 0, 0, 0, client);
  return [0, 1, 2].map((index) => registers.get(index));
};
const enable = (kit: SecureKit, client = 0): number =>
  kit.smc(ENABLE_ASYNC_NOTIF, 0, 0, 0, 0, 0, 0, client).get(0);

/** A driver that writes down what it is told. */
function recorder(seen: string[], name = "driver"): NotificationDriver {
  return {
    atomic: (event, client) => void seen.push(`${name} ${event} ${client}`),
    *yielding(event, thread) {
      seen.push(`${name} ${event} ${thread.partition.clientId}`);
      yield* [];
    },
  };
}

test("SMC-7.1: values 0 to 63 are asynchronous, synchronous ones follow, and the highest is announced", () => {
  const kit = new SecureKit({ build: { threads: 5 } });
  expect(kit.smc(OPTEE_SMC.EXCHANGE_CAPABILITIES).get(2)).toBe(64 + 5);
  expect(kit.world.core.syncNotificationBase).toBe(64);
  enable(kit);
  expect(kit.world.raiseNotification(63)).toBe(true);
  for (const value of [64, -1, 0.5]) {
    expect(() => kit.world.raiseNotification(value)).toThrow(RangeError);
  }
  const without = new SecureKit({ build: { asyncNotif: false } });
  expect(without.world.core.syncNotificationBase).toBe(0);
  expect(without.words(OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, 0x22)[2]).toBe(0x22);
});

test("SMC-7.2: nothing is signalled before ENABLE, which tells the drivers once; STOP ends it", () => {
  const seen: string[] = [];
  const kit = new SecureKit({ drivers: [recorder(seen, "a"), recorder(seen, "b")] });
  expect(kit.world.raiseNotification(1)).toBe(false);
  expect([kit.world.notifications.pending, read(kit)]).toEqual([false, [0, 0, 0]]);
  expect([enable(kit), enable(kit)]).toEqual([0, 0]);
  expect(seen).toEqual(["a started 0", "b started 0"]);
  expect(kit.world.raiseNotification(1)).toBe(true);
  expect(kit.call({ cmd: STOP_ASYNC_NOTIF }).a0).toBe(0);
  expect(kit.world.raiseNotification(2)).toBe(false);
  expect(kit.call({ cmd: STOP_ASYNC_NOTIF }).a0).toBe(0);
  expect(seen.slice(2)).toEqual(["a stopped 0", "b stopped 0"]);
  // What was pending stays readable.
  expect(read(kit)).toEqual([0, 1, 1]);
});

test("SMC-7.3: pending values raise the interrupt, are read lowest first, and a spurious read has none", () => {
  const kit = new SecureKit();
  enable(kit);
  for (const value of [63, 5, 0, 5]) kit.world.raiseNotification(value);
  expect(kit.world.notifications.acknowledge()).toBe(true);
  expect(kit.world.notifications.acknowledge()).toBe(false);
  expect([read(kit), read(kit), read(kit), read(kit)]).toEqual([
    [0, 0, 3],
    [0, 5, 3],
    [0, 63, 1],
    [0, 0, 0],
  ]);
});

test("SMC-7.4, MSG-2.DO_BOTTOM_HALF: the bottom half runs the drivers in a thread that may wait", () => {
  const ready = new SecureCondition(new SecureMutex());
  const seen: string[] = [];
  const slow: NotificationDriver = {
    *yielding(event, thread) {
      seen.push(`${event} begins`);
      yield* ready.wait(thread);
      seen.push(`${event} ends`);
    },
  };
  const kit = new SecureKit({ drivers: [slow] });
  const message = { cmd: DO_BOTTOM_HALF, ret: 0x55, ret_origin: 0x66 };
  // Not started: accepted, and nothing to do.
  expect(kit.call(message)).toMatchObject({ a0: 0, ret: 0x55, ret_origin: 0x66 });
  expect(seen).toEqual([]);
  enable(kit);
  const at = kit.put(message);
  const first = kit.start(at);
  kit.serve(first);
  expect(first.get(0)).toBe(SMC_RETURN.RPC_CMD);
  expect(seen).toEqual(["bottom-half begins"]);
  // A second one waits for the first: they are serialized.
  const second = kit.start(kit.put(message));
  kit.serve(second);
  expect(seen).toEqual(["bottom-half begins"]);
  kit.onCommand = (command, _kit, where) => {
    if (command.cmd !== RPC_CMD.NOTIFICATION) return false;
    kit.reply(command, where, 0);
    return true;
  };
  kit.finish(first);
  expect(seen.slice(0, 2)).toEqual(["bottom-half begins", "bottom-half ends"]);
  const sent = kit.rpcs.filter(({ message: rpc }) => rpc?.cmd === RPC_CMD.NOTIFICATION);
  expect(sent.at(-1)?.message?.params[0]).toMatchObject({
    a: BigInt(NOTIFICATION_OP.SEND),
    b: BigInt(64 + second.get(3)),
  });
  kit.finish(second);
  expect([first.get(0), second.get(0)]).toEqual([0, 0]);
  expect(kit.get(at)).toMatchObject({ ret: 0x55, ret_origin: 0x66 });
  expect(seen).toHaveLength(4);
});

test("MSG-2.STOP_ASYNC_NOTIF: drivers left to tell are spared when the guest starts again meanwhile", () => {
  const seen: string[] = [];
  let kit: SecureKit | undefined;
  const restarts: NotificationDriver = {
    *yielding() {
      if (kit !== undefined) enable(kit);
      yield* [];
    },
  };
  kit = new SecureKit({ drivers: [restarts, recorder(seen)] });
  enable(kit);
  expect(kit.call({ cmd: STOP_ASYNC_NOTIF, ret: 3, ret_origin: 4 })).toMatchObject({
    a0: 0,
    ret: 3,
    ret_origin: 4,
  });
  expect(seen).toEqual(["driver started 0", "driver started 0"]);
  expect(kit.world.raiseNotification(1)).toBe(true);
});

test("SMC-7.5, SMC-8.3: pending values and the started flag are each guest's own, and shutdown is told", () => {
  const seen: string[] = [];
  const kit = new SecureKit({ build: { virtualization: true }, drivers: [recorder(seen)] });
  kit.smc(VM_CREATED, 1);
  kit.smc(VM_CREATED, 2);
  expect(enable(kit, 2)).toBe(0);
  expect([kit.world.raiseNotification(4, 1), kit.world.raiseNotification(4, 2)]).toEqual([
    false,
    true,
  ]);
  expect([read(kit, 1), read(kit, 0), read(kit, 2)]).toEqual([
    [0, 0, 0],
    [0, 0, 0],
    [0, 4, 1],
  ]);
  for (let turn = 0; turn < 2; turn += 1) expect(kit.smc(VM_DESTROYED, 2).get(0)).toBe(0);
  expect(seen).toEqual(["driver started 2", "driver shutdown 2"]);
  expect(kit.world.raiseNotification(4, 2)).toBe(false);
  kit.smc(VM_CREATED, 2);
  expect(kit.world.raiseNotification(4, 2)).toBe(false);
});

test("SMC-7.6: bottom half and stop are EBADCMD where notifications are not built", () => {
  const kit = new SecureKit({ build: { asyncNotif: false } });
  for (const cmd of [DO_BOTTOM_HALF, STOP_ASYNC_NOTIF]) {
    expect(kit.call({ cmd, ret: 5, ret_origin: 6 })).toMatchObject({
      a0: SMC_RETURN.EBADCMD,
      ret: 5,
      ret_origin: 6,
    });
  }
  expect(kit.world.raiseNotification(1)).toBe(false);
});
