import { expect, test } from "@jest/globals";
import { AccessRecorder, type Ipa } from "../machine/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { everything } from "./testkit/everything.ts";
import { GuestKit, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { GUESTS, HEAP, rpc, succeed } from "./testkit/scripted-port.ts";

const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];
const interrupt = rpc(SMC_RETURN.RPC_FOREIGN_INTR);
const COOKIE = 0xc1;

/** Machine addresses of this machine are from 2^37 on, which no value of the guest's is. */
const isSecret = (word: bigint): boolean => word >= BigInt(HEAP.base) && word < 2n ** 40n;

test.each(RULES)(
  "MED-9.1: no machine address gets into a guest's registers or memory (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    const recorder = new AccessRecorder();
    kit.port.sparse.probe = recorder.probe;
    const seen = everything(kit);
    const written = recorder.accesses.filter(
      ({ by, kind, at }) => by === "mediator" && kind === "write" && at >= GUESTS.base,
    );
    expect(written.length).toBeGreaterThan(5);
    expect(seen.filter(isSecret)).toEqual([]);
    for (const { at, length } of written) {
      const bytes = kit.port.sparse.peek(at, length);
      const view = new DataView(bytes.buffer);
      for (let offset = 0; offset + 8 <= length; offset += 8) {
        expect(isSecret(view.getBigUint64(offset, true))).toBe(false);
      }
    }
  },
);

test.each(RULES)(
  "MED-9.2: threads and cookies of one guest mean nothing in another (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    const other = kit.addVm();
    const { at, pages } = kit.register(7n);
    kit.call(at);
    kit.suspend(interrupt);
    const stolen = kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0], other);
    expect(stolen.get(0)).toBe(SMC_RETURN.ERESUME);
    const free = [value(ATTR_TYPE.RMEM_INPUT, 0n, 0n, 7n)];
    kit.call(kit.put({ cmd: MSG_CMD.UNREGISTER_SHM, params: free }, kit.page(other), other), other);
    expect(kit.pins(pages[0] ?? 0)).toBe(1);
    const theirs = kit.register(7n, 1, other);
    kit.call(theirs.at, other);
    expect(kit.get(theirs.at, other).ret).toBe(0);
    expect(kit.pins(theirs.pages[0] ?? 0, other)).toBe(1);
    other.destroy();
    expect(kit.vm.usage).toMatchObject({ calls: 1, suspended: 1, buffers: 1 });
  },
);

test.each(RULES)(
  "MED-9.3, MED-11.5: static memory, notifications, RPC arguments by register and the like are hidden (%s)",
  (rules) => {
    const kit = new GuestKit({ rules });
    kit.port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
      for (const [index, word] of [0, 0xffff_ffff, 9, 9].entries()) registers.set(index, word);
    });
    const shown = kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 0xffff_ffff, 2, 3]).toArray();
    expect(shown.slice(0, 4)).toEqual([0n, 0x16n, 2n, 3n]);
    const hidden = [
      "GET_THREAD_COUNT",
      "ENABLE_ASYNC_NOTIF",
      "GET_ASYNC_NOTIF_VALUE",
      "CALL_WITH_RPC_ARG",
      "CALL_WITH_REGD_ARG",
      "GET_PROTMEM_CONFIG",
      "VM_CREATED",
      "VM_DESTROYED",
    ] as const;
    for (const name of hidden) {
      expect(kit.smc([OPTEE_SMC[name], 1]).get(0)).toBe(SMC_RETURN.UNKNOWN_FUNCTION);
    }
    expect(kit.port.seen.map(([fid]) => fid)).toEqual([OPTEE_SMC.EXCHANGE_CAPABILITIES]);
  },
);

test.each(RULES)("MED-9.4: no a7 of a guest's selects a client id (%s)", (rules) => {
  const kit = new GuestKit({ rules });
  const own = kit.vm.clientId;
  for (const a7 of [0, own + 1, 0xffff, 0xffff_ffff]) {
    kit.smc([OPTEE_SMC.CALLS_UID, 0, 0, 0, 0, 0, 0, a7]);
    kit.port.steps.push(interrupt);
    kit.smc([OPTEE_SMC.CALL_WITH_ARG, 0, kit.put({ cmd: 1 }), 0, 0, 0, 0, a7]);
    kit.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, a7]);
  }
  expect(kit.port.seen.map((words) => words[7])).toEqual(Array.from({ length: 12 }, () => own));
});

/** How a page comes to be pinned, and what unpins it. */
const LIVES: readonly [string, (kit: GuestKit) => { page: number; end: () => void }][] = [
  [
    "a temporary buffer until its call ends",
    (kit) => {
      const { pointer, pages } = kit.list(1);
      kit.suspend(interrupt, { cmd: 1, params: [tmem(pointer, 4096, 1n)] });
      return { page: pages[0] ?? 0, end: () => kit.resume() };
    },
  ],
  [
    "a registered buffer until UNREGISTER_SHM",
    (kit) => {
      const { at, pages } = kit.register(1n);
      kit.call(at);
      const params = [value(ATTR_TYPE.RMEM_INPUT, 0n, 0n, 1n)];
      const end = () => kit.call(kit.put({ cmd: MSG_CMD.UNREGISTER_SHM, params }));
      return { page: pages[0] ?? 0, end };
    },
  ],
  [
    "an allocation until SHM_FREE",
    (kit) => {
      const argument = kit.withRpcArgument(COOKIE);
      kit.ask(argument, { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n, 8n)] });
      const { pointer, pages } = kit.list(1);
      kit.put({ cmd: 6, ret: 0, params: [tmem(pointer, 4096, 2n)] }, argument.page);
      kit.port.steps.push(interrupt);
      kit.resume(0, 0, COOKIE);
      const end = () => kit.ask(argument, { cmd: RPC_CMD.SHM_FREE, params: [value(1, 0n, 2n)] });
      return { page: pages[0] ?? 0, end };
    },
  ],
  [
    "an RPC argument until FREE",
    (kit) => {
      const argument = kit.withRpcArgument(COOKIE);
      const end = (): void => {
        kit.port.steps.push(rpc(SMC_RETURN.RPC_FREE, argument.wireHigh, argument.wireLow));
        kit.resume();
      };
      return { page: argument.page, end };
    },
  ],
  [
    "an RPC argument in the cache until that is disabled",
    (kit) => {
      const argument = kit.withRpcArgument(COOKIE);
      const end = (): void => {
        kit.port.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, (registers) => {
          registers.set(0, SMC_RETURN.OK);
          registers.set(1, argument.wireHigh);
          registers.set(2, argument.wireLow);
        });
        kit.smc([OPTEE_SMC.DISABLE_SHM_CACHE]);
      };
      return { page: argument.page, end };
    },
  ],
];

for (const [what, begin] of LIVES) {
  test.each(RULES)(
    `MED-9.5: the page of ${what} is pinned, and unmapping cannot free it (%s)`,
    (rules) => {
      for (const last of ["end", "death"] as const) {
        const kit = new GuestKit({ rules });
        const { page, end } = begin(kit);
        const frame = kit.machine(page) / 4096;
        expect(kit.mediator.frames.pins(frame)).toBe(1);
        kit.vm.space.balloon(page as Ipa);
        expect(kit.mediator.frames.isFree(frame)).toBe(false);
        if (last === "end") end();
        else kit.vm.destroy();
        expect(kit.mediator.frames.isFree(frame)).toBe(true);
      }
    },
  );
}

test("MED-11.2: no address 0 comes from a guest or goes to one: neither RAM, argument nor RPC page", () => {
  const kit = new GuestKit();
  expect(kit.mediator.createVm({ ram: { base: 0, size: 0x10_0000 } })).toMatchObject({ ok: false });
  expect(kit.call(0).get(0)).toBe(SMC_RETURN.EBADADDR);
  kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
  kit.port.steps.push(succeed);
  kit.resume(0, 0, 0, 0, COOKIE);
  expect(kit.port.last.slice(0, 6)).toEqual([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0, 0, 0]);
  expect(kit.machine(RAM)).not.toBe(0);
});
