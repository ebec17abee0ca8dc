import { expect, test } from "@jest/globals";
import { type Ipa, type Pa } from "../machine/index.ts";
import {
  ATTR_TYPE,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  encodeMessage,
} from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit, tmem, value } from "./testkit/guest-kit.ts";
import { type Step, finish, rpc } from "./testkit/scripted-port.ts";

const GENERIC = TEEC.TEEC_ERROR_GENERIC;
const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];

for (const rules of RULES) {
  test(`MED-100: an RPC comes back with a0 to a3 verbatim, a4 to a7 the guest's own (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const registers = kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160, 0, 1));
    expect(registers.toArray()).toEqual(
      [SMC_RETURN.RPC_ALLOC, 160, 0, 1, 0x44, 0x55, 0x66, 0x77].map(BigInt),
    );
    expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 1 });
  });

  test(`MED-101: FOREIGN_INTR and functions nobody knows are passed on and change nothing (${rules})`, () => {
    const kit = new GuestKit({ rules });
    for (const [thread, a0] of [SMC_RETURN.RPC_FOREIGN_INTR, 0xffff_0001].entries()) {
      expect(kit.suspend(rpc(a0, 0, 0, thread)).get(0)).toBe(a0);
    }
    expect(kit.vm.usage).toMatchObject({ rpcArguments: 0, buffers: 0, suspended: 2 });
  });

  test(`MED-102: a request goes from the shadow to the guest's page, just as long as it is (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    const at = argument.page as Ipa;
    kit.vm.conduit.memory.write(at, new Uint8Array(4096).fill(0xee));
    const params = [value(ATTR_TYPE.VALUE_OUTPUT, 1n, 2n, 3n)];
    const registers = kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params });
    expect([0, 1, 2, 3].map((index) => registers.get(index))).toEqual([
      SMC_RETURN.RPC_CMD,
      0,
      0xc1,
      0,
    ]);
    expect(kit.get(argument.page)).toMatchObject({ cmd: RPC_CMD.GET_TIME, ret: GENERIC, params });
    expect(kit.vm.conduit.memory.read((argument.page + 64) as Ipa, 4032)).toEqual(
      new Uint8Array(4032).fill(0xee),
    );
  });

  test(`MED-104: SHM_FREE unpins before the guest sees it (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    const page = allocate(kit, argument, 0x77n);
    expect(kit.pins(page)).toBe(1);
    kit.ask(argument, {
      cmd: RPC_CMD.SHM_FREE,
      params: [value(ATTR_TYPE.VALUE_INPUT, 0n, 0x77n)],
    });
    expect(kit.pins(page)).toBe(0);
    expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
  });

  test(`MED-105: FREE drops the RPC argument before the guest sees it (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    kit.port.steps.push(rpc(SMC_RETURN.RPC_FREE, argument.wireHigh, argument.wireLow));
    const registers = kit.resume();
    expect([0, 1, 2].map((index) => registers.get(index))).toEqual([SMC_RETURN.RPC_FREE, 0, 0xc1]);
    expect(kit.pins(argument.page)).toBe(0);
    expect(kit.vm.usage?.rpcArguments).toBe(0);
    expect(kit.mediator.heapPages).toBe(1);
  });

  test(`MED-103: the type of an allocation is remembered for the mediator's own SHM_FREE (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    kit.ask(argument, {
      cmd: RPC_CMD.SHM_ALLOC,
      params: [value(ATTR_TYPE.VALUE_INPUT, 1n, 4096n, 8n)],
    });
    kit.put({ cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 9n)] }, argument.page);
    kit.resume(0, 0, 0xc1);
    expect(kit.get(argument.page)).toMatchObject({
      cmd: RPC_CMD.SHM_FREE,
      params: [{ attr: 1n, a: 1n, b: 9n }],
    });
  });
}

/** Lets the secure world allocate one page from the guest, which answers with `cookie`. */
function allocate(
  kit: GuestKit,
  argument: ReturnType<GuestKit["withRpcArgument"]>,
  cookie: bigint,
): number {
  kit.ask(argument, {
    cmd: RPC_CMD.SHM_ALLOC,
    params: [value(ATTR_TYPE.VALUE_INPUT, 0n, 4096n, 8n)],
  });
  const { pointer, pages } = kit.list(1);
  kit.put({ cmd: 6, ret: 0, params: [tmem(pointer, 4096, cookie)] }, argument.page);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.resume(0, 0, 0xc1);
  return pages[0] ?? 0;
}

test("MED-104: SHM_FREE of strict frees only what SHM_ALLOC made", () => {
  const kit = new GuestKit();
  const { at, pages } = kit.register(0x77n);
  kit.call(at);
  const argument = kit.withRpcArgument(0xc1);
  kit.ask(argument, { cmd: RPC_CMD.SHM_FREE, params: [value(1, 0n, 0x77n)] });
  expect(kit.pins(pages[0] ?? 0)).toBe(1);
});

const unknown: Step = (registers, port) =>
  rpc(SMC_RETURN.RPC_CMD, 0xbad, 0xbad, 0)(registers, port);

test("MED-106: an RPC with an unknown cookie shows itself to xen's guest and wedges its call", () => {
  const kit = new GuestKit({ rules: "xen" });
  const registers = kit.suspend(unknown);
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_CMD);
  expect(kit.port.last.slice(0, 4)).toEqual([SMC_RETURN.RPC_CMD, 0xbad, 0xbad, 0]);
  expect(kit.resume(0, 0xbad, 0xbad).get(0)).toBe(OPTEE_SMC.RETURN_FROM_RPC);
  expect(kit.resume(0, 0xbad, 0xbad).get(0)).toBe(SMC_RETURN.ERESUME);
  expect(kit.vm.usage?.calls).toBe(1);
});

test("MED-106: -1 in 64 bits for xen's repeated call is shown as an RPC, and its thread can be resumed", () => {
  const kit = new GuestKit({ rules: "xen" });
  kit.port.fast.set(SMC_RETURN.RPC_CMD, (registers) => registers.setAllOnes(0));
  kit.port.steps.push(unknown);
  const registers = kit.call(kit.put({ cmd: 1 }));
  expect(registers.toArray().slice(0, 4)).toEqual([2n ** 64n - 1n, 0xbadn, 0xbadn, 0n]);
  kit.port.steps.push(finish(SMC_RETURN.OK));
  expect(kit.resume(0, 1, 2).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.last).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0xbad, 0xbad, 0, 0, 0, 0, 1]);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-106: under strict the secure world goes on at once and its RPC fails with GENERIC", () => {
  const kit = new GuestKit();
  kit.port.steps.push(unknown, unknown, finish(SMC_RETURN.OK));
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.seen.map((words) => [words[0], words[3], words[7]])).toEqual([
    [OPTEE_SMC.CALL_WITH_ARG, 1, 1],
    [OPTEE_SMC.RETURN_FROM_RPC, 0, 1],
    [OPTEE_SMC.RETURN_FROM_RPC, 0, 1],
  ]);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-106: both words of the cookie of an RPC count", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(0xc1);
  const { wireHigh, wireLow } = argument;
  for (const [high, low] of [
    [wireHigh + 1, wireLow],
    [wireHigh, wireLow + 1],
    [0, 0xc1],
  ] as const) {
    kit.port.steps.push(rpc(SMC_RETURN.RPC_CMD, high, low), rpc(SMC_RETURN.RPC_FOREIGN_INTR));
    expect(kit.resume().get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
  }
});

test("MED-122: several RPC argument pages are told apart, and their names may come again", () => {
  const kit = new GuestKit({ threads: 8 });
  const pages = [1, 2, 3].map((cookie) => kit.withRpcArgument(cookie, cookie));
  expect(new Set(pages.map((page) => page.wireLow)).size).toBe(3);
  const [first, second] = pages;
  if (first === undefined || second === undefined) throw new Error("no pages");
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FREE, second.wireHigh, second.wireLow, 2));
  expect(kit.resume(2).get(2)).toBe(2);
  const fourth = kit.withRpcArgument(4, 9);
  for (const [index, page] of [...pages.filter((one) => one !== second), fourth].entries()) {
    expect(kit.ask(page, { cmd: RPC_CMD.GET_TIME, params: [value(2)] }).get(2)).toBe(
      [1, 3, 4][index],
    );
  }
});

test("MED-106: nothing of an undelivered RPC stays in the registers of strict's guest", () => {
  const kit = new GuestKit();
  kit.port.steps.push(unknown, finish(SMC_RETURN.OK));
  const at = kit.put({ cmd: 1 });
  expect(kit.call(at).toArray()).toEqual([0, 0, at, 0x33, 0x44, 0x55, 0x66, 0x77].map(BigInt));
});

test("MED-111: a call that goes on after an undelivered RPC has no thread that hides another's", () => {
  const kit = new GuestKit();
  let other: number[] = [];
  kit.port.steps.push(unknown, (registers) => {
    // Another vCPU's call gets a thread and is resumed while the first runs.
    other = [0, 1].map((thread) => {
      kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread), finish(SMC_RETURN.OK));
      kit.call(kit.put({ cmd: 1 }));
      return kit.resume(thread).get(0);
    });
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(kit.put({ cmd: 1 }));
  expect(other).toEqual([SMC_RETURN.OK, SMC_RETURN.OK]);
});

test("MED-111: a call that was resumed has no thread that hides another's", () => {
  const kit = new GuestKit();
  let other: number[] = [];
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0), (registers) => {
    other = [0, 1].map((thread) => {
      kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread), finish(SMC_RETURN.OK));
      kit.call(kit.put({ cmd: 1 }));
      return kit.resume(thread).get(0);
    });
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(kit.put({ cmd: 1 }));
  kit.resume(0);
  expect(other).toEqual([SMC_RETURN.OK, SMC_RETURN.OK]);
});

test("MED-103: the type of another request is not taken for an allocation's", () => {
  const kit = new GuestKit({ rules: "xen" });
  const argument = kit.withRpcArgument(0xc1);
  kit.ask(argument, { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 2n, 4096n, 8n)] });
  kit.put({ cmd: 6, ret: 0xffff_000c }, argument.page);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR));
  kit.resume(0, 0, 0xc1);
  kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2, 9n)] });
  // Xen takes the guest's word for the command, so this is an allocation to it.
  kit.put({ cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 9n)] }, argument.page);
  kit.resume(0, 0, 0xc1);
  expect(kit.get(argument.page)).toMatchObject({ cmd: RPC_CMD.SHM_FREE, params: [{ a: 2n }] });
});

test.each(RULES)(
  "MED-104: SHM_FREE of what the mediator does not know is shown all the same (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    const params = [value(1, 0n, 0x99n)];
    expect(kit.ask(argument, { cmd: RPC_CMD.SHM_FREE, params }).get(0)).toBe(SMC_RETURN.RPC_CMD);
    expect(kit.get(argument.page)).toMatchObject({ cmd: RPC_CMD.SHM_FREE, params });
  },
);

test("MED-106: a guest page that cannot be written makes the RPC fail, under strict at once", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(0xc1);
  kit.vm.space.protect(argument.page as Ipa, 2);
  kit.port.steps.push(
    (registers, port) => {
      const bytes = encodeMessage({ cmd: RPC_CMD.GET_TIME, ret: 0, params: [value(2)] });
      port.sparse.poke(argument.shadow as Pa, bytes);
      rpc(SMC_RETURN.RPC_CMD, argument.wireHigh, argument.wireLow)(registers, port);
    },
    (registers, port) => {
      expect(port.message(argument.shadow).ret).toBe(GENERIC);
      registers.set(0, SMC_RETURN.OK);
    },
  );
  expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
});

test("MED-106: a secure world that repeats a lost RPC for ever gives the guest a turn in between", () => {
  const kit = new GuestKit();
  for (let count = 0; count < 40; count += 1) kit.port.steps.push(unknown);
  const registers = kit.call(kit.put({ cmd: 1 }));
  expect([0, 1, 2, 3].map((index) => registers.get(index))).toEqual([
    SMC_RETURN.RPC_FOREIGN_INTR,
    0,
    0,
    0,
  ]);
  expect(kit.resume().get(0)).toBe(SMC_RETURN.RPC_FOREIGN_INTR);
  expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-104: SHM_FREE that cannot be delivered unpins all the same, as the memory is unmapped", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(0xc1);
  const kept = allocate(kit, argument, 0x76n);
  const freed = allocate(kit, argument, 0x77n);
  kit.vm.space.protect(argument.page as Ipa, 2);
  kit.ask(argument, { cmd: RPC_CMD.SHM_FREE, params: [value(1, 0n, 0x77n)] });
  expect([kept, freed].map((page) => kit.pins(page))).toEqual([1, 0]);
});

test("MED-106: another request that cannot be delivered frees nothing", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(0xc1);
  const kept = allocate(kit, argument, 0x77n);
  kit.vm.space.protect(argument.page as Ipa, 2);
  kit.ask(argument, { cmd: RPC_CMD.GET_TIME, params: [value(2, 0n, 0x77n)] });
  expect(kit.pins(kept)).toBe(1);
});

test("MED-106: a request in an argument page that was refused is lost", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.port.steps.push((registers, port) => {
    rpc(SMC_RETURN.RPC_CMD, registers.get(4), registers.get(5))(registers, port);
  }, finish(SMC_RETURN.OK));
  expect(kit.resume(0, 0, kit.page() + 8, 0, 0xc1).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-106: xen's repeated call carries the guest's id and zeros as every forwarded call", () => {
  const kit = new GuestKit({ rules: "xen" });
  kit.port.steps.push((registers, port) => {
    for (const index of [4, 5, 6, 7]) registers.set(index, 0x99);
    unknown(registers, port);
  });
  kit.call(kit.put({ cmd: 1 }));
  expect(kit.port.last).toEqual([SMC_RETURN.RPC_CMD, 0xbad, 0xbad, 0, 0, 0, 0, 1]);
});

test("MED-102: a request of 127 parameters fills the page and is delivered, one of 128 is lost", () => {
  for (const [count, a0] of [
    [127, SMC_RETURN.RPC_CMD],
    [128, SMC_RETURN.OK],
  ] as const) {
    const kit = new GuestKit();
    const argument = kit.withRpcArgument(0xc1);
    kit.port.steps.push((registers, port) => {
      port.message(argument.shadow).numParams = count;
      rpc(SMC_RETURN.RPC_CMD, argument.wireHigh, argument.wireLow)(registers, port);
    });
    expect(kit.resume().get(0)).toBe(a0);
  }
});

test("MED-106: FREE with an unknown cookie is not shown to strict's guest, who would free at random", () => {
  const kit = new GuestKit();
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FREE, 1, 2), finish(SMC_RETURN.OK));
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.OK);
  const xen = new GuestKit({ rules: "xen" });
  expect(xen.suspend(rpc(SMC_RETURN.RPC_FREE, 1, 2)).get(0)).toBe(SMC_RETURN.RPC_FREE);
});

test.each([
  [0x1000n, "low"],
  [0x10_0000_0000n, "high"],
])(
  "MED-107: a request that carries a machine address (%i, %s word) never reaches strict's guest",
  (at) => {
    const kit = new GuestKit();
    const argument = kit.withRpcArgument(0xc1);
    const params = [tmem(at, 4096, 1n, ATTR_TYPE.TMEM_INPUT)];
    const before = kit.get(argument.page);
    kit.port.steps.push((registers, port) => {
      port.sparse.poke(
        argument.shadow as Pa,
        encodeMessage({ cmd: RPC_CMD.LOAD_TA, ret: 0, params }),
      );
      rpc(SMC_RETURN.RPC_CMD, argument.wireHigh, argument.wireLow)(registers, port);
    });
    expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
    expect(kit.get(argument.page)).toEqual(before);
    expect(kit.port.message(argument.shadow).ret).toBe(GENERIC);
  },
);

test("MED-107: null references in a request are fine, and what lies behind it does not count", () => {
  const kit = new GuestKit();
  const argument = kit.withRpcArgument(0xc1);
  const params = [
    tmem(0n, 0, 0n, ATTR_TYPE.TMEM_OUTPUT),
    tmem(0x1000n, 1, 1n, ATTR_TYPE.TMEM_INPUT),
  ];
  kit.port.steps.push((registers, port) => {
    port.sparse.poke(
      argument.shadow as Pa,
      encodeMessage({ cmd: RPC_CMD.LOAD_TA, ret: 0, params }),
    );
    port.message(argument.shadow).numParams = 1;
    rpc(SMC_RETURN.RPC_CMD, argument.wireHigh, argument.wireLow)(registers, port);
  });
  expect(kit.resume().get(0)).toBe(SMC_RETURN.RPC_CMD);
});

test("MED-110: a thread that no call of this guest waits in is ERESUME", () => {
  const kit = new GuestKit();
  expect(kit.resume(0).get(0)).toBe(SMC_RETURN.ERESUME);
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 1));
  const before = kit.port.seen.length;
  const registers = kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 1, 2, 0, 4, 5, 6, 7]);
  expect(registers.toArray()).toEqual([3, 1, 2, 0, 4, 5, 6, 7].map(BigInt));
  expect(kit.port.seen).toHaveLength(before);
});

test("MED-110: nobody resumes another guest's call, even where thread ids overlap (MED-151)", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  expect(kit.resume(0, 0, 0, 0, 0, other).get(0)).toBe(SMC_RETURN.ERESUME);
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  kit.call(kit.put({ cmd: 1 }, kit.page(other), other), other);
  expect(kit.resume(0, 0, 0, 0, 0, other).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.last[7]).toBe(2);
  expect(kit.vm.usage?.suspended).toBe(1);
});

test("MED-111: while a call runs again its thread id is nobody's; any vCPU may have resumed it", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  let inside: number | undefined;
  kit.port.steps.push((registers, port) => {
    expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 0 });
    inside = kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0], kit.vm, 1).get(0);
    port.shadow().ret = 0;
    finish(SMC_RETURN.OK)(registers, port);
  });
  expect(kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0], kit.vm, 3).get(0)).toBe(SMC_RETURN.OK);
  expect(inside).toBe(SMC_RETURN.ERESUME);
});

test("MED-152: a call in flight on one vCPU cannot be resumed on another", () => {
  const kit = new GuestKit();
  let inside: number | undefined;
  kit.port.steps.push(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0), (registers, port) => {
    inside = kit.resume(0).get(0);
    finish(SMC_RETURN.OK)(registers, port);
  });
  kit.call(kit.put({ cmd: 1 }));
  kit.resume(0);
  expect(inside).toBe(SMC_RETURN.ERESUME);
});

test("MED-112: what was pending is the secure world's word, not the guest's registers", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  const page = kit.page();
  kit.resume(0, 0, page, 0, 0xc1);
  expect(kit.vm.usage?.rpcArguments).toBe(0);
  expect(kit.pins(page)).toBe(0);
  expect(kit.port.last).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1]);
});

test("MED-113: after an interrupt or FREE the secure world gets its own a1 and a2 back", () => {
  for (const a0 of [SMC_RETURN.RPC_FOREIGN_INTR, 0xffff_0001]) {
    const kit = new GuestKit();
    kit.suspend(rpc(a0, 0xaa, 0xbb, 1));
    kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 9, 9, 1, 9, 9, 9, 9]);
    expect(kit.port.last).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0xaa, 0xbb, 1, 0, 0, 0, 1]);
  }
});

test("MED-150: a foreign interrupt is the guest's to take; the mediator itself resumes nothing", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 0));
  expect(kit.port.seen).toHaveLength(1);
  expect(kit.resume(0).get(0)).toBe(SMC_RETURN.OK);
});

test("MED-151: calls are found by thread within their guest and may suspend in any order", () => {
  const kit = new GuestKit();
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 5), { cmd: 1, session: 50 });
  const first = kit.port.argument;
  kit.suspend(rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, 2), { cmd: 1, session: 20 });
  kit.port.argument = first;
  kit.resume(5);
  expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 1 });
  expect(kit.resume(5).get(0)).toBe(SMC_RETURN.ERESUME);
  expect(kit.resume(2).get(0)).toBe(SMC_RETURN.OK);
});
