import { expect, test } from "@jest/globals";
import { UsageError } from "../base/index.ts";
import { Registers } from "../machine/index.ts";
import { OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import type { TeeBackEnd } from "./backend.ts";
import type { MediatorOptions } from "./contract.ts";
import { createMediator } from "./mediator.ts";
import { opteeBackEnd } from "./optee/back-end.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit, RAM } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, ScriptedPort } from "./testkit/scripted-port.ts";

const make = (port: ScriptedPort, options: Partial<MediatorOptions> = {}) =>
  createMediator(port, { heap: HEAP, guests: [GUESTS], ...options });
const ram = { base: RAM, size: 0x10_0000 };

/** A second kind of TEE, to show that the front is not tied to OP-TEE. */
const echoTee = (answers: boolean): TeeBackEnd => ({
  name: "echo",
  owners: [48, 49],
  guestNode: { path: "/firmware/echo", compatible: "example,echo", method: "smc" },
  probe: () =>
    answers
      ? {
          announce: () => true,
          createGuest: () => ({
            ok: true,
            value: {
              handle: (registers) => {
                registers.set(0, 0xec40);
                return true;
              },
              destroy: () => {},
              usage: () => ({ calls: 0, suspended: 0, buffers: 0, pages: 0, rpcArguments: 0 }),
            },
          }),
        }
      : undefined,
});

test("MED-001: without an OP-TEE node in the firmware description there is no OP-TEE", () => {
  const port = new ScriptedPort();
  expect(make(port, { compatible: ["example,other-tee"] }).tee).toBeUndefined();
  expect(port.seen).toEqual([]);
});

test("MED-002: another UID is not OP-TEE", () => {
  const port = new ScriptedPort();
  port.fast.set(OPTEE_SMC.CALLS_UID, (registers) => registers.set(3, 1));
  expect(make(port).tee).toBeUndefined();
});

test("MED-003: GET_THREAD_COUNT must answer; its count limits each guest", () => {
  const old = new ScriptedPort();
  old.fast.set(OPTEE_SMC.GET_THREAD_COUNT, (registers) => registers.setAllOnes(0));
  expect(make(old).tee).toBeUndefined();
  const kit = new GuestKit({ threads: 3 });
  for (const thread of [0, 1, 2]) {
    kit.suspend((registers) => {
      registers.set(0, SMC_RETURN.RPC_FOREIGN_INTR);
      registers.set(3, thread);
    });
  }
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
});

test("MED-004: an OP-TEE without virtualization does not know VM_DESTROYED and is not mediated", () => {
  const port = new ScriptedPort();
  port.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => registers.setAllOnes(0));
  expect(make(port).tee).toBeUndefined();
  const refusing = new ScriptedPort();
  refusing.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => registers.set(0, SMC_RETURN.ENOTAVAIL));
  expect(make(refusing).tee).toBe("optee");
  expect(refusing.sent(OPTEE_SMC.VM_DESTROYED)).toEqual([
    [OPTEE_SMC.VM_DESTROYED, 0, 0, 0, 0, 0, 0, 0],
  ]);
});

test("MED-005: the first back end that answers is the only one; a named one must answer", () => {
  const port = new ScriptedPort();
  expect(make(port, { backEnds: [echoTee(false), opteeBackEnd] }).tee).toBe("optee");
  expect(make(port, { backEnds: [echoTee(true), opteeBackEnd] }).tee).toBe("echo");
  expect(make(port, { backEnds: [echoTee(true), opteeBackEnd], tee: "optee" }).tee).toBe("optee");
  expect(() => make(port, { backEnds: [echoTee(false)], tee: "echo" })).toThrow(UsageError);
  expect(() => make(port, { tee: "ffa" })).toThrow(UsageError);
});

test("MED-006: a VM for another TEE is EINVAL, without any TEE ENODEV, with none no context", () => {
  const mediator = make(new ScriptedPort());
  expect(mediator.createVm({ ram, tee: "ffa" })).toMatchObject({ ok: false, error: "EINVAL" });
  const bare = make(new ScriptedPort(), { compatible: [] });
  expect(bare.createVm({ ram, tee: "optee" })).toMatchObject({ ok: false, error: "ENODEV" });
  expect(bare.createVm({ ram, hardwareDomain: true })).toMatchObject({ ok: true });
  const none = mediator.createVm({ ram, tee: "none" });
  expect(none.ok && none.value.firmwareNode).toBeUndefined();
});

test("MED-007: SMC #0 and HVC #0 of the trusted owners are calls, other immediates are undefined", () => {
  const { vm } = new GuestKit();
  const registers = new Registers([OPTEE_SMC.CALLS_COUNT]);
  expect(vm.trap({ method: "smc", registers })).toBe("advance");
  expect(registers.get(0)).toBe(11);
  registers.set(0, OPTEE_SMC.CALLS_COUNT);
  expect(vm.trap({ method: "hvc", registers })).toBe("stay");
  expect(registers.get(0)).toBe(11);
  registers.set(0, OPTEE_SMC.CALLS_COUNT);
  expect(vm.trap({ method: "smc", immediate: 1, registers })).toBe("undefined");
  expect(registers.get(0)).toBe(OPTEE_SMC.CALLS_COUNT);
});

test("MED-007: a 64-bit call from a 32-bit guest is unknown; only the low half of x0 counts", () => {
  const { vm } = new GuestKit();
  const wide = new Registers([0xf200_0000]);
  vm.trap({ method: "hvc", aarch32: true, registers: wide });
  expect(wide.get64(0)).toBe(0xffff_ffff_ffff_ffffn);
  const dirty = new Registers();
  dirty.set64(0, 0xdead_beef_bf00_ff00n);
  vm.trap({ method: "smc", registers: dirty });
  expect(dirty.get64(0)).toBe(11n);
});

test("MED-008: a VM without context and a function of nobody answer all ones, nothing else changes", () => {
  const mediator = make(new ScriptedPort());
  const none = mediator.createVm({ ram, tee: "none" });
  if (!none.ok) throw new RangeError(none.reason);
  const registers = new Registers([OPTEE_SMC.CALLS_COUNT, 1, 2, 3]);
  none.value.conduit.smc(registers);
  expect(registers.toArray()).toEqual([0xffff_ffff_ffff_ffffn, 1n, 2n, 3n, 0n, 0n, 0n, 0n]);
  const kit = new GuestKit();
  for (const owner of [0, 4, 47, 48, 49, 51, 62]) {
    const fid = (0x8000_0000 | (owner << 24)) >>> 0;
    expect(kit.smc([fid, 7]).toArray().slice(0, 2)).toEqual([0xffff_ffff_ffff_ffffn, 7n]);
  }
  expect(kit.port.seen).toEqual([]);
});

test("MED-010: the guest's device tree gets an OP-TEE node that calls by HVC", () => {
  expect(new GuestKit().vm.firmwareNode).toEqual({
    path: "/firmware/optee",
    compatible: "linaro,optee-tz",
    method: "hvc",
  });
});

test("MED-015: VM_CREATED names the client and a7 is 0; a refusal leaves nothing behind", () => {
  const port = new ScriptedPort();
  const mediator = make(port);
  port.fast.set(OPTEE_SMC.VM_CREATED, (registers) => registers.set(0, SMC_RETURN.ENOTAVAIL));
  expect(mediator.createVm({ ram })).toMatchObject({ ok: false, error: "ENODEV" });
  expect(port.last).toEqual([OPTEE_SMC.VM_CREATED, 1, 0, 0, 0, 0, 0, 0]);
  expect(mediator.vms).toEqual([]);
  port.fast.delete(OPTEE_SMC.VM_CREATED);
  const made = mediator.createVm({ ram: { base: RAM, size: GUESTS.size } });
  expect(made.ok && made.value.clientId).toBe(1);
});

test("MED-016: a new VM holds nothing", () => {
  expect(new GuestKit().vm.usage).toEqual({
    calls: 0,
    suspended: 0,
    buffers: 0,
    pages: 0,
    rpcArguments: 0,
  });
});

test("MED-017: no VM has RAM at address 0, none is backed by physical address 0", () => {
  const port = new ScriptedPort([{ name: "low", base: 0, size: 0x40_0000, type: "ram" }]);
  const mediator = make(port, {
    heap: { base: 0, size: 0x10_0000 },
    guests: [{ base: 0x10_0000, size: 0x10_0000 }],
  });
  expect(mediator.createVm({ ram: { base: 0, size: 4096 } })).toMatchObject({ error: "EINVAL" });
  const backed = make(new ScriptedPort([{ name: "low", base: 0, size: 0x40_0000, type: "ram" }]), {
    heap: { base: 0x20_0000, size: 0x10_0000 },
    guests: [{ base: 0, size: 0x4000 }],
  }).createVm({ ram: { base: RAM, size: 0x3000 } });
  if (!backed.ok) throw new RangeError(backed.reason);
  const frames = [...backed.value.space.stage2.pages()].map((page) => page.frame);
  expect(frames.toSorted((a, b) => a - b)).toEqual([1, 2, 3]);
});

test("MED-12.IDS: rule set kvm announces the host as client 1 and numbers guests from 2, never again", () => {
  const port = new ScriptedPort();
  const mediator = make(port, { rules: "kvm" });
  expect(port.sent(OPTEE_SMC.VM_CREATED).map((words) => words[1])).toEqual([1]);
  const ids = [0, 1, 2].map(() => {
    const made = mediator.createVm({ ram });
    if (!made.ok) throw new RangeError(made.reason);
    made.value.destroy();
    return made.value.clientId;
  });
  expect(ids).toEqual([2, 3, 4]);
});

test.each([
  ["xen", { ok: true, value: { clientId: 2 } }],
  ["strict", { ok: true, value: { clientId: 2 } }],
  ["kvm", { ok: false, error: "ENOSPC", reason: "all client ids are used" }],
] as const)(
  "MED-12.IDS: after 65,535, the last id that fits, xen and strict look for a free one, kvm has none (%s)",
  (rules, next) => {
    const mediator = make(new ScriptedPort(), { rules });
    const small = { base: RAM, size: 4096 };
    expect(mediator.createVm({ ram: small }).ok).toBe(true);
    let last = 0;
    for (let id = RULE_SETS[rules].firstClientId + 1; id <= 0xffff; id += 1) {
      const made = mediator.createVm({ ram: small, tee: "none" });
      if (!made.ok) throw new RangeError(made.reason);
      made.value.destroy();
      last = made.value.clientId;
    }
    expect(last).toBe(0xffff);
    expect(mediator.createVm({ ram: small })).toMatchObject(next);
  },
);

test("a VM's RAM is zero although another VM used the frames before", () => {
  const mediator = make(new ScriptedPort(), { guests: [{ base: GUESTS.base, size: 0x2000 }] });
  const spec = { ram: { base: RAM, size: 0x2000 } };
  const first = mediator.createVm(spec);
  if (!first.ok) throw new RangeError(first.reason);
  const at = first.value.conduit.ram.base;
  first.value.conduit.memory.write(at, new Uint8Array(0x2000).fill(7));
  expect(mediator.createVm(spec)).toMatchObject({ ok: false, error: "ENOMEM" });
  first.value.destroy();
  const second = mediator.createVm(spec);
  if (!second.ok) throw new RangeError(second.reason);
  expect(second.value.conduit.memory.read(at, 0x2000)).toEqual(new Uint8Array(0x2000));
});
