import { expect, test } from "@jest/globals";
import { OPTEE_SMC, SEC_CAP, SMC_RETURN } from "../optee-abi/index.ts";
import { RULE_SETS } from "./rules.ts";
import { GuestKit } from "./testkit/guest-kit.ts";

const RULES = Object.keys(RULE_SETS) as (keyof typeof RULE_SETS)[];
/** a1..a7 as in the record of the real Xen mediator: 0x11 to 0x77. */
const INPUT = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

const run = (kit: GuestKit, fid: number): bigint[] => kit.smc([fid, ...INPUT]).toArray();
/** What the guest must see: these registers, then its own input. */
const seen = (...words: (number | bigint)[]): bigint[] => [
  ...words.map(BigInt),
  ...INPUT.slice(words.length - 1).map(BigInt),
];
/** What the secure world must get: nothing of the guest's but what is named, the client id last. */
const forwarded = (fid: number, a1 = 0, client = 1): number[] => [fid, a1, 0, 0, 0, 0, 0, client];

for (const rules of RULES) {
  const client = RULE_SETS[rules].firstClientId;

  test(`MED-020, MED-0.MEDIATOR_SMC_COUNT: CALLS_COUNT answers 11 without asking the secure world (${rules})`, () => {
    const kit = new GuestKit({ rules });
    expect(run(kit, OPTEE_SMC.CALLS_COUNT)).toEqual(seen(11));
    expect(kit.port.seen).toEqual([]);
  });

  test(`MED-021: CALLS_UID hands out four registers and no more (${rules})`, () => {
    const kit = new GuestKit({ rules });
    expect(run(kit, OPTEE_SMC.CALLS_UID)).toEqual(
      seen(0x384fb3e0, 0xe7f811e3, 0xaf630002, 0xa5d5c51b),
    );
    expect(kit.port.seen).toEqual([forwarded(OPTEE_SMC.CALLS_UID, 0, client)]);
  });

  test(`MED-022: CALLS_REVISION hands out two registers (${rules})`, () => {
    expect(run(new GuestKit({ rules }), OPTEE_SMC.CALLS_REVISION)).toEqual(seen(2, 0));
  });

  test(`MED-023: GET_OS_UUID hands out four registers (${rules})`, () => {
    expect(run(new GuestKit({ rules }), OPTEE_SMC.GET_OS_UUID)).toEqual(
      seen(0x486178e0, 0xe7f811e3, 0xbc5e0002, 0xa5d5c51b),
    );
  });

  test(`MED-024: GET_OS_REVISION keeps the build id from the guest (${rules})`, () => {
    expect(run(new GuestKit({ rules }), OPTEE_SMC.GET_OS_REVISION)).toEqual(seen(4, 5));
  });

  test(`MED-025: ENABLE_SHM_CACHE hands out its code alone (${rules})`, () => {
    const kit = new GuestKit({ rules });
    expect(run(kit, OPTEE_SMC.ENABLE_SHM_CACHE)).toEqual(seen(SMC_RETURN.OK));
    expect(kit.port.seen).toEqual([forwarded(OPTEE_SMC.ENABLE_SHM_CACHE, 0, client)]);
  });

  test(`MED-026: DISABLE_SHM_CACHE with an empty cache hands out its code alone (${rules})`, () => {
    expect(run(new GuestKit({ rules }), OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual(
      seen(SMC_RETURN.ENOTAVAIL),
    );
  });

  test(`MED-026: DISABLE_SHM_CACHE unpins the page and names the guest's own cookie (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc00c1e);
    expect(kit.pins(argument.page)).toBe(1);
    kit.port.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, (registers) => {
      registers.set(0, SMC_RETURN.OK);
      registers.set(1, argument.wireHigh);
      registers.set(2, argument.wireLow);
    });
    expect(run(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual(seen(SMC_RETURN.OK, 0, 0xc00c1e));
    expect(kit.pins(argument.page)).toBe(0);
    expect(kit.vm.usage?.rpcArguments).toBe(0);
  });

  test(`MED-026: a cookie that the mediator does not know is handed on, and nothing dropped (${rules})`, () => {
    const kit = new GuestKit({ rules });
    const argument = kit.withRpcArgument(0xc00c1e);
    kit.port.fast.set(OPTEE_SMC.DISABLE_SHM_CACHE, (registers) => {
      for (const [index, word] of [SMC_RETURN.OK, 0x12, 0x34].entries()) registers.set(index, word);
    });
    expect(run(kit, OPTEE_SMC.DISABLE_SHM_CACHE)).toEqual(seen(SMC_RETURN.OK, 0x12, 0x34));
    expect(kit.pins(argument.page)).toBe(1);
  });

  test(`MED-027: GET_SHM_CONFIG is refused and never forwarded (${rules})`, () => {
    const kit = new GuestKit({ rules });
    expect(run(kit, OPTEE_SMC.GET_SHM_CONFIG)).toEqual(seen(SMC_RETURN.ENOTAVAIL));
    expect(kit.port.seen).toEqual([]);
  });

  test.each([
    "GET_THREAD_COUNT",
    "ENABLE_ASYNC_NOTIF",
    "GET_ASYNC_NOTIF_VALUE",
    "CALL_WITH_RPC_ARG",
    "CALL_WITH_REGD_ARG",
    "GET_PROTMEM_CONFIG",
    "L2CC_MUTEX",
    "BOOT_SECONDARY",
    "VM_CREATED",
    "VM_DESTROYED",
    "LOAD_IMAGE",
  ] as const)(`MED-029: %s does not exist for a guest (${rules})`, (name) => {
    const kit = new GuestKit({ rules });
    expect(run(kit, OPTEE_SMC[name])).toEqual(seen(ALL_ONES));
    expect(kit.port.seen).toEqual([]);
  });

  test(`MED-029: a function number that nobody knows does not exist either (${rules})`, () => {
    expect(run(new GuestKit({ rules }), 0xb200_1234)).toEqual(seen(ALL_ONES));
  });
}

test("MED-009: the guest's a7 is discarded; every forwarded call carries its own client id", () => {
  const kit = new GuestKit();
  const other = kit.addVm();
  kit.port.seen.length = 0;
  kit.smc([OPTEE_SMC.CALLS_UID, 1, 2, 3, 4, 5, 6, 0]);
  kit.smc([OPTEE_SMC.CALLS_UID, 1, 2, 3, 4, 5, 6, 1], other);
  kit.smc([OPTEE_SMC.CALL_WITH_ARG, 0, kit.put({ cmd: 1 }), 3, 4, 5, 6, 99]);
  expect(kit.port.seen.map((words) => words[7])).toEqual([1, 2, 1]);
  expect(kit.port.last.slice(4, 7)).toEqual([0, 0, 0]);
});

test("MED-030: the secure world sees no capability of the guest's but UNIPROCESSOR", () => {
  const kit = new GuestKit();
  kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 0xffff_ffff]);
  kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES, 0xffff_fffe]);
  expect(kit.port.seen).toEqual([
    forwarded(OPTEE_SMC.EXCHANGE_CAPABILITIES, 1),
    forwarded(OPTEE_SMC.EXCHANGE_CAPABILITIES, 0),
  ]);
});

test("MED-031: a refusal of the secure world comes back as its code alone", () => {
  const kit = new GuestKit();
  kit.port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
    for (const [index, word] of [SMC_RETURN.ENOTAVAIL, 0xff, 1, 2].entries()) {
      registers.set(index, word);
    }
  });
  expect(run(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES)).toEqual(seen(SMC_RETURN.ENOTAVAIL));
});

test("MED-032: only shared-memory and null-reference capabilities are shown, static memory never", () => {
  const kit = new GuestKit();
  kit.port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
    registers.set(0, SMC_RETURN.OK);
    registers.set(1, 0xffff_ffff);
  });
  const caps = SEC_CAP.UNREGISTERED_SHM | SEC_CAP.DYNAMIC_SHM | SEC_CAP.MEMREF_NULL;
  expect(run(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES)).toEqual(seen(SMC_RETURN.OK, caps));
});

test("MED-033: without dynamic shared memory the guest gets ENOTAVAIL", () => {
  const kit = new GuestKit();
  kit.port.fast.set(OPTEE_SMC.EXCHANGE_CAPABILITIES, (registers) => {
    registers.set(0, SMC_RETURN.OK);
    registers.set(1, 0xffff_ffff & ~SEC_CAP.DYNAMIC_SHM);
  });
  expect(run(kit, OPTEE_SMC.EXCHANGE_CAPABILITIES)).toEqual(seen(SMC_RETURN.ENOTAVAIL));
});

test("MED-034: capabilities go to a1; RPC parameter count and largest notification stay hidden", () => {
  expect(run(new GuestKit(), OPTEE_SMC.EXCHANGE_CAPABILITIES)).toEqual(seen(SMC_RETURN.OK, 0x14));
});
