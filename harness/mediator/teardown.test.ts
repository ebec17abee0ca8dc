import { expect, test } from "@jest/globals";
import { type Ipa, Registers } from "../machine/index.ts";
import { OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { rpc, succeed } from "./testkit/scripted-port.ts";

const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];

/** A VM that holds one of everything: suspended calls, registered, temporary and RPC memory. */
function busy(kit: GuestKit): void {
  kit.call(kit.register(1n, 3).at);
  const argument = kit.withRpcArgument(0xc1);
  kit.ask(argument, { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n)] });
  const { pointer } = kit.list(1);
  kit.put({ cmd: 6, ret: 0, params: [tmem(pointer, 4096, 2n)] }, argument.page);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.resume(0, 0, 0xc1);
  const temporary = kit.list(2);
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 1), {
    cmd: 1,
    params: [tmem(temporary.pointer, 8192, 3n)],
  });
  expect(kit.vm.usage).toEqual({ calls: 2, suspended: 2, buffers: 3, pages: 6, rpcArguments: 1 });
}

function nothingLeft(kit: GuestKit): void {
  expect(kit.mediator.frames.pinnedFrames()).toBe(0);
  expect(kit.mediator.frames.records()).toEqual([]);
  expect(kit.mediator.heapPages).toBe(0);
  expect(kit.vm.usage).toBeUndefined();
  expect(kit.clauses()).not.toContain("MED-165");
}

for (const rules of RULES) {
  test(`MED-160: at the end of a VM its pins go before its pages and mappings (${rules})`, () => {
    const kit = new GuestKit({ rules });
    busy(kit);
    const frame = kit.machine(RAM) / 4096;
    kit.port.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => {
      expect(kit.machine(RAM) / 4096).toBe(frame);
      expect(kit.mediator.frames.owner(frame)).toBe(kit.vm.space.owner);
      registers.set(0, SMC_RETURN.OK);
    });
    kit.vm.destroy();
    expect(kit.mediator.frames.owner(frame)).toBe(0);
    expect(kit.machine(RAM)).toBe(-1);
    nothingLeft(kit);
  });

  test(`MED-161: suspended calls are given up (${rules})`, () => {
    const kit = new GuestKit({ rules });
    kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
    kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160, 0, 1));
    kit.vm.destroy();
    nothingLeft(kit);
  });

  test(`MED-162: RPC arguments are unpinned (${rules})`, () => {
    const kit = new GuestKit({ rules });
    kit.withRpcArgument(0xc1);
    expect(kit.mediator.frames.pinnedFrames()).toBe(1);
    kit.vm.destroy();
    nothingLeft(kit);
  });

  test(`MED-163: buffers of every kind are unpinned (${rules})`, () => {
    const kit = new GuestKit({ rules });
    busy(kit);
    kit.vm.destroy();
    nothingLeft(kit);
  });

  test(`MED-163: a VM's end can be interrupted before each buffer, and what was done stays done (${rules})`, () => {
    let patience = 0;
    const kit = new GuestKit({ rules, preempt: () => (patience -= 1) < 0 });
    busy(kit);
    const other = kit.addVm();
    kit.port.seen.length = 0;
    const told = rules === "xen" ? 0 : 1;
    const left = [0, 1, 2, 2, 2].map((checks) => {
      patience = checks;
      kit.vm.destroy();
      // A VM on its way out is nobody's to call, and its RAM is not free yet.
      expect(kit.smc([OPTEE_SMC.CALLS_COUNT]).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
      expect([kit.vm.alive, kit.machine(RAM) > 0, kit.mediator.vms.length]).toEqual([
        false,
        true,
        2,
      ]);
      expect(kit.port.sent(OPTEE_SMC.VM_DESTROYED)).toHaveLength(told);
      const { calls, rpcArguments, buffers } = kit.vm.usage ?? {};
      return [calls, rpcArguments, buffers];
    });
    expect(left).toEqual([
      [0, 1, 3],
      [0, 0, 3],
      [0, 0, 2],
      [0, 0, 1],
      [0, 0, 0],
    ]);
    patience = 2;
    kit.vm.destroy();
    expect(kit.port.sent(OPTEE_SMC.VM_DESTROYED)).toHaveLength(1);
    nothingLeft(kit);
    expect(kit.mediator.vms).toEqual([other]);
  });

  test(`MED-164: VM_DESTROYED names the client, a7 is 0, its result does not matter (${rules})`, () => {
    const kit = new GuestKit({ rules });
    kit.port.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => registers.setAllOnes(0));
    kit.vm.destroy();
    expect(kit.port.last).toEqual([OPTEE_SMC.VM_DESTROYED, kit.vm.clientId, 0, 0, 0, 0, 0, 0]);
    nothingLeft(kit);
  });

  test(`MED-165: a VM that has ended leaves no call, page or RPC argument behind (${rules})`, () => {
    const kit = new GuestKit({ rules });
    busy(kit);
    kit.vm.destroy();
    kit.vm.destroy();
    expect(kit.port.sent(OPTEE_SMC.VM_DESTROYED)).toHaveLength(1);
    nothingLeft(kit);
    expect(kit.addVm().usage).toMatchObject({ calls: 0, buffers: 0, pages: 0 });
  });

  test(`MED-167: no RPC is completed and no session closed on behalf of a dead VM (${rules})`, () => {
    const kit = new GuestKit({ rules });
    busy(kit);
    const before = kit.port.seen.length;
    kit.vm.destroy();
    expect(kit.port.seen).toHaveLength(before + 1);
  });
}

test("MED-165: the quota that xen leaks (MED-068) shows at the end, as its assertion would", () => {
  const kit = new GuestKit({ rules: "xen" });
  const pages = [kit.page(), 0x1000];
  kit.call(kit.put({ cmd: 1, params: [tmem(kit.listOf(pages), 8192, 1n)] }));
  kit.vm.destroy();
  expect(kit.trace.find((event) => event.clause === "MED-165")?.what).toContain("1 pages");
});

test("MED-166: strict tells the secure world first and unpins then, xen the other way round", () => {
  for (const [rules, pinned] of [
    ["strict", 6],
    ["xen", 0],
  ] as const) {
    const kit = new GuestKit({ rules });
    kit.call(kit.register(1n, 6).at);
    let during = -1;
    kit.port.fast.set(OPTEE_SMC.VM_DESTROYED, (registers) => {
      during = kit.mediator.frames.pinnedFrames();
      registers.set(0, SMC_RETURN.OK);
    });
    kit.vm.destroy();
    expect(during).toBe(pinned);
  }
});

test("MED-168: nothing of a VM's end is left for later", () => {
  const kit = new GuestKit();
  busy(kit);
  kit.vm.destroy();
  expect(kit.mediator.vms).toEqual([]);
  expect(kit.vm.alive).toBe(false);
});

test("a VM that ends inside one of its calls is torn down when that call has come back", () => {
  for (const rules of RULES) {
    const kit = new GuestKit({ rules });
    busy(kit);
    kit.port.steps.push((registers, port) => {
      kit.vm.destroy();
      expect(kit.vm.alive).toBe(false);
      expect(kit.vm.usage?.calls).toBe(2);
      succeed(registers, port);
    });
    expect(kit.resume(1).get(0)).toBe(SMC_RETURN.OK);
    nothingLeft(kit);
  }
});

test("a dead VM's vCPUs run no more: its calls reach nobody and its traps say so", () => {
  const kit = new GuestKit();
  kit.vm.destroy();
  kit.port.seen.length = 0;
  expect(kit.smc([OPTEE_SMC.CALLS_COUNT]).get64(0)).toBe(0xffff_ffff_ffff_ffffn);
  expect(kit.vm.trap({ method: "smc", registers: new Registers([OPTEE_SMC.CALLS_UID]) })).toBe(
    "dead",
  );
  expect(kit.port.seen).toEqual([]);
});

test("a pinned page can be unmapped but not reused: donation waits for the last pin", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  const { at, pages } = kit.register(1n);
  kit.call(at);
  const page = (pages[0] ?? 0) as Ipa;
  const frame = kit.machine(page) / 4096;
  const target = (RAM + 0x100_0000) as Ipa;
  kit.vm.conduit.memory.write(page, Uint8Array.of(42));
  expect(kit.vm.space.donate(page, other.space, target)).toBe("waiting");
  expect(kit.machine(page)).toBe(-1);
  expect(kit.machine(target, other)).toBe(-1);
  expect(kit.mediator.frames.isFree(frame)).toBe(false);
  kit.call(kit.put({ cmd: 5, params: [value(5, 0n, 0n, 1n)] }));
  expect(kit.machine(target, other) / 4096).toBe(frame);
  expect(other.conduit.memory.read(target, 1)).toEqual(Uint8Array.of(0));
});

test("a page on its way to a VM that died meanwhile becomes free", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  const { at, pages } = kit.register(1n);
  kit.call(at);
  const page = (pages[0] ?? 0) as Ipa;
  const frame = kit.machine(page) / 4096;
  kit.vm.space.donate(page, other.space, (RAM + 0x100_0000) as Ipa);
  other.destroy();
  kit.vm.destroy();
  expect(kit.mediator.frames.isFree(frame)).toBe(true);
});

test("a ballooned page that is pinned goes to nobody until the secure world is done with it", () => {
  const kit = new GuestKit({ scatter: 7 });
  const { at, pages } = kit.register(1n);
  kit.call(at);
  const page = (pages[0] ?? 0) as Ipa;
  const frame = kit.machine(page) / 4096;
  kit.vm.space.balloon(page);
  expect(kit.mediator.frames.claim(frame, 9)).toBe(false);
  kit.vm.destroy();
  expect(kit.mediator.frames.claim(frame, 9)).toBe(true);
});
