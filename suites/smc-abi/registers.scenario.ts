import { Registers } from "../../harness/machine/index.ts";
import { MSG_CMD, OPTEE_SMC, SMC_RETURN } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { openSession, RawDriver } from "../support/raw-driver.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

/** To a single guest rule set kvm is as strict. */
const RULES = ["strict", "xen"] as const;

const scenario = (
  clauses: readonly string[],
  run: (context: ScenarioContext) => Data,
  conduits: Scenario["conduits"] = ["direct", "hwdom", "vm"],
): Scenario => ({ conduits, clauses, rules: RULES, run });

/** Sixteen hexadecimal digits in x1 to x7, each register's own; x7 must not name another guest. */
const MARKS = [1n, 2n, 3n, 4n, 5n, 6n].map((index) => (0xabcd_ef00n + index) * 0x1_0000_0001n);

/** x0 and the numbers of those of x1 to x6 that come back as they were, all 64 bits. */
function call(context: ScenarioContext, fid: bigint, x1?: bigint): { x0: bigint; kept: number[] } {
  const registers = new Registers();
  const sent = [fid, x1 ?? MARKS[0] ?? 0n, ...MARKS.slice(1), 0n];
  for (const [index, value] of sent.entries()) registers.set64(index, value);
  context.conduit.smc(registers);
  const after = registers.toArray();
  return {
    x0: after[0] ?? 0n,
    kept: [1, 2, 3, 4, 5, 6].filter((index) => after[index] === sent[index]),
  };
}

/** What a0 says: its name where it is a return code, `data` where it is not. */
function codeOf(x0: bigint): string {
  if (x0 === 0xffff_ffff_ffff_ffffn) return "UNKNOWN_FUNCTION in 64 bits";
  const code = Object.entries(SMC_RETURN).find(([, value]) => BigInt(value) === x0);
  return code?.[0] ?? "data";
}

const FAST = [
  "CALLS_COUNT",
  "CALLS_UID",
  "CALLS_REVISION",
  "GET_OS_UUID",
  "GET_OS_REVISION",
  "L2CC_MUTEX",
  "EXCHANGE_CAPABILITIES",
  "DISABLE_SHM_CACHE",
  "ENABLE_SHM_CACHE",
  "BOOT_SECONDARY",
  "GET_ASYNC_NOTIF_VALUE",
  "GET_PROTMEM_CONFIG",
  "LOAD_IMAGE",
] as const;

/** Every fast call with something else in every register: its code, and what it left alone. */
export const keptRegisters = scenario(
  ["SMC-3.REGISTERS", "SMC-11.3", "SMC-0.WIDTH", "SMC-10.NOT_BUILT", "MED-008"],
  (context) =>
    FAST.map((name) => {
      // Marks in x1 are capabilities that there are not.
      const x1 = name === "EXCHANGE_CAPABILITIES" ? 0n : undefined;
      const { x0, kept } = call(context, BigInt(OPTEE_SMC[name]), x1);
      // In a0 of these there is data, which for a version may look like a code.
      const data = name.startsWith("CALLS_") || name.startsWith("GET_OS_");
      return `${name}: ${data ? "data" : codeOf(x0)}, kept ${kept.join(" ")}`;
    }),
);

/** The same ids with something in the upper half of x0, and with bits that must be 0. */
export const functionIds = scenario(["SMC-11.2", "SMC-1.FID", "SMC-0.WIDTH"], (context) => {
  const uid = 0x384f_b3e0n;
  const fids = {
    plain: 0xbf00_ff01n,
    "dirty upper half": 0xdead_beef_bf00_ff01n,
    "bit 16": 0xbf01_ff01n,
    "bit 17": 0xbf02_ff01n,
    "bit 23": 0xbf80_ff01n,
    "64-bit convention": 0xff00_ff01n,
    yielding: 0x3f00_ff01n,
    "other owner": 0xb200_ff01n,
    // The argument of these is not page aligned, if they are CALL_WITH_ARG.
    "call, bit 16": 0x3201_0004n,
    "call, bit 17": 0x3202_0004n,
  };
  return Object.fromEntries(
    Object.entries(fids).map(([name, fid]) => {
      const { x0 } = call(context, fid);
      return [name, x0 === uid ? "UID" : codeOf(x0)];
    }),
  );
});

/** What belongs to nobody: functions without a number, an owner's last, and other owners. */
export const nobodysFunctions = scenario(
  ["SMC-1.UNASSIGNED", "SMC-2.UNKNOWN_FUNCTION", "SMC-11.1", "MED-007", "MED-008"],
  (context) => {
    const fids = [0xb200_0005, 0xb200_0006, 0xb200_0015, 0xb200_ffff, 0xbf00_0000, 0xbf00_ff02];
    const others = [0xa800_0000, 0x2800_0000];
    return {
      tee: fids.map((fid) => codeOf(call(context, BigInt(fid)).x0)),
      others: others.map((fid) => codeOf(call(context, BigInt(fid)).x0)),
    };
  },
);

/** Capabilities at the borders of what may be announced: bit 0 alone, its neighbours, upper bits. */
export const capabilityBits = scenario(
  ["SMC-3.EXCHANGE_CAPABILITIES", "SMC-3.1.UNIPROCESSOR", "SMC-2.ENOTAVAIL", "MED-030"],
  (context) => {
    const announce = (bits: bigint): string =>
      codeOf(call(context, BigInt(OPTEE_SMC.EXCHANGE_CAPABILITIES), bits).x0);
    return [0n, 1n, 2n, 3n, 1n << 31n, 0xffff_ffffn, 1n << 32n, 1n << 63n].map(announce);
  },
);

/** Capabilities again and again, with a refusal between: nothing depends on what was before. */
export const capabilitiesAgain = scenario(["SMC-3.1.STATELESS", "MED-034"], (context) => {
  const exchange = (bits: number): bigint[] => {
    const registers = new Registers([OPTEE_SMC.EXCHANGE_CAPABILITIES, bits]);
    context.conduit.smc(registers);
    return registers.toArray().slice(0, 4);
  };
  const first = exchange(0);
  exchange(0xffff_fffe);
  const second = exchange(1);
  const third = exchange(0);
  const same = (other: readonly bigint[]): boolean =>
    other.every((word, index) => word === first[index]);
  return { ok: first[0] === 0n, second: same(second), third: same(third) };
});

/** Management of VMs, asked for by one that is no hypervisor of a virtualized OP-TEE. */
export const management = scenario(
  ["SMC-1.VM_CREATED", "SMC-1.VM_DESTROYED", "SMC-10.NOT_BUILT", "MED-029"],
  (context) => {
    const ask = (fid: number, id: bigint): string => codeOf(call(context, BigInt(fid), id).x0);
    return [
      ask(OPTEE_SMC.VM_CREATED, 1n),
      ask(OPTEE_SMC.VM_CREATED, 0n),
      ask(OPTEE_SMC.VM_DESTROYED, 1n),
      ask(OPTEE_SMC.VM_DESTROYED, 0xffffn),
    ];
  },
);

/** Notifications before and after they are switched on, and stopped by a message; none is pending. */
export const notifications = scenario(
  [
    "SMC-1.ENABLE_ASYNC_NOTIF",
    "SMC-1.GET_ASYNC_NOTIF_VALUE",
    "SMC-3.ENABLE_ASYNC_NOTIF",
    "SMC-3.GET_ASYNC_NOTIF_VALUE",
    "SMC-7.3",
    "MSG-2.STOP_ASYNC_NOTIF",
    "MSG-2.DO_BOTTOM_HALF",
  ],
  (context) => {
    const driver = new RawDriver(context.conduit);
    const value = (): number[] => {
      const answer = driver.smc([OPTEE_SMC.GET_ASYNC_NOTIF_VALUE, 1, 2, 3]);
      return [0, 1, 2, 3].map((index) => answer.get(index));
    };
    const message = (cmd: number): number[] => {
      const { a0, at } = driver.send({ cmd, ret: 7, ret_origin: 8 });
      const { ret, ret_origin: origin } = driver.get(at);
      return [a0, ret, origin];
    };
    return {
      before: value(),
      enabled: driver.smc([OPTEE_SMC.ENABLE_ASYNC_NOTIF]).get(0),
      after: value(),
      bottomHalf: message(MSG_CMD.DO_BOTTOM_HALF),
      stopped: message(MSG_CMD.STOP_ASYNC_NOTIF),
    };
  },
  ["direct", "hwdom"],
);

/** A yielding call with something in every register that it does not use. */
export const yieldingRegisters = scenario(
  ["SMC-4.1.A3", "SMC-4.1.A4_A5", "SMC-4.1.A6", "SMC-4.1.11", "SMC-0.PAIRS", "SMC-0.WIDTH"],
  (context) => {
    const driver = new RawDriver(context.conduit);
    const at = BigInt(driver.put({ cmd: 99 }));
    const send = (dirty: bigint, a3: bigint): Data => {
      const registers = new Registers();
      const words = [at >> 32n, at & 0xffff_ffffn, a3, 0x44n, 0x55n, 0x66n].map(
        (word) => word | dirty,
      );
      registers.set64(0, BigInt(OPTEE_SMC.CALL_WITH_ARG));
      for (const [index, word] of words.entries()) registers.set64(index + 1, word);
      driver.conduit.smc(registers);
      const after = registers.toArray();
      return {
        code: codeOf(after[0] ?? 0n),
        kept: [4, 5, 6].every((n) => after[n] === words[n - 1]),
      };
    };
    return [send(0n, 0n), send(0n, 1n), send(0n, 0xffff_ffffn), send(0x7777n << 32n, 1n)];
  },
);

/** What fast calls answer while a call is suspended; the cache cannot be switched then. */
export const duringCall = scenario(
  ["SMC-3.FAST", "SMC-2.EBUSY", "SMC-6.ENABLE", "SMC-6.DISABLE", "SMC-4.2.SUSPENDED"],
  (context) => {
    const driver = new RawDriver(context.conduit);
    const ask = (name: keyof typeof OPTEE_SMC): number => driver.smc([OPTEE_SMC[name]]).get(0);
    const all = (): number[] => [
      ask("CALLS_UID"),
      ask("ENABLE_SHM_CACHE"),
      ask("DISABLE_SHM_CACHE"),
    ];
    const { rpc } = driver.send(openSession(OS_TEST.uuid));
    const during = all();
    let next = rpc;
    while (next !== undefined) next = driver.resume(next, 0, 0).rpc;
    return { suspended: rpc !== undefined, during, after: all() };
  },
);

/** With the cache off a call's RPC argument goes with it; with the cache on the next call has it. */
export const argumentCache = scenario(
  ["SMC-6", "SMC-5.2", "SMC-5.3", "SMC-3.DISABLE_SHM_CACHE", "MED-026", "MED-101", "MED-105"],
  (context) => {
    const driver = new RawDriver(context.conduit);
    const open = (cookie: number): string => {
      const before = driver.asked.length;
      let { rpc } = driver.send(openSession(OS_TEST.uuid));
      while (rpc !== undefined) {
        if (rpc.a0 === SMC_RETURN.RPC_ALLOC) rpc = driver.giveArgument(rpc, cookie).rpc;
        else if (rpc.a0 === SMC_RETURN.RPC_FREE) rpc = driver.resume(rpc).rpc;
        else rpc = driver.answer(rpc, { ...driver.request(rpc), ret: 0xffff_000c }).rpc;
      }
      return driver.asked.slice(before).join(" ");
    };
    const drain = (): number[] => {
      const answer = driver.smc([OPTEE_SMC.DISABLE_SHM_CACHE, 0x11, 0x22]);
      return answer.get(0) === 0 ? [0, answer.get(1), answer.get(2)] : [answer.get(0)];
    };
    const off = open(0xa0);
    const enabled = driver.smc([OPTEE_SMC.ENABLE_SHM_CACHE]).get(0);
    const on = [open(0xa1), open(0xa2)];
    return { off, enabled, on, drained: [drain(), drain(), drain()], offAgain: open(0xa3) };
  },
);

/** What a call that OP-TEE knows and a mediator hides answers to a guest; counts, not contents. */
export const threadCount = scenario(
  ["SMC-1.GET_THREAD_COUNT", "SMC-3.GET_THREAD_COUNT", "MED-029"],
  (context) => {
    const { x0, kept } = call(context, BigInt(OPTEE_SMC.GET_THREAD_COUNT));
    return { code: codeOf(x0), kept: kept.join(" ") };
  },
);

/** A session's commands one after the other find registers and threads as the first did. */
export const oneAfterTheOther = scenario(["SMC-4.2.FREE", "SMC-5.5", "SMC-4.1.10"], (context) => {
  const driver = new RawDriver(context.conduit);
  const { session } = driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at);
  const value = { attr: 3n, a: 40n, b: 2n, c: 0n };
  const message = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.PARAMS };
  const sums = Array.from({ length: 20 }, () => {
    const { a0, at } = driver.send({ ...message, params: [value] });
    return a0 === 0 ? Number(driver.get(at).params[0]?.a) : -1;
  });
  return [...new Set(sums)];
});
