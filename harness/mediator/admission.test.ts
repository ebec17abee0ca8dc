import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa, type Pa } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { rpc } from "./testkit/scripted-port.ts";

const interrupt = (thread: number) => rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread);
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const COMMS = 2;

for (const rules of Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[]) {
  test(`MED-040: one call more than threads is ETHREAD_LIMIT and allocates nothing (${rules})`, () => {
    const kit = new GuestKit({ rules });
    kit.suspend(interrupt(0));
    kit.suspend(interrupt(1));
    const heap = kit.mediator.heapPages;
    const before = kit.port.seen.length;
    const registers = kit.call(kit.put({ cmd: 1 }));
    expect(registers.get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
    expect(registers.toArray().slice(3)).toEqual([0x33n, 0x44n, 0x55n, 0x66n, 0x77n]);
    expect(kit.mediator.heapPages).toBe(heap);
    expect(kit.port.seen).toHaveLength(before);
    expect(kit.vm.usage?.calls).toBe(2);
  });

  test(`MED-046: num_params over 127 is refused in the message and num_params stays (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const at = kit.put({ cmd: 1, session: 5 });
    kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(200, 0, 0, 0));
    const a0 = kit.call(at).get(0);
    expect(a0).toBe(rules === "xen" ? OPTEE_SMC.CALL_WITH_ARG : SMC_RETURN.OK);
    const view = new DataView(kit.vm.conduit.memory.read(at as Ipa, 32).buffer);
    expect([view.getUint32(20, true), view.getUint32(24, true)]).toEqual([BAD, COMMS]);
    expect(view.getUint32(28, true)).toBe(200);
    expect(kit.port.seen).toEqual([]);
    expect(kit.vm.usage?.calls).toBe(0);
  });

  test(`MED-046: with a read-only argument page the refusal is EBADADDR (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const at = kit.put({ cmd: 1 });
    kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(128, 0, 0, 0));
    kit.vm.space.protect(at as Ipa, 2);
    expect(kit.call(at).get(0)).toBe(SMC_RETURN.EBADADDR);
  });
}

test("MED-041: no memory for the call's context is ENOMEM, and the slot is free again", () => {
  let fail = true;
  const kit = new GuestKit({ failAllocation: (what) => fail && what === "call" });
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.ENOMEM);
  expect(kit.vm.usage?.calls).toBe(0);
  fail = false;
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.OK);
});

test("MED-042: a new call is in flight: nobody can resume it before its first RPC", () => {
  const kit = new GuestKit();
  let during: number | undefined;
  kit.port.steps.push((registers) => {
    expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 0 });
    during = kit.resume(0xffff_ffff).get(0);
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(kit.put({ cmd: 1 }));
  expect(during).toBe(SMC_RETURN.ERESUME);
});

test("MED-042: a call after another is as new as the first: in flight, without thread or memory", () => {
  const kit = new GuestKit({ threads: 3 });
  const other: number[] = [];
  for (let turn = 0; turn < 3; turn += 1) {
    kit.port.steps.push((registers) => {
      expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 0 });
      // Calls of other vCPUs get their threads and are resumed while this one runs.
      for (const thread of [0, 1]) {
        kit.port.steps.push(interrupt(thread));
        kit.call(kit.put({ cmd: 1 }));
        other.push(kit.resume(thread).get(0));
      }
      registers.set(0, SMC_RETURN.OK);
    });
    kit.call(kit.put({ cmd: 1 }));
    kit.call(kit.page() + 1);
    expect(kit.mediator.heapPages).toBe(0);
  }
  expect(other).toEqual([0, 0, 0, 0, 0, 0]);
});

test("MED-043: an argument that is not page aligned is EBADADDR", () => {
  const kit = new GuestKit();
  for (const offset of [1, 8, 4095]) {
    expect(kit.call(kit.page() + offset).get(0)).toBe(SMC_RETURN.EBADADDR);
  }
  expect(kit.port.seen).toEqual([]);
});

test("MED-044: no page for the shadow is ENOMEM", () => {
  const kit = new GuestKit({ failAllocation: (what) => what === "argument" });
  expect(kit.call(kit.put({ cmd: 1 })).get(0)).toBe(SMC_RETURN.ENOMEM);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-045: an argument outside the guest's RAM is EBADADDR, wherever it points", () => {
  const kit = new GuestKit();
  kit.vm.space.mapForeign(0x900_0000 as Ipa, 0xe000, 3);
  for (const [high, low] of [
    [0, 0],
    [0, 0x900_0000],
    [0, RAM - 4096],
    [0x30, 0],
    [0xffff_ffff, 0xffff_f000],
  ] as const) {
    const registers = kit.smc([OPTEE_SMC.CALL_WITH_ARG, high, low]);
    expect(registers.get(0)).toBe(SMC_RETURN.EBADADDR);
  }
  expect(kit.port.seen).toEqual([]);
  expect(kit.mediator.heapPages).toBe(0);
});

test("MED-045: an argument in RAM that is read-only for the guest is read all the same", () => {
  const kit = new GuestKit();
  const at = kit.put({ cmd: MSG_CMD.CLOSE_SESSION, session: 3 });
  kit.vm.space.protect(at as Ipa, 2);
  kit.call(at);
  expect(kit.port.sent(OPTEE_SMC.CALL_WITH_ARG)).toHaveLength(1);
  expect(kit.port.shadow().session).toBe(3);
});

test("MED-045: the argument page is read once; a guest that changes it later changes nothing", () => {
  const kit = new GuestKit();
  const { pointer, pages } = kit.list(2);
  const other = kit.listOf([kit.page(), kit.page()]);
  const at = kit.put({ cmd: 1, func: 7, params: [tmem(pointer, 8192, 5n)] });
  const machine = kit.machine(at) as Pa;
  let copied = false;
  const recorder = new AccessRecorder((access) => {
    // Before every access after the first to its page the guest rewrites its message.
    if (copied) {
      kit.port.sparse.poke((machine + 4) as Pa, Uint8Array.of(99));
      kit.port.sparse.poke(
        (machine + 40) as Pa,
        new Uint8Array(new BigUint64Array([other]).buffer),
      );
    }
    copied ||= access.at === machine;
  });
  kit.port.sparse.probe = recorder.probe;
  let func = 0;
  let listed: bigint[] = [];
  kit.port.steps.push((registers, port) => {
    func = port.shadow().func;
    listed = port.words(port.shadow().number(0, 1), 2);
    registers.set(0, SMC_RETURN.OK);
  });
  kit.call(at);
  expect(func).toBe(7);
  expect(listed).toEqual(pages.map((page) => BigInt(kit.machine(page))));
  expect(Math.max(...recorder.timesPerByte(machine, 4096, "read", "mediator"))).toBe(1);
});

test("MED-047: commands beyond UNREGISTER_SHM are EBADCMD and the message is untouched", () => {
  const kit = new GuestKit();
  for (const cmd of [6, 7, 8, 9, 10, 11, 12, 99, 0xffff_ffff]) {
    const at = kit.put({ cmd, ret: 0x1234, ret_origin: 9 });
    const before = kit.get(at);
    expect(kit.call(at).get(0)).toBe(SMC_RETURN.EBADCMD);
    expect(kit.get(at)).toEqual(before);
  }
  expect(kit.port.seen).toEqual([]);
});

test("MED-047: every command from OPEN_SESSION to UNREGISTER_SHM is admitted", () => {
  const kit = new GuestKit();
  for (let cmd = 0; cmd <= 5; cmd += 1) {
    expect(kit.call(kit.put({ cmd })).get(0)).toBe(SMC_RETURN.OK);
  }
  expect(kit.port.sent(OPTEE_SMC.CALL_WITH_ARG)).toHaveLength(6);
});

test("MED-048: whatever a call ends with, its shadow page and its slot are given back", () => {
  const kit = new GuestKit();
  kit.call(kit.page() + 1);
  kit.call(0);
  kit.call(kit.put({ cmd: 99 }));
  kit.call(kit.put({ cmd: 1, params: [tmem(0x1000n, 4096, 1n, ATTR_TYPE.TMEM_INPUT)] }));
  kit.call(kit.put({ cmd: 1 }));
  expect(kit.mediator.heapPages).toBe(0);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-050: value, registered, empty and null references pass as they are", () => {
  const kit = new GuestKit();
  const params = [
    value(ATTR_TYPE.VALUE_INOUT, 1n, 2n, 0xffff_ffff_ffff_ffffn),
    value(ATTR_TYPE.RMEM_INPUT, 0x123n, 0x10n, 77n),
    value(ATTR_TYPE.NONE),
    value(ATTR_TYPE.TMEM_OUTPUT, 0n, 0x100n, 5n),
    tmem(0n, 0x100, 6n),
    value(0x4, 1n, 2n, 3n),
    value(0xc, 1n, 2n, 3n),
  ];
  let passed: bigint[][] = [];
  kit.port.steps.push((registers, port) => {
    const message = port.shadow();
    passed = params.map((_, index) =>
      ([0, 1, 2, 3] as const).map((word) => message.big(index, word)),
    );
    registers.set(0, SMC_RETURN.OK);
  });
  expect(kit.call(kit.put({ cmd: 1, params })).get(0)).toBe(SMC_RETURN.OK);
  expect(passed).toEqual(params.map(({ attr, a, b, c }) => [attr, a, b, c]));
  expect(kit.vm.usage?.buffers).toBe(0);
});

test("MED-046: 127 parameters fill the page and are admitted", () => {
  const kit = new GuestKit();
  const params = Array.from({ length: 127 }, () => value(ATTR_TYPE.VALUE_INPUT));
  expect(kit.call(kit.put({ cmd: 1, params })).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.port.shadow().numParams).toBe(127);
});

test("MED-050: what lies behind num_params is not a parameter", () => {
  for (const rules of ["xen", "strict"] as const) {
    const kit = new GuestKit({ rules });
    kit.call(kit.register(7n).at);
    const params = [value(ATTR_TYPE.VALUE_INPUT), tmem(0x1000n, 4096, 7n, ATTR_TYPE.TMEM_INPUT)];
    const at = kit.put({ cmd: 1, params });
    kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(1, 0, 0, 0));
    expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
    expect(kit.get(at).ret).toBe(0);
    expect(kit.vm.usage?.buffers).toBe(1);
  }
});

test("MED-050: a contiguous temporary reference is refused, with META as without", () => {
  const kit = new GuestKit();
  for (const attr of [ATTR_TYPE.TMEM_INPUT, ATTR_TYPE.TMEM_INOUT | 0x100]) {
    const at = kit.put({ cmd: 1, params: [tmem(BigInt(kit.page()), 4096, 1n, attr)] });
    expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
    expect(kit.get(at)).toMatchObject({ ret: BAD, ret_origin: COMMS });
  }
  expect(kit.port.seen).toEqual([]);
});

test("MED-051, MSG-2.4.MEDIATOR_REFUSED: a refused parameter ends the message: a0 OK, code in the message, origin COMMS", () => {
  const kit = new GuestKit({ rules: "xen" });
  const bad = kit.put({ cmd: 0, session: 9, params: [tmem(0x1000n, 4096, 1n)] });
  expect(kit.call(bad).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.get(bad)).toMatchObject({ ret: BAD, ret_origin: COMMS, session: 9 });
  const large = kit.list(1);
  const at = kit.put({ cmd: 1, params: [tmem(large.pointer, 130 * 4096, 1n)] });
  expect(kit.call(at).get(0)).toBe(SMC_RETURN.OK);
  expect(kit.get(at)).toMatchObject({ ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY, ret_origin: COMMS });
  expect(kit.port.seen).toEqual([]);
  expect(kit.vm.usage?.calls).toBe(0);
});

test("MED-052: under strict a refusal gives back what earlier parameters pinned, under xen not", () => {
  for (const [rules, left] of [
    ["strict", 0],
    ["xen", 1],
  ] as const) {
    const kit = new GuestKit({ rules });
    const good = kit.list(3);
    const params = [tmem(good.pointer, 3 * 4096, 1n), tmem(0x1000n, 4096, 2n, 0xa)];
    kit.call(kit.put({ cmd: 1, params }));
    expect(kit.pins(good.pages[0] ?? 0)).toBe(left);
    expect(kit.vm.usage).toMatchObject({ buffers: left, pages: 3 * left });
  }
});

test("MED-053: the secure world gets the shadow's address, the cache setting and the client id", () => {
  const kit = new GuestKit();
  const at = kit.put({ cmd: 1 });
  kit.call(at);
  const [fid, high = 0, low = 0, a3, ...rest] = kit.port.last;
  expect([fid, a3, rest]).toEqual([OPTEE_SMC.CALL_WITH_ARG, 1, [0, 0, 0, 1]]);
  expect(high * 2 ** 32 + low).not.toBe(kit.machine(at));
  expect(high).toBe(0x20);
});
