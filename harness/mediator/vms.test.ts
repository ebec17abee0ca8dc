import { expect, test } from "@jest/globals";
import { UsageError } from "../base/index.ts";
import { AccessRecorder, type Ipa, MAPPING, type Pa, Registers } from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN, encodeMessage } from "../optee-abi/index.ts";
import type { MediatorOptions, Vm } from "./contract.ts";
import { createMediator } from "./mediator.ts";
import { opteeBackEnd } from "./optee/back-end.ts";
import { anonymous } from "./testkit/copied-memory.ts";
import { GuestKit, RAM } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, ScriptedPort, finish, succeed } from "./testkit/scripted-port.ts";

const make = (options: Partial<MediatorOptions> = {}, port = new ScriptedPort()) =>
  createMediator(port, { heap: HEAP, guests: [GUESTS], ...options });

const ok = (made: ReturnType<ReturnType<typeof make>["createVm"]>): Vm => {
  if (!made.ok) throw new RangeError(made.reason);
  return made.value;
};

test.each([
  ["at address 0", 0, 0x1000],
  ["below one page", 0x800, 0x1000],
  ["not on a page", 0x4000_0800, 0x1000],
  ["of part of a page", 0x4000_0000, 0x1800],
  ["of nothing", 0x4000_0000, 0],
  ["of less than nothing", 0x4000_0000, -0x1000],
])("MED-017: RAM %s is refused before anybody hears of the VM", (_, base, size) => {
  const port = new ScriptedPort();
  const mediator = make({}, port);
  port.seen.length = 0;
  expect(mediator.createVm({ ram: { base, size } })).toEqual({
    ok: false,
    error: "EINVAL",
    reason: "RAM is not whole pages above address 0 (MED-017)",
  });
  expect(port.seen).toEqual([]);
});

test("MED-017: RAM from the first page on is fine", () => {
  const vm = ok(make().createVm({ ram: { base: 0x1000, size: 0x1000 } }));
  vm.conduit.memory.write(0x1000 as Ipa, Uint8Array.of(1));
  expect(vm.conduit.ram).toEqual({ base: 0x1000, size: 0x1000 });
});

const lowMachine = () =>
  new ScriptedPort([
    { name: "heap", ...HEAP, type: "ram" },
    { name: "low", base: 0, size: 0x10_0000, type: "ram" },
  ]);

test("MED-017: a window from address 0 loses its first page and ends where it ended", () => {
  const low = { base: 0, size: 0x4000 };
  const vm = (pages: number) =>
    make({ guests: [low] }, lowMachine()).createVm({ ram: { base: RAM, size: pages * 4096 } });
  expect(vm(3).ok).toBe(true);
  expect(vm(4)).toMatchObject({ error: "ENOMEM" });
});

test("MED-12.IDS: kvm's host is announced only to a TEE that is there", () => {
  const port = new ScriptedPort();
  expect(make({ rules: "kvm", compatible: [] }, port).tee).toBeUndefined();
  expect(port.seen).toEqual([]);
});

test("messages about guests are limited by the machine's own clock where no other is given", () => {
  const log: string[] = [];
  const mediator = make({ log: (line) => log.push(line) });
  const vm = ok(mediator.createVm());
  for (let count = 0; count < 5000; count += 1) {
    vm.conduit.memory.write(
      vm.conduit.ram.base,
      encodeMessage({ cmd: 1, params: [{ attr: 0xan, a: 0x1000n, b: 1n }] }),
    );
    vm.conduit.smc(new Registers([OPTEE_SMC.CALL_WITH_ARG, 0, vm.conduit.ram.base]));
  }
  expect(log.length).toBeGreaterThanOrEqual(10);
  expect(log.length).toBeLessThan(1000);
});

test("MED-006: reasons of a refusal say what there is and what was asked for", () => {
  expect(make().createVm({ ram: { base: RAM, size: 4096 }, tee: "ffa" })).toEqual({
    ok: false,
    error: "EINVAL",
    reason: "the TEE is optee, not ffa",
  });
  expect(make({ compatible: [] }).createVm()).toEqual({
    ok: false,
    error: "ENODEV",
    reason: "no TEE answers on this platform",
  });
});

test("MED-006: the hardware domain gets what is active, unless it names another", () => {
  const ram = { base: RAM, size: 4096 };
  const active = make();
  expect(ok(active.createVm({ ram, hardwareDomain: true })).usage).toBeDefined();
  expect(active.createVm({ ram, hardwareDomain: true, tee: "ffa" })).toMatchObject({
    error: "EINVAL",
  });
  expect(ok(active.createVm({ ram, tee: "optee" })).usage).toBeDefined();
  const none = make({ compatible: [] });
  expect(ok(none.createVm({ ram, hardwareDomain: true })).usage).toBeUndefined();
  expect(none.createVm({ ram, hardwareDomain: false })).toMatchObject({ error: "ENODEV" });
});

test("MED-015: a VM that the secure world refuses is told why, and its RAM and id are free again", () => {
  const port = new ScriptedPort();
  const mediator = make({ guests: [{ base: GUESTS.base, size: 0x4000 }] }, port);
  port.fast.set(OPTEE_SMC.VM_CREATED, finish(SMC_RETURN.ENOTAVAIL));
  const ram = { base: RAM, size: 0x4000 };
  expect(mediator.createVm({ ram })).toEqual({
    ok: false,
    error: "ENODEV",
    reason: "OP-TEE refused VM_CREATED of client 1",
  });
  port.fast.clear();
  expect(ok(mediator.createVm({ ram })).clientId).toBe(1);
  expect(mediator.createVm({ ram })).toEqual({
    ok: false,
    error: "ENOMEM",
    reason: "no 16384 bytes of RAM for the VM",
  });
  expect(port.sent(OPTEE_SMC.VM_CREATED)).toHaveLength(2);
});

test("MED-005: a TEE that was asked for and does not answer says what would help", () => {
  let seen: unknown;
  try {
    make({ tee: "ffa" });
  } catch (error) {
    seen = error;
  }
  expect(seen).toBeInstanceOf(UsageError);
  expect(seen).toMatchObject({
    message: expect.stringContaining("the TEE ffa was asked for and does not answer"),
    expected: "a secure world that the ffa back end recognises",
    next: "Leave the TEE out to take the one that answers, or run a secure world built for VMs.",
  });
});

test("MED-005: a TEE that was asked for is the only one that is probed", () => {
  const probed: string[] = [];
  const other = { ...opteeBackEnd, name: "other", probe: () => void probed.push("other") };
  expect(make({ backEnds: [other, opteeBackEnd], tee: "optee" }).tee).toBe("optee");
  expect(probed).toEqual([]);
  expect(make({ backEnds: [other, opteeBackEnd] }).tee).toBe("optee");
  expect(probed).toEqual(["other"]);
});

test("MED-003: an OP-TEE without thread count is asked no further", () => {
  const port = new ScriptedPort();
  port.fast.set(OPTEE_SMC.GET_THREAD_COUNT, finish(SMC_RETURN.UNKNOWN_FUNCTION));
  expect(make({}, port).tee).toBeUndefined();
  expect(port.sent(OPTEE_SMC.VM_DESTROYED)).toEqual([]);
});

test("MED-002: every word of the UID counts", () => {
  for (const wrong of [0, 1, 2, 3]) {
    const port = new ScriptedPort();
    port.fast.set(OPTEE_SMC.CALLS_UID, (registers) => {
      const uid = [0x384fb3e0, 0xe7f811e3, 0xaf630002, 0xa5d5c51b];
      for (const [index, word] of uid.entries()) registers.set(index, index === wrong ? 1 : word);
    });
    expect(make({}, port).tee).toBeUndefined();
  }
});

test("rule set strict is the default, and each mediator says which it has", () => {
  expect(make().rules).toBe("strict");
  for (const rules of ["xen", "strict", "kvm"] as const) expect(make({ rules }).rules).toBe(rules);
});

test("a direct-mapped VM has its RAM at equal machine addresses, where they are free", () => {
  const mediator = make();
  const ram = { base: GUESTS.base + 0x10_0000, size: 0x2000 };
  const vm = ok(mediator.createVm({ ram, directMapped: true }));
  expect(vm.space.stage2.translate(ram.base as Ipa)).toBe(ram.base);
  expect(mediator.createVm({ ram, directMapped: true })).toMatchObject({ error: "ENOMEM" });
  const elsewhere = ok(mediator.createVm({ ram, directMapped: false }));
  expect(elsewhere.space.stage2.translate(ram.base as Ipa)).not.toBe(ram.base);
});

test("VMs are listed oldest first, each with an owner number of its own, and leave the list at their end", () => {
  const mediator = make();
  const [one, two, three] = [0, 1, 2].map(() => ok(mediator.createVm()));
  expect(mediator.vms).toEqual([one, two, three]);
  expect(new Set(mediator.vms.map((vm) => vm.space.owner)).size).toBe(3);
  // 0 is nobody, 1 the hypervisor itself.
  expect(mediator.vms.every((vm) => vm.space.owner >= 2)).toBe(true);
  two?.destroy();
  expect(mediator.vms).toEqual([one, three]);
  expect(ok(mediator.createVm()).clientId).toBe(4);
});

const framesOf = (scatter?: number): number[] => {
  const vm = ok(make(scatter === undefined ? {} : { scatter }).createVm());
  return [...vm.space.stage2.pages()].map((page) => page.frame);
};
const shadowOf = (scatter: number): number => {
  const kit = new GuestKit({ scatter });
  kit.call(kit.put({ cmd: 1 }));
  return kit.port.argument;
};

test("machine frames and shadows come in a random order when a seed is given, always the same", () => {
  const ascending = framesOf().toSorted((a, b) => a - b);
  expect(framesOf()).toEqual(ascending);
  expect(framesOf(1)).not.toEqual(ascending);
  expect(framesOf(1)).toEqual(framesOf(1));
  expect(framesOf(1)).not.toEqual(framesOf(2));
  expect(shadowOf(1)).not.toBe(shadowOf(2));
});

test("accesses are attributed to mediator and VM, and memory that cannot attribute them will do", () => {
  const kit = new GuestKit();
  const recorder = new AccessRecorder();
  kit.port.sparse.probe = recorder.probe;
  kit.call(kit.put({ cmd: 1 }));
  expect(new Set(recorder.accesses.map(({ by }) => by))).toEqual(new Set(["vm 1", "mediator"]));
  const plain = new GuestKit({ port: new ScriptedPort(undefined, anonymous) });
  const at = plain.put({ cmd: 1, ret: 5 });
  expect(plain.call(at).get(0)).toBe(SMC_RETURN.OK);
  expect(plain.get(at).ret).toBe(0);
});

test("MED-007: owners from 50 to 63 reach OP-TEE's back end and no others", () => {
  const kit = new GuestKit();
  kit.trace.length = 0;
  for (let owner = 0; owner < 64; owner += 1) {
    kit.smc([(0x8000_0000 | (owner << 24) | 0x1234) >>> 0]);
  }
  expect(kit.trace.map(({ clause }) => clause)).toEqual(
    Array.from({ length: 14 }, () => "MED-029"),
  );
});

test("MED-007: a 32-bit guest makes 32-bit calls, and a 64-bit guest's calls may be of either kind", () => {
  const { vm, port } = new GuestKit();
  const registers = new Registers([OPTEE_SMC.CALLS_UID]);
  expect(vm.trap({ method: "smc", aarch32: true, registers })).toBe("advance");
  expect(port.seen).toHaveLength(1);
  const wide = new Registers([0xff00_ff01]);
  expect(vm.trap({ method: "hvc", aarch32: false, registers: wide })).toBe("stay");
  expect(wide.get64(0)).toBe(0xffff_ffff_ffff_ffffn);
  const zero = new Registers([OPTEE_SMC.CALLS_COUNT]);
  expect(vm.trap({ method: "smc", immediate: 0, registers: zero })).toBe("advance");
  expect(zero.get(0)).toBe(11);
});

test("MED-010: a VM without a TEE has no node and holds nothing, and its conduit is its own", () => {
  const vm = ok(make().createVm({ ram: { base: RAM, size: 0x2000 }, tee: "none" }));
  expect([vm.firmwareNode, vm.usage, vm.alive]).toEqual([undefined, undefined, true]);
  expect(vm.conduit).toMatchObject({
    kind: "vm",
    memory: vm.space,
    ram: { base: RAM, size: 0x2000 },
  });
  const registers = new Registers([OPTEE_SMC.CALLS_UID]);
  vm.conduit.smc(registers);
  expect(registers.get64(0)).toBe(0xffff_ffff_ffff_ffffn);
  vm.destroy();
  expect(vm.alive).toBe(false);
});

test("MED-160: a VM that ends inside a nested call is there until the outermost call has come back", () => {
  const kit = new GuestKit();
  let inside: unknown[] = [];
  kit.port.steps.push((registers, port) => {
    kit.port.steps.push((inner) => {
      kit.vm.destroy();
      inner.set(0, SMC_RETURN.OK);
    });
    kit.call(kit.put({ cmd: 1 }));
    inside = [kit.vm.alive, kit.vm.usage?.calls, kit.mediator.vms.length];
    // A vCPU that comes now reaches nobody.
    expect(kit.smc([OPTEE_SMC.CALLS_COUNT]).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
    expect(kit.port.sent(OPTEE_SMC.VM_DESTROYED)).toEqual([]);
    succeed(registers, port);
  });
  kit.call(kit.put({ cmd: 1 }));
  expect(inside).toEqual([false, 1, 1]);
  expect(kit.port.sent(OPTEE_SMC.VM_DESTROYED)).toHaveLength(1);
  expect([kit.vm.usage, kit.mediator.vms.length, kit.mediator.heapPages]).toEqual([
    undefined,
    0,
    0,
  ]);
});

test("MED-045, MED-090: pages of others that are mapped into a guest are neither read nor written", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  const theirs = kit.put({ cmd: 1, ret: 5 }, kit.page(other), other);
  const frame = kit.machine(theirs, other) / 4096;
  kit.port.seen.length = 0;
  for (const kind of [MAPPING.grant, MAPPING.foreign, MAPPING.mmio] as const) {
    kit.vm.space.mapForeign(0x900_0000 as Ipa, frame, kind);
    expect(kit.call(0x900_0000).get(0)).toBe(SMC_RETURN.EBADADDR);
  }
  expect(kit.port.seen).toEqual([]);
  expect(kit.get(theirs, other).ret).toBe(5);
});

test("MED-045: a page that the machine lets no normal world read is EBADADDR", () => {
  const kit = new GuestKit();
  kit.vm.space.stage2.map(0x900_0000 / 4096, 0xe00_0000 / 4096, MAPPING.ramRw);
  expect(kit.call(0x900_0000).get(0)).toBe(SMC_RETURN.EBADADDR);
  expect(kit.port.seen).toEqual([]);
});

test("MED-090: a page that is not writable is no other page either, with RAM from address 0 on", () => {
  const window = { base: 0, size: 0x400_0000 };
  const port = new ScriptedPort([
    { name: "heap", ...HEAP, type: "ram" },
    { name: "low", ...window, type: "ram" },
  ]);
  const kit = new GuestKit({ port, guests: [window] });
  const before = port.sparse.peek(0x1000 as Pa, 4096);
  const at = kit.put({ cmd: 1 });
  port.steps.push((registers, secure) => {
    kit.vm.space.protect(at as Ipa, MAPPING.ramRo);
    succeed(registers, secure);
  });
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.EBADADDR);
  expect(port.sparse.peek(0x1000 as Pa, 4096)).toEqual(before);
});

test("a VM that has ended may be ended again, which takes nothing from the others", () => {
  const mediator = make();
  const [one, two] = [0, 1].map(() => ok(mediator.createVm()));
  one?.destroy();
  one?.destroy();
  expect(mediator.vms).toEqual([two]);
});

test("MED-163: what cannot be interrupted ends at once: a VM without a TEE, a back end of one step", () => {
  const ends: string[] = [];
  const plain = {
    ...opteeBackEnd,
    probe: () => ({
      announce: () => true,
      createGuest: () => ({
        ok: true as const,
        value: {
          handle: () => false,
          destroy: () => void ends.push("destroy"),
          usage: () => ({ calls: 0, suspended: 0, buffers: 0, pages: 0, rpcArguments: 0 }),
        },
      }),
    }),
  };
  const mediator = make({ preempt: () => true, backEnds: [plain] });
  const ram = { base: RAM, size: 4096 };
  for (const tee of ["none", "optee"]) ok(mediator.createVm({ ram, tee })).destroy();
  expect(mediator.vms).toEqual([]);
  expect(ends).toEqual(["destroy"]);
});
