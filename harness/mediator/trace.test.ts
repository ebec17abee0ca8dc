import { expect, test } from "@jest/globals";
import type { Ipa } from "../machine/index.ts";
import { MSG_CMD, OPTEE_SMC, RPC_CMD, SMC_RETURN, TEEC } from "../optee-abi/index.ts";
import { GuestKit, type KitOptions, RAM, tmem, value } from "./testkit/guest-kit.ts";
import { type ScriptedPort, failWith, finish, rpc } from "./testkit/scripted-port.ts";

interface Decision {
  readonly title: string;
  readonly options?: KitOptions;
  readonly run: (kit: GuestKit) => void;
  /** "clause what" of what is reported, in order. */
  readonly reported: readonly string[];
}

const interrupt = rpc(SMC_RETURN.RPC_FOREIGN_INTR);
const answersAs =
  (fid: number, ...words: number[]) =>
  (port: ScriptedPort): void => {
    port.fast.set(fid, (registers) => {
      for (const [index, word] of words.entries()) registers.set(index, word);
    });
  };
const caps = (...words: number[]) => answersAs(OPTEE_SMC.EXCHANGE_CAPABILITIES, ...words);

/** The steps that end with the guest being asked for memory, and how they are reported. */
const ALLOC = { cmd: RPC_CMD.SHM_ALLOC, params: [value(1, 0n, 4096n, 8n)] };
const ASKED = [
  "MED-053 INVOKE_COMMAND",
  "MED-100 RPC 0xffff0000",
  "MED-111 thread 0",
  "MED-121 RPC argument page",
  "MED-100 RPC 0xffff0004",
  "MED-111 thread 0",
  "MED-102 SHM_ALLOC",
  "MED-100 RPC 0xffff0005",
];
function allocation(kit: GuestKit, reply: Parameters<GuestKit["put"]>[0], cookie = 0xc1): void {
  const argument = kit.withRpcArgument(0xc1);
  kit.ask(argument, ALLOC);
  kit.put(reply, argument.page);
  kit.port.steps.push(interrupt);
  kit.resume(0, 0, cookie);
}

const DECISIONS: readonly Decision[] = [
  {
    title: "calls that are answered here",
    run: (kit) => {
      kit.smc([OPTEE_SMC.CALLS_COUNT]);
      kit.smc([OPTEE_SMC.GET_SHM_CONFIG]);
      kit.smc([OPTEE_SMC.GET_THREAD_COUNT]);
    },
    reported: [
      "MED-020 CALLS_COUNT",
      "MED-027 GET_SHM_CONFIG: ENOTAVAIL",
      "MED-029 GET_THREAD_COUNT refused",
    ],
  },
  {
    title: "calls that are forwarded",
    run: (kit) => {
      kit.smc([OPTEE_SMC.CALLS_UID]);
      kit.smc([OPTEE_SMC.CALLS_REVISION]);
      kit.smc([OPTEE_SMC.GET_OS_UUID]);
      kit.smc([OPTEE_SMC.GET_OS_REVISION]);
      kit.smc([OPTEE_SMC.ENABLE_SHM_CACHE]);
      kit.smc([OPTEE_SMC.DISABLE_SHM_CACHE]);
    },
    reported: [
      "MED-021 CALLS_UID",
      "MED-022 CALLS_REVISION",
      "MED-023 GET_OS_UUID",
      "MED-024 GET_OS_REVISION",
      "MED-025 ENABLE_SHM_CACHE",
      "MED-026 DISABLE_SHM_CACHE: ENOTAVAIL",
    ],
  },
  {
    title: "the exchange of capabilities",
    run: (kit) => {
      kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES]);
      caps(SMC_RETURN.ENOTAVAIL)(kit.port);
      kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES]);
      caps(SMC_RETURN.OK, 0x10)(kit.port);
      kit.smc([OPTEE_SMC.EXCHANGE_CAPABILITIES]);
    },
    reported: [
      "MED-034 EXCHANGE_CAPABILITIES: 0x14",
      "MED-031 EXCHANGE_CAPABILITIES: ENOTAVAIL",
      "MED-033 EXCHANGE_CAPABILITIES: no dynamic shared memory",
    ],
  },
  {
    title: "a call that is refused for want of threads",
    options: { threads: 0 },
    run: (kit) => kit.call(kit.put({ cmd: 1 })),
    reported: ["MED-040 ETHREAD_LIMIT"],
  },
  {
    title: "a call without memory for its context",
    options: { failAllocation: (what) => what === "call" },
    run: (kit) => kit.call(kit.put({ cmd: 1 })),
    reported: ["MED-041 ENOMEM"],
  },
  {
    title: "arguments that are refused",
    run: (kit) => {
      kit.call(RAM + 8);
      kit.call(0);
      kit.call(kit.put({ cmd: 99 }));
      const at = kit.put({ cmd: 1 });
      kit.vm.conduit.memory.write((at + 28) as Ipa, Uint8Array.of(200));
      kit.call(at);
    },
    reported: [
      "MED-043 argument is not page aligned",
      "MED-045 argument is not in the guest's RAM",
      "MED-047 0x00000063",
      "MED-046 num_params 200",
    ],
  },
  {
    title: "a call without memory for its shadow",
    options: { failAllocation: (what) => what === "argument" },
    run: (kit) => kit.call(kit.put({ cmd: 1 })),
    reported: ["MED-044 no page for the shadow"],
  },
  {
    title: "messages with parameters that are refused",
    run: (kit) => {
      kit.call(kit.put({ cmd: 0, params: [tmem(0x1000n, 4096, 1n)] }));
      kit.call(kit.put({ cmd: 1, params: [tmem(0x1000n, 2 ** 40, 1n)] }));
    },
    reported: ["MED-051 EINVAL", "MED-051 ENOMEM"],
  },
  {
    title: "calls that complete, and one whose result is lost",
    run: (kit) => {
      kit.call(kit.put({ cmd: MSG_CMD.CLOSE_SESSION }));
      kit.port.steps.push(finish(SMC_RETURN.EBADCMD));
      kit.call(kit.put({ cmd: MSG_CMD.CANCEL }));
      const at = kit.put({ cmd: MSG_CMD.OPEN_SESSION });
      kit.port.steps.push((registers, port) => {
        kit.vm.space.balloon(at as Ipa);
        failWith(TEEC.TEEC_ERROR_GENERIC)(registers, port);
      });
      kit.call(at);
    },
    reported: [
      "MED-053 CLOSE_SESSION",
      "MED-080 CLOSE_SESSION: OK",
      "MED-053 CANCEL",
      "MED-080 CANCEL: EBADCMD",
      "MED-053 OPEN_SESSION",
      "MED-090 OPEN_SESSION: OK",
    ],
  },
  {
    title: "resumes of nobody's call",
    run: (kit) => kit.resume(3),
    reported: ["MED-110 thread 3"],
  },
  {
    title: "an allocation that is pinned",
    run: (kit) => {
      const { pointer } = kit.list(1);
      allocation(kit, { cmd: 6, ret: 0, params: [tmem(pointer, 4096, 5n)] });
    },
    reported: [...ASKED, "MED-111 thread 0", "MED-142 pinned", "MED-100 RPC 0xffff0004"],
  },
  {
    title: "an allocation that is refused, and the guest asked to free it",
    run: (kit) => allocation(kit, { cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 5n)] }),
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-142 refused",
      "MED-143 the guest is asked to free its buffer",
    ],
  },
  {
    title: "an allocation that has failed",
    run: (kit) => allocation(kit, { cmd: 6, ret: 0xffff_000c }),
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-141 SHM_ALLOC reply refused",
      "MED-100 RPC 0xffff0004",
    ],
  },
  {
    title: "an allocation under a cookie in use",
    run: (kit) => {
      kit.call(kit.register(5n).at);
      kit.trace.length = 0;
      allocation(kit, { cmd: 6, ret: 0, params: [tmem(kit.list(1).pointer, 4096, 5n)] });
    },
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-147 SHM_ALLOC reply refused",
      "MED-100 RPC 0xffff0004",
    ],
  },
  {
    title: "a reply with a cookie of nobody's",
    run: (kit) => allocation(kit, { cmd: 6, ret: 0 }, 0xbad),
    reported: [...ASKED, "MED-111 thread 0", "MED-131 reply refused", "MED-100 RPC 0xffff0004"],
  },
  {
    title: "a reply with a cookie of nobody's under xen",
    options: { rules: "xen" },
    run: (kit) => allocation(kit, { cmd: 6, ret: 0 }, 0xbad),
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-131 reply with an unknown cookie; the call is stuck",
    ],
  },
  {
    title: "a contiguous allocation under xen",
    options: { rules: "xen" },
    run: (kit) => allocation(kit, { cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 5n, 0xa)] }),
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-141 SHM_ALLOC reply passed on as it is",
      "MED-100 RPC 0xffff0004",
    ],
  },
  {
    title: "a failed allocation under xen",
    options: { rules: "xen" },
    run: (kit) => allocation(kit, { cmd: 6, ret: 1, params: [tmem(0x1000n, 4096, 5n, 0xa)] }),
    reported: [...ASKED, "MED-111 thread 0", "MED-100 RPC 0xffff0004"],
  },
  ...(["strict", "xen"] as const).map((rules): Decision => ({
    title: `a reply that cannot be read (${rules})`,
    options: { rules },
    run: (kit) => {
      const argument = kit.withRpcArgument(0xc1);
      kit.ask(argument, ALLOC);
      kit.vm.space.balloon(argument.page as Ipa);
      kit.port.steps.push(interrupt);
      kit.resume(0, 0, 0xc1);
    },
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      rules === "xen" ? "MED-132 reply is not readable" : "MED-132 reply refused",
      "MED-100 RPC 0xffff0004",
    ],
  })),
  {
    title: "an allocation that is refused when the guest cannot be asked",
    run: (kit) => {
      const argument = kit.withRpcArgument(0xc1);
      kit.ask(argument, ALLOC);
      kit.put({ cmd: 6, ret: 0, params: [tmem(0x1000n, 4096, 5n)] }, argument.page);
      kit.vm.space.protect(argument.page as Ipa, 2);
      kit.port.steps.push(interrupt);
      kit.resume(0, 0, 0xc1);
    },
    reported: [
      ...ASKED,
      "MED-111 thread 0",
      "MED-142 refused",
      "MED-144 the guest cannot be asked to free its buffer",
      "MED-100 RPC 0xffff0004",
    ],
  },
  {
    title: "an argument page that is refused, and an RPC that is lost",
    run: (kit) => {
      kit.suspend(rpc(SMC_RETURN.RPC_ALLOC, 160));
      kit.port.steps.push(rpc(SMC_RETURN.RPC_CMD, 1, 2));
      kit.resume(0, 0, RAM + 8, 0, 0xc1);
    },
    reported: [
      "MED-053 INVOKE_COMMAND",
      "MED-100 RPC 0xffff0000",
      "MED-111 thread 0",
      "MED-121 RPC argument page refused",
      "MED-106 RPC not delivered",
      "MED-080 INVOKE_COMMAND: OK",
    ],
  },
  {
    title: "a secure world that never stops asking for what cannot be delivered",
    run: (kit) => {
      for (let count = 0; count < 17; count += 1) {
        kit.port.steps.push(rpc(SMC_RETURN.RPC_CMD, 1, 2));
      }
      kit.call(kit.put({ cmd: 1 }));
    },
    reported: [
      "MED-053 INVOKE_COMMAND",
      ...Array.from({ length: 17 }, () => "MED-106 RPC not delivered"),
      "MED-106 too many undelivered RPCs, the guest gets a turn",
    ],
  },
  {
    title: "the end of a VM, and what xen leaves behind",
    options: { rules: "xen" },
    run: (kit) => {
      kit.call(kit.put({ cmd: 1, params: [tmem(kit.listOf([0x1000, 0]), 8192, 1n)] }));
      kit.vm.destroy();
    },
    reported: [
      "MED-051 EINVAL",
      "MED-164 VM_DESTROYED",
      "MED-165 left behind: 2 pages of the quota",
    ],
  },
];

test.each(DECISIONS)("every decision is reported under its clause: $title", (decision) => {
  const kit = new GuestKit(decision.options);
  kit.trace.length = 0;
  decision.run(kit);
  expect(kit.trace.map(({ clause, what }) => `${clause} ${what}`)).toEqual(decision.reported);
  expect(kit.trace.map(({ clientId }) => clientId)).toEqual(decision.reported.map(() => 1));
});

test.each(DECISIONS)("with nobody listening the same happens: $title", ({ options, run }) => {
  const [loud, quiet] = [new GuestKit(options), new GuestKit({ ...options, quiet: true })];
  run(loud);
  run(quiet);
  expect(quiet.port.seen).toEqual(loud.port.seen);
  expect(quiet.vm.usage).toEqual(loud.vm.usage);
});

const PROBES: readonly [string, KitOptions, (port: ScriptedPort) => void, readonly string[]][] = [
  ["no node", { compatible: ["arm,ffa"] }, () => {}, ["MED-001 no OP-TEE node"]],
  ["another UID", {}, answersAs(OPTEE_SMC.CALLS_UID, 1), ["MED-002 other UID"]],
  [
    "no thread count",
    {},
    answersAs(OPTEE_SMC.GET_THREAD_COUNT, 0xffff_ffff),
    ["MED-003 OP-TEE before 3.5.0"],
  ],
  [
    "no virtualization",
    {},
    answersAs(OPTEE_SMC.VM_DESTROYED, 0xffff_ffff),
    ["MED-004 built without virtualization"],
  ],
  ["an OP-TEE", {}, () => {}, ["MED-003 2 threads per guest"]],
];

test.each(PROBES)(
  "the probe is reported for the hypervisor itself: %s",
  (_, options, prepare, said) => {
    const events = GuestKit.probe(prepare, options);
    expect(events.map(({ clause, what }) => `${clause} ${what}`)).toEqual(said);
    expect(events.map(({ clientId }) => clientId)).toEqual([0]);
  },
);

test("a new VM is reported with its client id, refusal and all", () => {
  const kit = new GuestKit();
  answersAs(OPTEE_SMC.VM_CREATED, SMC_RETURN.ENOTAVAIL)(kit.port);
  kit.trace.length = 0;
  kit.mediator.createVm();
  expect(kit.trace).toEqual([{ clientId: 2, clause: "MED-015", what: "VM_CREATED: ENOTAVAIL" }]);
  kit.port.fast.clear();
  kit.addVm();
  expect(kit.trace.at(-1)).toEqual({ clientId: 2, clause: "MED-015", what: "VM_CREATED: OK" });
});
