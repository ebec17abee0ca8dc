import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, MAPPING, type Pa } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { GuestKit, tmem, value } from "./testkit/guest-kit.ts";
import { failWith, finish, rpc, succeed } from "./testkit/scripted-port.ts";

const interrupt = rpc(SMC_RETURN.RPC_FOREIGN_INTR);

/** Registers a buffer and says where its first page is. */
function registered(kit: GuestKit, cookie: bigint, count = 1): number {
  const { at, pages } = kit.register(cookie, count);
  kit.call(at);
  expect(kit.get(at).ret).toBe(0);
  return pages[0] ?? 0;
}

const unregister = (kit: GuestKit, cookie: bigint): number =>
  kit.put({ cmd: MSG_CMD.UNREGISTER_SHM, params: [value(ATTR_TYPE.RMEM_INPUT, 0n, 0n, cookie)] });

test.each([
  SMC_RETURN.OK,
  SMC_RETURN.EBADADDR,
  SMC_RETURN.EBADCMD,
  SMC_RETURN.ENOMEM,
  SMC_RETURN.ENOTAVAIL,
  SMC_RETURN.UNKNOWN_FUNCTION,
])("MED-080: a0 %i of the secure world completes the call, a1 to a7 stay the guest's", (a0) => {
  const kit = new GuestKit();
  kit.port.steps.push(finish(a0));
  const at = kit.put({ cmd: 1, ret: 5 });
  expect(kit.call(at).toArray()).toEqual([a0, 0, at, 0x33, 0x44, 0x55, 0x66, 0x77].map(BigInt));
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-081: after REGISTER_SHM the pages stay pinned and counted, the mediator's list goes", () => {
  for (const rules of ["xen", "strict", "kvm"] as const) {
    const kit = new GuestKit({ rules });
    const page = registered(kit, 7n, 3);
    expect(kit.pins(page)).toBe(1);
    expect(kit.vm.usage).toMatchObject({ buffers: 1, pages: 3, calls: 0 });
    expect(kit.mediator.heapPages).toBe(0);
    const records = kit.mediator.frames.records(kit.vm.space.owner);
    expect(records.map((record) => record.reason)).toEqual(["registered shared memory"]);
  }
});

test("MED-082: a refused REGISTER_SHM leaves nothing pinned", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    const { at, pages } = kit.register(7n, 3);
    kit.port.steps.push(failWith(TEEC.TEEC_ERROR_BAD_PARAMETERS));
    kit.call(at);
    expect(kit.pins(pages[0] ?? 0)).toBe(0);
    expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
  }
});

test("MED-083: UNREGISTER_SHM unpins when it succeeds and only then", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    const page = registered(kit, 7n);
    kit.port.steps.push(failWith(TEEC.TEEC_ERROR_BAD_PARAMETERS));
    kit.call(unregister(kit, 7n));
    expect(kit.pins(page)).toBe(1);
    kit.call(unregister(kit, 8n));
    expect(kit.pins(page)).toBe(1);
    kit.call(unregister(kit, 7n));
    expect(kit.pins(page)).toBe(0);
    expect(kit.vm.usage?.buffers).toBe(0);
  }
});

test("MED-083: a stale ret of 0 does not count when the secure world never ran the command", () => {
  const kit = new GuestKit();
  const page = registered(kit, 7n);
  kit.port.steps.push(finish(SMC_RETURN.ETHREAD_LIMIT));
  kit.call(unregister(kit, 7n));
  expect(kit.pins(page)).toBe(1);
});

test("MED-084: temporary buffers end with the call, whatever it returned", () => {
  for (const rules of ["xen", "strict"] as const) {
    for (const step of [succeed, failWith(TEEC.TEEC_ERROR_GENERIC), finish(SMC_RETURN.EBADCMD)]) {
      const kit = new GuestKit({ rules });
      const lists = [kit.list(2), kit.list(3)];
      const params = lists.map(({ pointer, pages }, index) =>
        tmem(pointer, pages.length * 4096, BigInt(index)),
      );
      kit.port.steps.push(interrupt, step);
      kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
      expect(kit.vm.usage).toMatchObject({ buffers: 2, pages: 5 });
      kit.resume();
      expect(kit.vm.usage).toMatchObject({ buffers: 0, pages: 0 });
      expect(kit.mediator.frames.pinnedFrames()).toBe(0);
      expect(kit.mediator.heapPages).toBe(0);
    }
  }
});

const attacks: readonly [string, (kit: GuestKit, cookie: bigint) => void][] = [
  [
    "a null reference with the cookie of registered memory",
    (kit, cookie) => {
      const params = [value(ATTR_TYPE.TMEM_INPUT, 0n, 0n, cookie)];
      kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
    },
  ],
  [
    "a REGISTER_SHM without parameters whose bytes name the cookie",
    (kit, cookie) => {
      const at = kit.put({ cmd: MSG_CMD.REGISTER_SHM, params: [tmem(0n, 1, cookie)] });
      kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(0, 0, 0, 0));
      kit.port.steps.push(failWith(TEEC.TEEC_ERROR_BAD_PARAMETERS));
      kit.call(at);
    },
  ],
  [
    "a REGISTER_SHM of a registered reference",
    (kit, cookie) => {
      const params = [value(ATTR_TYPE.RMEM_OUTPUT, 0n, 1n, cookie)];
      kit.port.steps.push(failWith(TEEC.TEEC_ERROR_BAD_PARAMETERS));
      kit.call(kit.put({ cmd: MSG_CMD.REGISTER_SHM, params }));
    },
  ],
];

test.each(attacks)(
  "MED-085: %s unpins memory that the secure world has mapped under xen, not under strict",
  (_what, attack) => {
    for (const [rules, pins] of [
      ["xen", 0],
      ["strict", 1],
      ["kvm", 1],
    ] as const) {
      const kit = new GuestKit({ rules });
      const page = registered(kit, 7n);
      attack(kit, 7n);
      expect(kit.pins(page)).toBe(pins);
    }
  },
);

test("MED-085: xen survives a guest that frees a buffer while it is being registered", () => {
  for (const step of [succeed, failWith(TEEC.TEEC_ERROR_BAD_PARAMETERS)]) {
    const kit = new GuestKit({ rules: "xen" });
    const { at, pages } = kit.register(7n);
    kit.port.steps.push(interrupt);
    kit.call(at);
    const shadow = kit.port.argument;
    const params = [value(ATTR_TYPE.TMEM_INPUT, 0n, 0n, 7n)];
    kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
    expect(kit.pins(pages[0] ?? 0)).toBe(0);
    kit.port.argument = shadow;
    kit.port.steps.push(step);
    expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
    expect(kit.vm.usage).toMatchObject({ calls: 0, buffers: 0, pages: 0 });
  }
});

test("MED-084: a call that uses registered memory does not free it, whatever its result", () => {
  for (const rules of ["xen", "strict", "kvm"] as const) {
    for (const step of [succeed, failWith(TEEC.TEEC_ERROR_GENERIC)]) {
      const kit = new GuestKit({ rules });
      const page = registered(kit, 7n);
      const params = [
        value(ATTR_TYPE.RMEM_INOUT, 0n, 4096n, 7n),
        value(ATTR_TYPE.VALUE_INPUT, 0n, 0n, 7n),
      ];
      kit.port.steps.push(step);
      kit.call(kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params }));
      expect(kit.pins(page)).toBe(1);
    }
  }
});

test("MED-086: xen completes the message on ETHREAD_LIMIT: what the secure world left in it is copied back", () => {
  for (const [rules, session] of [
    ["xen", 77],
    ["strict", 0],
  ] as const) {
    const kit = new GuestKit({ rules });
    kit.port.steps.push((registers, port) => {
      port.shadow().session = 77;
      registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
    });
    const at = kit.put({ cmd: MSG_CMD.OPEN_SESSION });
    expect(kit.call(at).get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
    expect(kit.get(at).session).toBe(session);
  }
});

test("MED-086: ETHREAD_LIMIT of the secure world leaves the message alone under strict", () => {
  const kit = new GuestKit();
  kit.port.steps.push((registers, port) => {
    port.shadow().session = 77;
    registers.set(0, SMC_RETURN.ETHREAD_LIMIT);
  });
  const { at, pages } = kit.register(7n);
  kit.vm.conduit.memory.write((at + 20) as Ipa, Uint8Array.of(0, 0, 0, 0));
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
  expect(kit.get(at)).toMatchObject({ session: 0, ret: 0 });
  expect(kit.pins(pages[0] ?? 0)).toBe(0);
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.get(at).ret).toBe(0);
});

test("MED-086: under xen the retry after ETHREAD_LIMIT fails, as the stale ret of 0 was believed", () => {
  const kit = new GuestKit({ rules: "xen" });
  const { at } = kit.register(7n);
  kit.vm.conduit.memory.write((at + 20) as Ipa, Uint8Array.of(0, 0, 0, 0));
  kit.port.steps.push(finish(SMC_RETURN.ETHREAD_LIMIT));
  kit.call(at);
  kit.call(at);
  expect(kit.get(at).ret).toBe(TEEC.TEEC_ERROR_BAD_PARAMETERS);
});

test("MED-087: the command that counts is that of the mediator's copy", () => {
  const kit = new GuestKit();
  const { at, pages } = kit.register(7n);
  kit.port.steps.push((registers, port) => {
    kit.vm.conduit.memory.write(at as Ipa, Uint8Array.of(MSG_CMD.INVOKE_COMMAND));
    succeed(registers, port);
  });
  kit.call(at);
  expect(kit.pins(pages[0] ?? 0)).toBe(1);
});

test("MED-090: a page that is no longer writable gets nothing; strict says so, xen hides it", () => {
  for (const [rules, a0] of [
    ["strict", SMC_RETURN.EBADADDR],
    ["xen", SMC_RETURN.OK],
  ] as const) {
    for (const kind of [MAPPING.ramRo, MAPPING.grant, MAPPING.mmio] as const) {
      const kit = new GuestKit({ rules });
      const at = kit.put({ cmd: 1, ret: 0x55 });
      const machine = kit.machine(at) as Pa;
      kit.port.steps.push((registers, port) => {
        kit.vm.space.stage2.map(at / 4096, machine / 4096, kind);
        succeed(registers, port);
      });
      expect(kit.call(at).get(0)).toBe(a0);
      expect(kit.port.sparse.peek((machine + 20) as Pa, 1)).toEqual(Uint8Array.of(0x55));
      expect(kit.vm.usage?.calls).toBe(0);
    }
  }
});

test("MED-090: results go to the page that is mapped at the address now, never to the old frame", () => {
  const kit = new GuestKit();
  const at = kit.put({ cmd: 1, ret: 0x55 });
  const old = kit.machine(at) as Pa;
  kit.port.steps.push((registers, port) => {
    kit.vm.space.balloon(at as Ipa);
    kit.vm.space.refill(at as Ipa);
    port.shadow().ret = 0x66;
    registers.set(0, SMC_RETURN.OK);
  });
  kit.vm.space.refill((at + 0x100_0000) as Ipa);
  kit.call(at);
  if (kit.machine(at) !== old) {
    expect(kit.port.sparse.peek((old + 20) as Pa, 1)).toEqual(Uint8Array.of(0x55));
  }
  expect(kit.get(at).ret).toBe(0x66);
});

test("MED-091: only results are written: ret, origin, session, sizes and values of outputs", () => {
  const kit = new GuestKit();
  const { pointer } = kit.list(1);
  const types = [1, 2, 3, 5, 6, 7, 0x209, 0x20a, 0x20b, 0, 0xc];
  const params = types.map((type, index) =>
    type >= 9 && type !== 0xc
      ? tmem(pointer, 16, BigInt(index), type)
      : value(type, 0x11n, 0x22n, 0x33n),
  );
  const at = kit.put({ cmd: 1, func: 2, session: 3, cancel_id: 4, params });
  const before = kit.get(at);
  kit.port.steps.push((registers, port) => {
    const message = port.shadow();
    for (const [index] of params.entries()) {
      message.setBig(index, 1, 0xaaaan);
      message.setBig(index, 2, 0xbbbbn);
      message.setBig(index, 3, 0xccccn);
    }
    message.func = 100;
    message.cancelId = 101;
    message.session = 102;
    message.ret = 103;
    message.retOrigin = 4;
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(at);
  const after = kit.get(at);
  const output = (index: number) => ((types[index] ?? 0) & 2) !== 0 && index < 9;
  expect(after).toEqual({
    ...before,
    session: 102,
    ret: 103,
    ret_origin: 4,
    params: before.params.map((param, index) => {
      if (!output(index)) return param;
      if (index < 3) return { ...param, a: 0xaaaan, b: 0xbbbbn, c: 0xccccn };
      return { ...param, b: 0xbbbbn };
    }),
  });
});

test("MED-091: values and sizes of outputs come back with all their 64 bits", () => {
  const kit = new GuestKit();
  const at = kit.put({
    cmd: 1,
    params: [value(ATTR_TYPE.VALUE_OUTPUT), value(ATTR_TYPE.RMEM_OUTPUT, 0n, 0n, 1n)],
  });
  const words = [0x0123_4567_89ab_cdefn, 0xfedc_ba98_7654_3210n, 0x1122_3344_5566_7788n] as const;
  kit.port.steps.push((registers, port) => {
    for (const [index, word] of words.entries()) port.shadow().setBig(0, (index + 1) as 1, word);
    port.shadow().setBig(1, 2, words[0]);
    succeed(registers, port);
  });
  kit.call(at);
  const [first, second] = kit.get(at).params;
  expect([first?.a, first?.b, first?.c, second?.b]).toEqual([...words, words[0]]);
});

const range = (from: number, length: number): number[] =>
  Array.from({ length }, (_, index) => from + index);

test("MED-091: the recorder sees no write of the mediator outside the fields of the results", () => {
  const kit = new GuestKit();
  const { pointer } = kit.list(2);
  const at = kit.put({ cmd: 1, params: [tmem(pointer, 8192, 1n), value(ATTR_TYPE.VALUE_INOUT)] });
  const machine = kit.machine(at) as Pa;
  const recorder = new AccessRecorder();
  kit.port.sparse.probe = recorder.probe;
  kit.call(at);
  const times = recorder.timesPerByte(machine, 4096, "write", "mediator");
  const written = [...times.keys()].filter((index) => (times[index] ?? 0) > 0);
  expect(written).toEqual([...range(8, 4), ...range(20, 8), ...range(48, 8), ...range(72, 24)]);
});

test("MED-091: what lies behind num_params is never written", () => {
  const kit = new GuestKit();
  const params = [value(ATTR_TYPE.VALUE_OUTPUT), value(ATTR_TYPE.VALUE_OUTPUT, 5n)];
  const at = kit.put({ cmd: 1, params });
  kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(1, 0, 0, 0));
  kit.port.steps.push((registers, port) => {
    port.shadow().setBig(1, 1, 0x999n);
    succeed(registers, port);
  });
  kit.call(at);
  kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(2, 0, 0, 0));
  expect(kit.get(at).params[1]?.a).toBe(5n);
});

test("MED-092: what is an output is decided by the copy, not by what the guest writes later", () => {
  const kit = new GuestKit();
  const at = kit.put({ cmd: 1, params: [value(ATTR_TYPE.VALUE_INPUT, 1n, 2n, 3n)] });
  kit.port.steps.push((registers, port) => {
    kit.vm.conduit.memory.write((at + 32) as Ipa, Uint8Array.of(ATTR_TYPE.VALUE_OUTPUT));
    port.shadow().setBig(0, 1, 0x999n);
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(at);
  expect(kit.get(at).params[0]).toMatchObject({ attr: 2n, a: 1n });
});

test("two calls of one guest settle their own buffers when one unregisters what the other registers", () => {
  const kit = new GuestKit();
  const { at, pages } = kit.register(7n);
  kit.port.steps.push(interrupt);
  kit.call(at);
  kit.call(unregister(kit, 7n));
  expect(kit.pins(pages[0] ?? 0)).toBe(0);
  expect(kit.resume().get(0)).toBe(SMC_RETURN.OK);
  expect(kit.vm.usage).toMatchObject({ calls: 0, buffers: 0, pages: 0 });
  expect(kit.mediator.heapPages).toBe(0);
});
