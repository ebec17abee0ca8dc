import { expect, test } from "@jest/globals";
import { type Ipa, Registers } from "../machine/index.ts";
import { OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { GuestKit, tmem, value } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, rpc, succeed } from "./testkit/scripted-port.ts";

/** The first guest under rule set kvm; the host is client 1. */
const kvm = (): GuestKit => new GuestKit({ rules: "kvm" });
const GUEST = 2;
const inside = (at: number, window: { base: number; size: number }): boolean =>
  at >= window.base && at < window.base + window.size;

test("MED-12.1: a VM is announced with VM_CREATED before its first call", () => {
  const kit = kvm();
  const vm = kit.addVm();
  kit.smc([OPTEE_SMC.CALLS_UID], vm);
  expect(kit.port.seen.map((words) => [words[0], words[1], words[7]])).toEqual([
    [OPTEE_SMC.VM_CREATED, 3, 0],
    [OPTEE_SMC.CALLS_UID, 0, 3],
  ]);
});

test("MED-12.2: the end of a VM is announced with VM_DESTROYED, once, and no call comes after it", () => {
  const kit = kvm();
  kit.vm.destroy();
  kit.smc([OPTEE_SMC.CALLS_UID]);
  kit.vm.destroy();
  expect(kit.port.seen).toEqual([[OPTEE_SMC.VM_DESTROYED, GUEST, 0, 0, 0, 0, 0, 0]]);
});

test("MED-12.3: fast calls, calls and resumes carry the VM's id in a7, whatever the guest puts there", () => {
  const kit = kvm();
  kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, 0, 0, 0, 0, 0, 0]);
  kit.smc([OPTEE_SMC.DISABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, 1]);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.smc([OPTEE_SMC.CALL_WITH_ARG, 0, kit.put({ cmd: 1 }), 0, 0, 0, 0, 1]);
  kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 0]);
  expect(kit.port.seen.map((words) => words[7])).toEqual([GUEST, GUEST, GUEST, GUEST]);
});

test("MED-12.4: every address that reaches the secure world is a machine address", () => {
  const kit = kvm();
  const { pointer, pages } = kit.list(2);
  let argument = 0;
  let list = 0;
  let entries: bigint[] = [];
  kit.port.steps.push((registers, port) => {
    argument = registers.pair(1);
    list = port.shadow().number(0, 1);
    entries = port.words(list, 2);
    succeed(registers, port);
  });
  kit.call(kit.put({ cmd: 1, params: [tmem(pointer, 8192, 1n)] }));
  expect([argument, list].map((at) => inside(at, HEAP))).toEqual([true, true]);
  expect(entries).toEqual(pages.map((page) => BigInt(kit.machine(page))));
  expect(entries.every((at) => inside(Number(at), GUESTS))).toBe(true);
  const rpcArgument = kit.withRpcArgument(0xc1);
  expect(inside(rpcArgument.shadow, HEAP)).toBe(true);
});

test("MED-12.5: a guest's pages are pinned while the secure world may use them", () => {
  const kit = kvm();
  const { pointer, pages } = kit.list(2);
  let during: number[] = [];
  kit.port.steps.push((registers, port) => {
    during = pages.map((page) => kit.pins(page));
    succeed(registers, port);
  });
  kit.call(kit.put({ cmd: 1, params: [tmem(pointer, 8192, 1n)] }));
  expect(during).toEqual([1, 1]);
  expect(pages.map((page) => kit.pins(page))).toEqual([0, 0]);
});

test("MED-12.6: what the secure world asks and answers reaches the guest as the protocol has it", () => {
  const kit = kvm();
  const argument = kit.withRpcArgument(0xc1);
  const params = [value(2, 1n, 2n, 3n)];
  const asked = kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params });
  expect([0, 1, 2, 3].map((index) => asked.get(index))).toEqual([0xffff_0005, 0, 0xc1, 0]);
  expect(kit.get(argument.page)).toMatchObject({ cmd: RPC_CMD.GET_TIME, params });
  expect(kit.resume(0, 0, 0xc1).get(0)).toBe(SMC_RETURN.OK);
});

test("MED-12.QUOTA: a VM shares 512 pages at most, in one buffer or in many, exactly", () => {
  const kit = kvm();
  kit.call(kit.register(1n, 400).at);
  kit.call(kit.register(2n, 112).at);
  expect(kit.vm.usage?.pages).toBe(512);
  const third = kit.register(3n, 1);
  kit.call(third.at);
  expect(kit.get(third.at).ret).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  const other = kit.addVm();
  for (const [count, ret] of [
    [513, TEEC.TEEC_ERROR_OUT_OF_MEMORY],
    [512, 0],
  ] as const) {
    const { at } = kit.register(1n, count, other);
    kit.call(at, other);
    expect(kit.get(at, other).ret).toBe(ret);
  }
});

test("MED-12.PLACEMENT: a trapped SMC is forwarded by the host under the guest's id", () => {
  const kit = kvm();
  const registers = new Registers([OPTEE_SMC.CALLS_REVISION, 1, 2, 3, 4, 5, 6, 7]);
  expect(kit.vm.trap({ method: "smc", registers })).toBe("advance");
  expect(registers.toArray().slice(0, 3)).toEqual([2n, 0n, 2n]);
  expect(kit.port.seen).toEqual([[OPTEE_SMC.CALLS_REVISION, 0, 0, 0, 0, 0, 0, GUEST]]);
});

test("MED-12.DEFECTS: the thread limit is known before any guest asks for it, which no guest can", () => {
  const kit = kvm();
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.OK);
  for (const fid of [OPTEE_SMC.GET_THREAD_COUNT, OPTEE_SMC.ENABLE_ASYNC_NOTIF]) {
    expect(kit.smc([fid]).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
  }
  expect(kit.port.sent(OPTEE_SMC.GET_THREAD_COUNT)).toEqual([]);
});

test("MED-12.DEFECTS: RPC arguments are shadowed, so no machine address shows in the guest's page", () => {
  const kit = kvm();
  const argument = kit.withRpcArgument(0xc1);
  expect(argument.shadow).not.toBe(kit.machine(argument.page));
  kit.ask(argument, { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n, 8n)] });
  const { pointer } = kit.list(1);
  const reply = { cmd: RPC_CMD.SHM_ALLOC, ret: 0, params: [tmem(pointer, 4096, 5n)] };
  kit.put(reply, argument.page);
  kit.resume(0, 0, 0xc1);
  // The secure world got a translated list, the guest's page still says what the guest wrote.
  expect(kit.port.message(argument.shadow).big(0, 1)).not.toBe(pointer);
  expect(kit.get(argument.page).params).toEqual(reply.params);
});

test("MED-12.DEFECTS: a cookie names one buffer only", () => {
  const kit = kvm();
  kit.call(kit.register(7n).at);
  const { at } = kit.register(7n);
  kit.call(at);
  expect(kit.get(at).ret).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
});

test("MED-12.DEFECTS: calls are told apart by owner and type too, not by their number alone", () => {
  const kit = kvm();
  for (const fid of [0x3f00_ff01, 0xb000_0004, 0xc200_0004, 0x8200_0004]) {
    expect(kit.smc([fid]).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
  }
  expect(kit.port.seen).toEqual([]);
});

test("MED-12.DEFECTS: the very page that is named is pinned, not the start of its memory slot", () => {
  const kit = kvm();
  const { at, pages } = kit.register(7n, 3);
  kit.call(at);
  const pinned = kit.mediator.frames
    .records(kit.vm.space.owner)
    .flatMap((record) => [...record.frames()]);
  expect(pinned).toEqual(pages.map((page) => kit.machine(page) / 4096));
  expect(kit.mediator.frames.pinnedFrames()).toBe(3);
});

test("MED-12.DEFECTS: disabling the cache lets go of the RPC argument and of no buffer", () => {
  const kit = kvm();
  const argument = kit.withRpcArgument(0xc1);
  kit.call(kit.register(0xc1n).at);
  kit.port.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, (registers) => {
    registers.set(0, SMC_RETURN.OK);
    registers.set(1, argument.wireHigh);
    registers.set(2, argument.wireLow);
  });
  kit.smc([OPTEE_SMC.DISABLE_SHM_CACHE]);
  expect(kit.vm.usage).toMatchObject({ rpcArguments: 0, buffers: 1 });
  expect(kit.pins(argument.page)).toBe(0);
  expect(kit.vm.space.balloon(argument.page as Ipa)).toBe(true);
});
