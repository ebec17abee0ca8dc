import { expect, jest, test } from "@jest/globals";
import { budget } from "../base/index.ts";
import type { GuestUsage, RuleSetName } from "../mediator/index.ts";
import { EMULATED_MAP, type EmulatedPlatform } from "./index.ts";
import { finish, startBusy, type World } from "./testing/busy-vms.ts";

jest.setTimeout(300_000);

/** Two VMs that are up, with clients which have not run yet; `parallel` as a scenario has it. */
const start = (seed: number, rules: RuleSetName, parallel = 0): World =>
  startBusy({ seed, rules, parallel, vms: 2, clients: 3, interrupts: 300 });

/** Runs at most `turns` turns of the scheduler; how many there were. */
function runTurns({ context, clients }: World, turns: number): number {
  let turn = -1;
  context.scheduler.runUntil(
    () => (turn += 1) >= turns || clients.flat().every(({ finished }) => finished),
  );
  return turn;
}

/** Frames of the guest windows that still belong to `owner`. */
function framesOf({ mediator }: EmulatedPlatform, owner: number): number {
  const { base, size } = EMULATED_MAP.guestRam;
  let count = 0;
  for (let frame = base / 4096; frame < (base + size) / 4096; frame += 1) {
    if (mediator?.frames.owner(frame) === owner) count += 1;
  }
  return count;
}

test.each(["strict", "xen", "kvm"] as const)(
  "MED-160, MED-165, SMC-8.3: under %s a VM that dies at any step leaves nothing on either side",
  (rules) => {
    const calm = start(1, rules);
    const expected = calm.clients.map((tasks) => finish(calm, tasks));
    const { secureWorld } = calm.platform;
    const partitions = secureWorld.partitions.all.length;
    const steps = runTurns(start(1, rules), Infinity);
    expect(steps).toBeGreaterThan(150);

    // What the VM had when it died, over all deaths: each kind must have been there.
    const had = { suspended: 0, buffers: 0, registeredAtSecureWorld: 0, sessions: 0, pinned: 0 };
    const stride = budget(rules === "strict" ? 24 : 96, 3);
    for (let step = 0; step <= steps; step += stride) {
      const world = start(1, rules);
      runTurns(world, step);
      const { platform, context } = world;
      const { vm } = context.guest(0);
      const { mediator } = platform;
      if (vm === undefined || mediator === undefined) throw new Error("no VM");
      const { owner } = vm.space;
      const before = vm.usage as GuestUsage;
      const mine = platform.secureWorld.partitions.select(vm.clientId);
      had.suspended += before.suspended;
      had.buffers += before.buffers;
      had.registeredAtSecureWorld += mine?.registered.count ?? 0;
      had.sessions += mine?.sessions.length ?? 0;
      had.pinned += mediator.frames.records(owner).length;
      const free = platform.secureWorld.partitions.freeRam;

      context.guest(0).destroy();

      expect(mediator.vms).toHaveLength(1);
      expect(mediator.frames.records(owner)).toEqual([]);
      expect(vm.usage).toBeUndefined();
      expect([...vm.space.stage2.pages()]).toEqual([]);
      expect(platform.secureWorld.partitions.select(vm.clientId)).toBeUndefined();
      expect(platform.secureWorld.partitions.all).toHaveLength(partitions - 1);
      expect(platform.secureWorld.partitions.freeRam).toBeGreaterThan(free);

      expect(finish(world, world.clients[1] ?? [])).toEqual(expected[1]);
      context.guest(1).destroy();
      expect([mediator.heapPages, mediator.frames.pinnedFrames()]).toEqual([0, 0]);
      if (step % (stride * 8) === 0) expect(framesOf(platform, owner)).toBe(0);
    }
    for (const count of Object.values(had)) expect(count).toBeGreaterThan(0);
  },
);

/** Has VM 0 destroyed just before the mediator's access number `access`; whether that came. */
function dieAt({ platform, context }: World, access: number): () => boolean {
  const { probe } = platform.memory;
  let seen = 0;
  platform.memory.probe = (one) => {
    probe?.(one);
    if (one.by !== "mediator") return;
    seen += 1;
    if (seen === access) context.guest(0).destroy();
  };
  return () => seen >= access;
}

test("MED-160, MED-167: a VM that dies in the middle of anybody's call is gone when that call returns", () => {
  const calm = start(1, "strict", 50);
  const expected = calm.clients.map((tasks) => finish(calm, tasks));
  let deaths = 0;
  const stride = budget(139, 11);
  for (let access = 1; ; access += stride) {
    const world = start(1, "strict", 50);
    const { mediator } = world.platform;
    const { vm } = world.context.guest(0);
    const died = dieAt(world, access);
    expect(finish(world, world.clients[1] ?? [])).toEqual(expected[1]);
    if (!died()) break;
    deaths += 1;
    expect([vm?.alive, vm?.usage, mediator?.vms.length]).toEqual([false, undefined, 1]);
    expect(mediator?.frames.records(vm?.space.owner)).toEqual([]);
    world.context.guest(1).destroy();
    expect([mediator?.heapPages, mediator?.frames.pinnedFrames()]).toEqual([0, 0]);
  }
  expect(deaths).toBeGreaterThan(10);
});

/** Every SMC at the conduits and at the port of one run, with the registers. */
function traceOf(seed: number): string[] {
  const world = start(seed, "strict", 50);
  const trace: string[] = [];
  world.context.observe(({ where, phase, guest, registers }) => {
    trace.push(`${where} ${phase} ${guest ?? "-"} ${registers.toArray().join(" ")}`);
  });
  finish(world, world.clients.flat());
  return trace;
}

test("one seed gives one trace, register by register; other seeds interleave otherwise", () => {
  const traces = [1, 1, 2, 3].map(traceOf);
  expect(traces[0]?.length).toBeGreaterThan(500);
  expect(traces[1]).toEqual(traces[0]);
  const order = traces.map((trace) => trace.map((line) => line.slice(0, 15)).join());
  expect(new Set(order).size).toBe(3);
});
