import { expect, test } from "@jest/globals";
import { RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import type { Vm } from "./contract.ts";
import { GuestKit, tmem } from "./testkit/guest-kit.ts";
import { finish, rpc } from "./testkit/scripted-port.ts";

/** A guest that can make the mediator say something about it as often as it likes. */
function noisy() {
  const clock = { now: 5000 };
  const kit = new GuestKit({ now: () => clock.now });
  const refused = (vm: Vm = kit.vm, times = 1): string[] => {
    kit.log.length = 0;
    const at = kit.put({ cmd: 1, params: [tmem(0x1000n, 1, 1n, 0xa)] }, kit.page(vm), vm);
    for (let count = 0; count < times; count += 1) kit.call(at, vm);
    return [...kit.log];
  };
  return { kit, clock, refused };
}
const LINE = "vm 1: INVOKE_COMMAND refused";

test("a guest gets ten messages at once and one a second from then on", () => {
  const { clock, refused } = noisy();
  expect(refused(undefined, 100)).toEqual(Array.from({ length: 10 }, () => LINE));
  clock.now += 999;
  expect(refused()).toEqual([]);
  clock.now += 1;
  expect(refused(undefined, 2)).toEqual([`${LINE} (91 messages suppressed)`]);
  clock.now += 500;
  expect(refused()).toEqual([]);
  clock.now += 500;
  expect(refused()).toEqual([`${LINE} (2 messages suppressed)`]);
  clock.now += 1000;
  expect(refused()).toEqual([LINE]);
});

test("a guest that was quiet for long saves up ten messages and no more", () => {
  const { clock, refused } = noisy();
  refused(undefined, 10);
  clock.now += 3_600_000;
  expect(refused(undefined, 20)).toHaveLength(10);
});

test("half seconds add up although messages come in between", () => {
  const { clock, refused } = noisy();
  refused(undefined, 10);
  clock.now += 1500;
  expect(refused()).toHaveLength(1);
  clock.now += 500;
  expect(refused()).toHaveLength(1);
});

test("one guest's noise takes nothing from another's messages", () => {
  const { kit, refused } = noisy();
  refused(undefined, 100);
  expect(refused(kit.addVm())).toEqual(["vm 2: INVOKE_COMMAND refused"]);
});

test("an RPC that cannot be delivered is a message too", () => {
  const kit = new GuestKit();
  kit.port.steps.push(rpc(SMC_RETURN.RPC_CMD, RPC_CMD.GET_TIME, 2), finish(SMC_RETURN.OK));
  kit.call(kit.put({ cmd: 1 }));
  expect(kit.log).toEqual(["vm 1: an RPC could not be delivered"]);
});
