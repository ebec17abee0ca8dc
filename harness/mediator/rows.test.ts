import { expect, test } from "@jest/globals";
import type { Ipa } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit, type KitOptions, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { rpc } from "./testkit/scripted-port.ts";

const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];
const interrupt = (thread: number) => rpc(SMC_RETURN.RPC_FOREIGN_INTR, 0, 0, thread);
const BAD_PARAMETERS = 0xffff_0006;
const OUT_OF_MEMORY = 0xffff_000c;
const COMMS = 2;

test("MED-0.CLIENT_ID: VMs are clients 1, 2, 3 and never 0, which is the hypervisor's own", () => {
  const kit = new GuestKit();
  const ids = [kit.vm, kit.addVm(), kit.addVm()].map((vm) => vm.clientId);
  expect(ids).toEqual([1, 2, 3]);
  for (const vm of kit.mediator.vms) kit.smc([OPTEE_SMC.CALLS_UID, 0, 0, 0, 0, 0, 0, 0], vm);
  expect(kit.port.sent(OPTEE_SMC.CALLS_UID).map((words) => words[7])).toEqual([1, 2, 3]);
  expect(kit.port.sent(OPTEE_SMC.VM_CREATED).map((words) => words[7])).toEqual([0, 0]);
});

test.each(RULES)(
  "MED-0.MAX_STD_CALLS: a guest's calls are limited by the thread count of the probe (%s)",
  (rules) => {
    const kit = new GuestKit({ rules, threads: 3 });
    kit.port.fast.delete(OPTEE_SMC.GET_THREAD_COUNT);
    const codes = [0, 1, 2, 3].map((thread) => {
      const a0 = kit.suspend(interrupt(thread)).get(0);
      kit.port.steps.length = 0;
      return a0;
    });
    expect(codes).toEqual([0xffff_0004, 0xffff_0004, 0xffff_0004, 1]);
    expect(kit.port.sent(OPTEE_SMC.GET_THREAD_COUNT)).toEqual([]);
  },
);

test("MED-0.MAX_TOTAL_PAGES: 16,383 pages of a guest of xen are usable, the 16,384th is not", () => {
  const kit = new GuestKit({ rules: "xen" });
  const page = kit.page();
  const full = kit.listOf(Array.from({ length: 129 }, () => page));
  const bad = kit.listOf(Array.from({ length: 129 }, () => 0x1000));
  const send = (pointer: bigint, pages: number): number => {
    const at = kit.put({ cmd: 1, params: [tmem(pointer, pages * 4096, 1n)] }, RAM);
    kit.call(at);
    return kit.get(at).ret;
  };
  // Sixteen buffers of 129 pages never get there; the quota that failed walks leak (MED-068) does.
  for (let count = 0; count < 126; count += 1) expect(send(bad, 129)).toBe(BAD_PARAMETERS);
  expect(kit.vm.usage?.pages).toBe(126 * 129);
  expect(send(full, 129)).toBe(0);
  expect(send(bad, 1)).toBe(BAD_PARAMETERS);
  expect(send(full, 129)).toBe(OUT_OF_MEMORY);
  expect(send(full, 128)).toBe(0);
});

test("MED-0.PAGE, MED-11.4: pages are of 4096 bytes, and 511 of them fill a list page", () => {
  const kit = new GuestKit();
  const pages = Array.from({ length: 512 }, () => kit.page());
  for (const [count, lists] of [
    [511, 1],
    [512, 2],
  ] as const) {
    const before = kit.mediator.heapPages;
    let during = 0;
    let link = 0n;
    kit.port.steps.push((registers, port) => {
      during = kit.mediator.heapPages - before;
      link = port.words(port.shadow().number(0, 1), 512)[511] ?? 0n;
      registers.set(0, SMC_RETURN.OK);
    });
    const pointer = kit.listOf(pages.slice(0, count));
    kit.call(kit.put({ cmd: 1, params: [tmem(pointer, count * 4096, 1n)] }));
    // The message's shadow and the lists.
    expect(during).toBe(1 + lists);
    if (lists === 2) expect(link % 4096n).toBe(0n);
  }
  for (const offset of [1, 2048, 4095]) {
    expect(kit.call(kit.page() + offset).get(0)).toBe(SMC_RETURN.EBADADDR);
  }
});

test.each(RULES)(
  "MED-0.TEEC_CODES: all that the mediator itself says in messages is three codes (%s)",
  (rules) => {
    const said = new Set<string>();
    const fail = (message: Parameters<GuestKit["put"]>[0], options: KitOptions = {}): void => {
      const kit = new GuestKit({ rules, ...options });
      kit.port.steps.push(() => {
        throw new Error("the secure world is not asked");
      });
      const at = kit.put(message);
      kit.call(at);
      const { ret, ret_origin: origin } = kit.get(at);
      said.add(`${ret.toString(16)} from ${origin}`);
    };
    fail({ cmd: 1, params: [tmem(0x1000n, 4096, 1n)] });
    fail({ cmd: 1, params: [tmem(0x1000n, 4096, 1n, ATTR_TYPE.TMEM_INPUT)] });
    fail({ cmd: 1, params: [tmem(0x1000n, 2 ** 40, 1n)] });
    for (const what of ["page-list", "buffer"] as const) {
      fail({ cmd: 1, params: [tmem(1n, 1, 1n)] }, { failAllocation: (which) => which === what });
    }
    expect([...said]).toEqual(["ffff0006 from 2", "ffff000c from 2"]);
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc1);
    kit.ask(argument, { cmd: RPC_CMD.GET_TIME, ret: 0, params: [value(2)] });
    kit.vm.space.balloon(argument.page as Ipa);
    kit.resume(0, 0, 0xc1);
    expect(kit.port.message(argument.shadow).ret).toBe(0xffff_0000);
  },
);

interface Answer {
  readonly a0: number;
  readonly ret?: number;
  readonly origin?: number;
}

/** Sends the message at `at`; the code and what is in the message then. */
function answer(kit: GuestKit, at: number): Answer {
  const a0 = kit.call(at).get(0);
  const view = new DataView(kit.vm.conduit.memory.read(at as Ipa, 32).buffer);
  return { a0, ret: view.getUint32(20, true), origin: view.getUint32(24, true) };
}

for (const rules of RULES) {
  const kitOf = (options: KitOptions = {}): GuestKit => new GuestKit({ rules, ...options });

  test(`MED-10.TOO_MANY_CALLS: ETHREAD_LIMIT is 1 (${rules})`, () => {
    const kit = kitOf({ threads: 0 });
    expect(answer(kit, kit.put({ cmd: 1, ret: 7 }))).toEqual({ a0: 1, ret: 7, origin: 0 });
  });

  test(`MED-10.NO_MEMORY: without memory at admission ENOMEM is 6 (${rules})`, () => {
    for (const what of ["call", "argument"] as const) {
      const kit = kitOf({ failAllocation: (which) => which === what });
      expect(answer(kit, kit.put({ cmd: 1, ret: 7 }))).toEqual({ a0: 6, ret: 7, origin: 0 });
    }
  });

  test(`MED-10.BAD_ARG: a misaligned or unmapped argument is EBADADDR, 4 (${rules})`, () => {
    const kit = kitOf();
    expect(kit.call(kit.page() + 8).get(0)).toBe(4);
    expect(kit.call(RAM - 4096).get(0)).toBe(4);
  });

  test(`MED-10.NUM_PARAMS: more than 127 parameters are BAD_PARAMETERS from COMMS (${rules})`, () => {
    const kit = kitOf();
    const at = kit.put({ cmd: 1 });
    kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(128, 0, 0, 0));
    const a0 = rules === "xen" ? OPTEE_SMC.CALL_WITH_ARG : 0;
    expect(answer(kit, at)).toEqual({ a0, ret: BAD_PARAMETERS, origin: COMMS });
  });

  test(`MED-10.BAD_CMD: a command that guests do not have is EBADCMD, 5 (${rules})`, () => {
    const kit = kitOf();
    expect(answer(kit, kit.put({ cmd: 6, ret: 7 }))).toEqual({ a0: 5, ret: 7, origin: 0 });
  });

  test(`MED-10.QUOTA: a broken quota is OK, and OUT_OF_MEMORY from COMMS in the message (${rules})`, () => {
    const kit = kitOf();
    const { maxPagesPerBuffer } = RULE_SETS[rules];
    const large = (maxPagesPerBuffer + 1) * 4096;
    const at = kit.put({ cmd: 1, params: [tmem(kit.list(1).pointer, large, 1n)] });
    expect(answer(kit, at)).toEqual({ a0: 0, ret: OUT_OF_MEMORY, origin: COMMS });
  });

  test(`MED-10.BAD_BUFFER: page, cookie, contiguous: OK, and BAD_PARAMETERS from COMMS (${rules})`, () => {
    const kit = kitOf();
    kit.call(kit.register(7n).at);
    const { pointer } = kit.list(1);
    for (const param of [
      tmem(0x1000n, 4096, 1n),
      tmem(kit.listOf([0x1000]), 4096, 1n),
      tmem(pointer, 4096, 7n),
      tmem(pointer, 4096, 1n, ATTR_TYPE.TMEM_OUTPUT),
    ]) {
      const at = kit.put({ cmd: MSG_CMD.INVOKE_COMMAND, params: [param] });
      expect(answer(kit, at)).toEqual({ a0: 0, ret: BAD_PARAMETERS, origin: COMMS });
    }
  });

  test(`MED-10.BAD_RESUME: an unknown thread and a call in flight are ERESUME, 3 (${rules})`, () => {
    const kit = kitOf();
    expect(kit.resume(9).get(0)).toBe(3);
    let busy = 0;
    kit.port.steps.push(interrupt(1), (registers) => {
      busy = kit.resume(1).get(0);
      registers.set(0, SMC_RETURN.OK);
    });
    kit.call(kit.put({ cmd: 1 }));
    kit.resume(1);
    expect(busy).toBe(3);
  });

  test(`MED-10.NO_SHM: static memory, and no dynamic memory, are ENOTAVAIL, 7 (${rules})`, () => {
    const kit = kitOf();
    expect(kit.smc([OPTEE_SMC.GET_SHM_CONFIG]).get(0)).toBe(7);
    kit.port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
      registers.set(0, 0);
      registers.set(1, 0x3);
    });
    expect(kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES]).get(0)).toBe(7);
  });

  test(`MED-10.NOT_MEDIATED: what is not mediated is UNKNOWN_FUNCTION, all ones (${rules})`, () => {
    const kit = kitOf();
    for (const fid of [OPTEE_SMC.VM_CREATED, 0xb200_00ff, 0x3200_00ff, 0x8400_0000]) {
      expect(kit.smc([fid]).get64(0)).toBe(0xffff_ffff_ffff_ffffn);
    }
  });
}
