import { expect, test } from "@jest/globals";
import { InterruptLine, type Task } from "../machine/index.ts";
import {
  functionName,
  MSG_CMD,
  messageCommandName,
  OPTEE_SMC,
  SEC_CAP,
} from "../optee-abi/index.ts";
import { kernelCaller } from "./supplicant-queue.ts";
import { Bench } from "./testkit/boot.ts";
import type { Script, ScriptedCall } from "./testkit/scripted-world.ts";

const { DYNAMIC_SHM, RPC_ARG, ASYNC_NOTIF } = SEC_CAP;

/** Everything that the driver sends from now on, by name. */
function watch(bench: Bench): string[] {
  const seen: string[] = [];
  const smc = bench.world.smc.bind(bench.world);
  bench.world.smc = (registers) => {
    if (registers.get(0) >= 0x8000_0000) seen.push(functionName(registers.get(0)));
    smc(registers);
  };
  bench.world.onMessage = ({ message }): undefined => {
    seen.push(messageCommandName(message.cmd));
  };
  return seen;
}

test("SMC-9.11, SMC-6.LOOP: removal empties the cache, stops notifications and gives everything back", () => {
  const notifications = new InterruptLine("test");
  const bench = new Bench({ capabilities: DYNAMIC_SHM | ASYNC_NOTIF, notifications });
  const { kernel } = bench.linux;
  bench.probed();
  const cookies: (readonly [number, number])[] = [];
  bench.world.onMessage = (call) =>
    call.message.cmd === MSG_CMD.INVOKE_COMMAND ? keep(call) : undefined;
  function* keep(call: ScriptedCall): Script {
    // An RPC argument that the secure world keeps, as it does with the cache on.
    const reply = yield [0xffff_0000, 160, 0];
    cookies.push([reply.get(4), reply.get(5)]);
    call.message.ret = 0;
    return 0;
  }
  bench.invoke();
  bench.world.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, () => {
    const [high, low] = cookies.pop() ?? [];
    return high === undefined || low === undefined ? [7] : [0, high, low];
  });
  const seen = watch(bench);
  bench.run(bench.linux.remove());
  expect(seen).toEqual(["DISABLE_SHM_CACHE", "DISABLE_SHM_CACHE", "STOP_ASYNC_NOTIF"]);
  expect([kernel.pages.usedPages, kernel.shmPointers.size]).toEqual([0, 0]);
  // The interrupt is free: nobody takes what comes now.
  notifications.raise();
  bench.scheduler.runUntilIdle();
  expect(notifications.pending).toBe(true);
  expect(bench.run(bench.linux.process().open("/dev/tee0"))).toBe(-2);
});

test("SMC-9.11: where RPC arguments come with the call there is no cache to empty", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG }).probed();
  bench.invoke();
  const seen = watch(bench);
  bench.run(bench.linux.remove());
  expect(seen).toEqual(["UNREGISTER_SHM"]);
  expect(bench.linux.kernel.pages.usedPages).toBe(0);
  expect(bench.world.registered.size).toBe(0);
});

test("SMC-9.11: shutdown only empties the cache", () => {
  const notifications = new InterruptLine("test");
  const bench = new Bench({ capabilities: DYNAMIC_SHM | ASYNC_NOTIF, notifications }).probed();
  const seen = watch(bench);
  bench.run(bench.driver.shutdown());
  expect(seen).toEqual(["DISABLE_SHM_CACHE"]);
  const other = new Bench({ capabilities: DYNAMIC_SHM | RPC_ARG }).probed();
  const sent = watch(other);
  other.run(other.driver.shutdown());
  expect(sent).toEqual([]);
});

test("SMC-9.11: a busy secure world makes shutdown wait for the call that is under way", () => {
  const bench = new Bench({ capabilities: DYNAMIC_SHM }).probed();
  let running = false;
  bench.world.onMessage = () => busy();
  function* busy(): Script {
    running = true;
    for (let turn = 0; turn < 5; turn += 1) yield [0xffff_0004, 0, 0];
    running = false;
    return 0;
  }
  const answers: number[] = [];
  bench.world.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, () => {
    answers.push(running ? 2 : 7);
    return [running ? 2 : 7];
  });
  const call = bench.scheduler.spawn("call", bench.driver.invoke(1, 0, 0, [], kernelCaller()));
  bench.scheduler.runUntil(() => running);
  bench.run(bench.driver.shutdown());
  expect([call.finished, answers]).toEqual([true, [2, 7]]);
});

test("SMC-9.11, TEE-1.1: removal waits until nobody has a device open", () => {
  const bench = new Bench().boot();
  const { linux, scheduler } = bench;
  const process = linux.process();
  const fd = bench.run(process.open("/dev/tee0"));
  const removal = scheduler.spawn("rmmod", linux.remove());
  bench.run(
    (function* (): Task {
      for (let turn = 0; turn < 10; turn += 1) yield null;
      expect(removal.finished).toBe(false);
      expect([...linux.devices.keys()]).toEqual([]);
      yield* process.close(fd);
      for (let turn = 0; turn < 10; turn += 1) yield null;
      expect(removal.finished).toBe(false);
      yield* linux.supplicant?.process.exit() ?? process.exit();
      yield* removal.join();
    })(),
  );
  expect(linux.driver).toBeUndefined();
});
