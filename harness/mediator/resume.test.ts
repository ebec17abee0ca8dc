import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, type Pa, Registers } from "../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  encodeMessage,
} from "../optee-abi/index.ts";
import { OWN_COOKIE_HIGH } from "./cookies.ts";
import type { RuleSetName } from "./contract.ts";
import { GuestKit, type RpcPage, tmem, value } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, finish, rpc } from "./testkit/scripted-port.ts";

const GENERIC = TEEC.TEEC_ERROR_GENERIC;
const COOKIE = 0xc1;
const ALLOC = { cmd: RPC_CMD.SHM_ALLOC, params: [value(ATTR_TYPE.VALUE_INPUT, 0n, 8192n, 8n)] };

/** A guest with an RPC argument page whose call waits for the answer to `request`. */
function asked(
  request: Parameters<typeof encodeMessage>[0],
  options: ConstructorParameters<typeof GuestKit>[0] = {},
): { kit: GuestKit; argument: RpcPage } {
  const kit = new GuestKit(options);
  const argument = kit.withRpcArgument(COOKIE);
  kit.ask(argument, request);
  return { kit, argument };
}

/** The guest answers with this message; the call then waits in a foreign interrupt. */
function answer(
  kit: GuestKit,
  argument: RpcPage,
  reply: Parameters<typeof encodeMessage>[0],
): Registers {
  kit.put(reply, argument.page);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, argument.thread));
  return kit.resume(argument.thread, 0, COOKIE);
}

const inWindow = (at: number, window: { base: number; size: number }): boolean =>
  at >= window.base && at < window.base + window.size;

test("MED-120: an address that is not page aligned becomes 0 for the secure world", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
    kit.resume(0, 0, kit.page() + 8, 0, COOKIE);
    expect(kit.port.last.slice(0, 4)).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0]);
    expect(kit.mediator.frames.pinnedFrames()).toBe(0);
    // OP-TEE gives the cookie back with FREE, so it must have one; xen keeps no note of it.
    expect(kit.port.last.slice(4, 6)).not.toEqual([0, 0]);
    expect(kit.vm.usage?.rpcArguments).toBe(rules === "xen" ? 0 : 1);
    expect(kit.mediator.frames.records()).toEqual([]);
  }
});

test("MED-120: FREE of a refused reply tells strict's guest its own cookie, and is then forgotten", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.port.steps.push((registers) => {
    const [high, low] = [registers.get(4), registers.get(5)];
    rpc(SMC_RETURN.RPC_FREE, high, low)(registers, kit.port);
  });
  const registers = kit.resume(0, 0, kit.page() + 8, 0xdead, 0xbeef);
  expect([0, 1, 2].map((index) => registers.get(index))).toEqual([
    SMC_RETURN.RPC_FREE,
    0xdead,
    0xbeef,
  ]);
  expect(kit.vm.usage?.rpcArguments).toBe(0);
});

test("MED-121: the guest's page is pinned while the secure world uses its shadow", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(COOKIE);
    expect(kit.pins(argument.page)).toBe(1);
    const [record] = kit.mediator.frames.records(kit.vm.space.owner);
    expect(record?.reason).toBe("RPC argument");
    expect([...(record?.frames() ?? [])]).toEqual([kit.machine(argument.page) / 4096]);
    expect(kit.vm.usage?.rpcArguments).toBe(1);
  }
});

test("MED-121: a page that is not writable RAM, no shadow and a taken cookie all give 0", () => {
  for (const rules of ["xen", "strict"] as const) {
    let fail = false;
    const kit = new GuestKit({ rules, failAllocation: (what) => fail && what === "rpc-argument" });
    const readOnly = kit.page();
    kit.vm.space.protect(readOnly as Ipa, 2);
    const offer = (page: number, cookie: number): number[] => {
      kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160, 0, 1));
      kit.resume(1, 0, page, 0, cookie);
      return kit.port.last.slice(1, 3);
    };
    expect(offer(readOnly, 1)).toEqual([0, 0]);
    expect(offer(0x900_0000, 2)).toEqual([0, 0]);
    expect(offer(kit.page(), 3)).not.toEqual([0, 0]);
    expect(offer(kit.page(), 3)).toEqual([0, 0]);
    fail = true;
    expect(offer(kit.page(), 4)).toEqual([0, 0]);
    expect(kit.mediator.frames.pinnedFrames()).toBe(1);
  }
});

test("MED-122: the secure world gets the shadow's address and a cookie, never the guest's page", () => {
  const xen = new GuestKit({ rules: "xen" });
  const naive = xen.withRpcArgument(COOKIE);
  expect([naive.wireHigh, naive.wireLow]).toEqual([0, COOKIE]);
  const strict = new GuestKit();
  const own = strict.withRpcArgument(COOKIE);
  expect(own.wireHigh).toBe(OWN_COOKIE_HIGH);
  for (const argument of [naive, own]) {
    expect(inWindow(argument.shadow, HEAP)).toBe(true);
    expect(inWindow(argument.shadow, GUESTS)).toBe(false);
  }
  expect(strict.port.last.slice(6)).toEqual([0, 1]);
});

/** Answers ALLOC with this page and cookie, in a VM that has RAM at address 0. */
function offerAlloc(rules: RuleSetName, page: number, cookie: number): GuestKit {
  const kit = new GuestKit({ rules });
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.vm.space.stage2.map(0, kit.machine(kit.page()) / 4096, 1);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.resume(0, 0, page, 0, cookie);
  return kit;
}

test("MED-123: a guest that answers 0 has nothing; strict registers neither page 0 nor cookie 0", () => {
  expect(offerAlloc("xen", 0, 0).vm.usage?.rpcArguments).toBe(1);
  for (const [page, cookie] of [
    [0, 0],
    [0, 5],
    [0x4010_0000, 0],
  ] as const) {
    const kit = offerAlloc("strict", page, cookie);
    expect(kit.port.last.slice(1, 6)).toEqual([0, 0, 0, 0, 0]);
    expect(kit.mediator.frames.pinnedFrames()).toBe(0);
  }
});

test("MED-124: a duplicate cookie costs xen's guest its older page and strict's guest nothing", () => {
  for (const [rules, wire, left] of [
    ["xen", COOKIE, 0],
    ["strict", 0, 1],
  ] as const) {
    const kit = new GuestKit({ rules });
    const older = kit.withRpcArgument(COOKIE);
    kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160, 0, 1));
    // As OP-TEE does with a reply that it cannot use: FREE, if there is a cookie to free.
    kit.port.steps.push((registers, port) => {
      const [high, low] = [registers.get(4), registers.get(5)];
      expect([high, low]).toEqual([0, wire]);
      if (low === 0) finish(SMC_RETURN.OK)(registers, port);
      else rpc(SMC_RETURN.RPC_FREE, high, low, 1)(registers, port);
    });
    kit.resume(1, 0, kit.page(), 0, COOKIE);
    expect(kit.pins(older.page)).toBe(left);
  }
});

test("MED-125: RPC arguments have no quota of their own; each costs one page of the mediator", () => {
  const kit = new GuestKit();
  const pages = [1, 2, 3, 4, 5].map((cookie) => {
    kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
    const page = kit.page();
    kit.resume(0, 0, page, 0, cookie);
    return page;
  });
  expect(kit.vm.usage).toMatchObject({ rpcArguments: 5, calls: 0, buffers: 0, pages: 0 });
  expect(pages.map((page) => kit.pins(page))).toEqual([1, 1, 1, 1, 1]);
  expect(kit.mediator.heapPages).toBe(5);
});

test("MED-130: xen takes a reply in another of the guest's buffers, strict answers GENERIC", () => {
  for (const [rules, ret] of [
    ["xen", 0xffff_0000],
    ["strict", GENERIC],
  ] as const) {
    const kit = new GuestKit({ rules });
    const other = kit.withRpcArgument(0xc2, 1);
    const argument = kit.withRpcArgument(COOKIE);
    kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2)] });
    kit.put({ cmd: RPC_CMD.GET_TIME, ret: 0, params: [value(2, 9n)] }, argument.page);
    kit.resume(0, 0, 0xc2);
    expect(kit.port.message(argument.shadow).ret).toBe(ret);
    expect(kit.port.message(argument.shadow).number(0, 1)).toBe(0);
    expect(other.shadow).not.toBe(argument.shadow);
  }
});

test("MED-131: an unknown cookie in a reply wedges xen's call; strict's secure world sees GENERIC", () => {
  const xen = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] }, { rules: "xen" });
  expect(xen.kit.resume(0, 0xbad, 0xbad).toArray().slice(0, 3)).toEqual(
    [OPTEE_SMC.RETURN_FROM_RPC, 0xbad, 0xbad].map(BigInt),
  );
  expect(xen.kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.ERESUME);
  expect(xen.kit.vm.usage?.calls).toBe(1);

  const { kit, argument } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] });
  kit.put({ cmd: RPC_CMD.GET_TIME, ret: 0, params: [value(2, 9n)] }, argument.page);
  expect(kit.resume(0, 0xbad, 0xbad).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-132: a reply that cannot be read is GENERIC for the secure world", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] }, { rules });
    kit.vm.space.balloon(argument.page as Ipa);
    expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.OK);
    expect(kit.port.last[0]).toBe(OPTEE_SMC.RETURN_FROM_RPC);
    expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
    expect(kit.vm.usage?.calls).toBe(0);
  }
  const { kit, argument } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] }, { rules: "xen" });
  kit.put({ cmd: RPC_CMD.GET_TIME, ret: 0 }, argument.page);
  kit.vm.conduit.memory.write((argument.page + 28) as Ipa, Uint8Array.of(128, 0, 0, 0));
  kit.resume(0, 0, COOKIE);
  expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
});

test("MED-132: strict fetches a reply once, xen its header twice", () => {
  for (const [rules, times] of [
    ["strict", 1],
    ["xen", 2],
  ] as const) {
    const { kit, argument } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] }, { rules });
    const machine = kit.machine(argument.page) as Pa;
    const recorder = new AccessRecorder();
    kit.port.sparse.probe = recorder.probe;
    kit.resume(0, 0, COOKIE);
    expect(Math.max(...recorder.timesPerByte(machine, 64, "read", "mediator"))).toBe(times);
  }
});

test("MED-133: a reply to any other command carries ret and outputs and is not looked into", () => {
  for (const rules of ["xen", "strict"] as const) {
    const params = [value(2), value(1, 5n), value(7, 0n, 100n, 9n)];
    const { kit, argument } = asked({ cmd: RPC_CMD.RPMB_PROBE_NEXT, params }, { rules });
    const reply = [value(2, 1n, 2n, 3n), value(1, 6n), value(7, 0n, 50n, 8n)];
    kit.put({ cmd: RPC_CMD.RPMB_PROBE_NEXT, ret: 0, params: reply }, argument.page);
    expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.OK);
    expect(kit.vm.usage?.calls).toBe(0);
    const message = kit.port.message(argument.shadow);
    expect(message.ret).toBe(0);
    expect([1, 2, 3].map((word) => message.big(0, word as 1))).toEqual([1n, 2n, 3n]);
    // Xen takes the whole reply, strict what is an output.
    expect(message.big(1, 1)).toBe(rules === "xen" ? 6n : 5n);
    expect(message.big(2, 2)).toBe(50n);
    expect(message.big(2, 3)).toBe(rules === "xen" ? 8n : 9n);
    expect(kit.vm.usage?.buffers).toBe(0);
  }
});

test("MED-133: what lies behind a request's parameters is nobody's answer", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(COOKIE);
  kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2), value(2, 7n, 7n, 7n)] });
  kit.port.message(argument.shadow).numParams = 1;
  const params = [value(2, 1n), value(2, 9n, 9n, 9n)];
  kit.put({ cmd: RPC_CMD.GET_TIME, ret: 0, params }, argument.page);
  kit.resume(0, 0, COOKIE);
  const message = kit.port.message(argument.shadow);
  expect([message.big(0, 1), message.big(1, 1)]).toEqual([1n, 7n]);
});

test("MED-134: the resume after a CMD carries the thread and zeros; the shadow says the rest", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] }, { rules });
    kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, COOKIE, 0, 4, 5, 6, 7]);
    expect(kit.port.last).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1]);
  }
});

test("MED-135: changing the command of a reply is an untranslated address under xen, not strict", () => {
  // The guest answers SHM_ALLOC, but writes another command over it and its own physical address in.
  const target = 0x30_0000_0000n;
  for (const attr of [ATTR_TYPE.TMEM_OUTPUT, ATTR_TMEM_OUTPUT_NONCONTIG]) {
    for (const [rules, reached] of [
      ["xen", true],
      ["strict", false],
      ["kvm", false],
    ] as const) {
      const { kit, argument } = asked(ALLOC, { rules });
      const reply = { cmd: RPC_CMD.GET_TIME, ret: 0, params: [tmem(target, 8192, 5n, attr)] };
      answer(kit, argument, reply);
      const message = kit.port.message(argument.shadow);
      const accepted = message.ret === 0 && message.numParams === 1 && message.attrIs(0, attr);
      expect(accepted && message.big(0, 1) === target).toBe(reached);
    }
  }
});

test("MED-135: under strict a reply to another command never pins anything", () => {
  const { kit, argument } = asked({ cmd: RPC_CMD.GET_TIME, params: [value(2)] });
  const { pointer, pages } = kit.list(1);
  answer(kit, argument, { cmd: RPC_CMD.SHM_ALLOC, ret: 0, params: [tmem(pointer, 4096, 5n)] });
  expect(kit.pins(pages[0] ?? 0)).toBe(0);
  expect(kit.port.message(argument.shadow).attrIs(0, ATTR_TYPE.VALUE_OUTPUT)).toBe(true);
});

test("MED-140: a failed allocation is passed on with the guest's code", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    answer(kit, argument, { cmd: 6, ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY, params: [value(1)] });
    expect(kit.port.message(argument.shadow).ret).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    expect(kit.vm.usage?.buffers).toBe(0);
  }
});

test("MED-140: an answer of other than one parameter is a failure for the secure world", () => {
  for (const rules of ["xen", "strict"] as const) {
    for (const count of [0, 2]) {
      const { kit, argument } = asked(ALLOC, { rules });
      const { pointer } = kit.list(1);
      const params = Array.from({ length: count }, () => tmem(pointer, 4096, 5n));
      answer(kit, argument, { cmd: 6, ret: 0, params });
      const message = kit.port.message(argument.shadow);
      expect(message.ret === 0 && message.numParams === 1).toBe(false);
      if (rules === "strict") expect([message.ret, message.numParams]).toEqual([GENERIC, 0]);
      expect(kit.vm.usage?.buffers).toBe(0);
    }
  }
});

test("MED-141: a contiguous answer is an untranslated address under xen; strict asks to free it", () => {
  const target = 0x30_0000_0000n;
  const reply = { cmd: 6, ret: 0, params: [tmem(target, 4096, 5n, ATTR_TYPE.TMEM_OUTPUT)] };
  const xen = asked(ALLOC, { rules: "xen" });
  answer(xen.kit, xen.argument, reply);
  expect(xen.kit.port.message(xen.argument.shadow).big(0, 1)).toBe(target);

  const { kit, argument } = asked(ALLOC);
  const registers = answer(kit, argument, reply);
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_CMD);
  expect(kit.get(argument.page)).toMatchObject({
    cmd: RPC_CMD.SHM_FREE,
    params: [{ attr: 1n, a: 0n, b: 5n, c: 0n }],
  });
  kit.resume(0, 0, COOKIE);
  const message = kit.port.message(argument.shadow);
  expect([message.ret, message.numParams]).toEqual([GENERIC, 0]);
});

test.each([0n, 0x1n, 0x9n, 0x209n, 0x20bn, 0x30an, 0x1_0000_020an])(
  "MED-141: any other attribute (%i) than TMEM_OUTPUT|NONCONTIG is a failure under strict",
  (attr) => {
    const { kit, argument } = asked(ALLOC);
    const params = [{ ...tmem(0x30_0000_0000n, 4096, 5n), attr }];
    answer(kit, argument, { cmd: 6, ret: 0, params });
    const message = kit.port.message(argument.shadow);
    expect([message.ret, message.numParams]).toEqual([GENERIC, 0]);
    expect(message.big(0, 1)).not.toBe(0x30_0000_0000n);
  },
);

test("MED-142: an allocation is translated and pinned until SHM_FREE; the list goes with the next one", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    const heap = kit.mediator.heapPages;
    const first = kit.list(2, 0x10);
    answer(kit, argument, { cmd: 6, ret: 0, params: [tmem(first.pointer, 8000, 0x51n)] });
    const message = kit.port.message(argument.shadow);
    const list = message.number(0, 1);
    expect([message.ret, message.numParams]).toEqual([0, 1]);
    expect(message.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG)).toBe(true);
    expect([message.number(0, 2), message.big(0, 3)]).toEqual([8000, 0x51n]);
    expect(list % 4096).toBe(0x10);
    expect(kit.port.words(list - 0x10, 2)).toEqual(
      first.pages.map((page) => BigInt(kit.machine(page))),
    );
    expect(kit.mediator.heapPages).toBe(heap + 1);

    kit.ask(argument, ALLOC);
    const second = kit.list(1);
    answer(kit, argument, { cmd: 6, ret: 0, params: [tmem(second.pointer, 4096, 0x52n)] });
    expect(kit.mediator.heapPages).toBe(heap + 1);
    expect([first, second].map(({ pages }) => kit.pins(pages[0] ?? 0))).toEqual([1, 1]);
    expect(kit.vm.usage).toMatchObject({ buffers: 2, pages: 3 });
    kit.ask(argument, { cmd: RPC_CMD.SHM_FREE, params: [value(1, 0n, 0x51n)] });
    expect([first, second].map(({ pages }) => kit.pins(pages[0] ?? 0))).toEqual([0, 1]);
  }
});

test("MED-142: with the call ends strict's page list of its allocation, the pages stay pinned", () => {
  const { kit, argument } = asked(ALLOC);
  const { pointer, pages } = kit.list(1);
  kit.put({ cmd: 6, ret: 0, params: [tmem(pointer, 4096, 0x51n)] }, argument.page);
  expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.vm.usage).toMatchObject({ calls: 0, buffers: 1 });
  expect(kit.pins(pages[0] ?? 0)).toBe(1);
  // The RPC argument's shadow is all that is left of the mediator's memory.
  expect(kit.mediator.heapPages).toBe(1);
});

test("MED-143: an allocation that breaks a quota is freed at the guest by the mediator's own RPC", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    const registers = answer(kit, argument, {
      cmd: 6,
      ret: 0,
      params: [tmem(kit.list(1).pointer, 20_000 * 4096, 0x51n)],
    });
    expect([0, 1, 2, 3].map((index) => registers.get(index))).toEqual([
      SMC_RETURN.RPC_CMD,
      0,
      COOKIE,
      0,
    ]);
    expect(kit.get(argument.page)).toMatchObject({
      cmd: RPC_CMD.SHM_FREE,
      ret: GENERIC,
      params: [{ attr: 1n, a: 0n, b: 0x51n, c: rules === "xen" ? 0x51n : 0n }],
    });
    expect(kit.vm.usage).toMatchObject({ buffers: 0, suspended: 1 });
  }
});

test("MED-144: a guest that cannot be asked to free: the secure world sees the failure at once", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    kit.put({ cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 0x51n)] }, argument.page);
    kit.vm.space.protect(argument.page as Ipa, 2);
    const before = kit.port.seen.length;
    kit.port.steps.push(finish(SMC_RETURN.OK));
    expect(kit.resume(0, 0, COOKIE).get(0)).toBe(SMC_RETURN.OK);
    expect(kit.port.seen).toHaveLength(before + 1);
    const message = kit.port.message(argument.shadow);
    expect([message.ret, message.numParams]).toEqual([GENERIC, 0]);
  }
});

test("MED-145: the answer to the mediator's own RPC is ignored; the allocation has failed", () => {
  for (const rules of ["xen", "strict"] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    answer(kit, argument, { cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 0x51n)] });
    const { pointer } = kit.list(1);
    kit.put({ cmd: 6, ret: 0, params: [tmem(pointer, 4096, 0x53n)] }, argument.page);
    kit.resume(0, 0, COOKIE);
    const message = kit.port.message(argument.shadow);
    expect([message.ret, message.numParams]).toEqual([GENERIC, 0]);
    expect(kit.vm.usage?.buffers).toBe(0);
  }
});

test("MED-146: an unreadable answer to it costs xen the next genuine reply too, strict nothing", () => {
  for (const [rules, ret] of [
    ["xen", GENERIC],
    ["strict", 0],
  ] as const) {
    const { kit, argument } = asked(ALLOC, { rules });
    answer(kit, argument, { cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 0x51n)] });
    kit.vm.conduit.memory.write((argument.page + 28) as Ipa, Uint8Array.of(0xff, 0, 0, 0));
    // The mediator's own RPC kept the secure world from taking its step.
    kit.port.steps.length = 0;
    kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
    kit.resume(0, 0, COOKIE);
    expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
    kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2)] });
    answer(kit, argument, { cmd: RPC_CMD.GET_TIME, ret: 0, params: [value(2, 1n, 2n)] });
    expect(kit.port.message(argument.shadow).ret).toBe(ret);
  }
});

test("MED-147: a duplicate cookie makes xen ask for the live buffer, strict fails without asking", () => {
  for (const [rules, a0] of [
    ["xen", SMC_RETURN.RPC_CMD],
    ["strict", SMC_RETURN.RPC_FOREIGN_INTR],
  ] as const) {
    const kit = new GuestKit({ rules });
    kit.call(kit.register(0x51n).at);
    const argument = kit.withRpcArgument(COOKIE);
    kit.ask(argument, ALLOC);
    const { pointer } = kit.list(1);
    const reply = { cmd: 6, ret: 0, params: [tmem(pointer, 4096, 0x51n)] };
    expect(answer(kit, argument, reply).get(0)).toBe(a0);
    expect(kit.vm.usage?.buffers).toBe(1);
    expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
  }
});

test("strict refuses an allocation under a cookie that is the mediator's own", () => {
  const { kit, argument } = asked(ALLOC);
  const { pointer, pages } = kit.list(1);
  const cookie = (BigInt(OWN_COOKIE_HIGH) << 32n) | 1n;
  answer(kit, argument, { cmd: 6, ret: 0, params: [tmem(pointer, 4096, cookie)] });
  expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
  expect(kit.pins(pages[0] ?? 0)).toBe(0);
});

test("a guest cannot name an RPC argument in a memory reference under strict, under xen it can", () => {
  for (const [rules, reached] of [
    ["xen", true],
    ["strict", false],
  ] as const) {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(COOKIE);
    const wire = (BigInt(argument.wireHigh) << 32n) | BigInt(argument.wireLow);
    const at = kit.put({ cmd: 1, params: [value(ATTR_TYPE.RMEM_INOUT, 0n, 4096n, wire)] });
    kit.call(at);
    expect(kit.get(at).ret === 0).toBe(reached);
  }
});
