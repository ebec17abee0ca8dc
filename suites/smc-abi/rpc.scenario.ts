import {
  ATTR_TYPE,
  type Message,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  SMC_RETURN,
  TEEC,
  messageSize,
  resultName,
} from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { type Asked, type Draft, openSession, RawDriver, tmem } from "../support/raw-driver.ts";
import { RawService, refuse, type Serve } from "../support/raw-service.ts";
import { OS_TEST } from "../support/tas.ts";

const PAGE = 4096;

const scenario = (
  clauses: readonly string[],
  run: (driver: RawDriver) => Data,
  more: Partial<Scenario> = {},
): Scenario => ({
  conduits: ["direct", "hwdom", "vm"],
  clauses,
  // To a single guest rule set kvm is as strict.
  rules: ["strict", "xen"],
  ...more,
  run: ({ conduit }) => run(new RawDriver(conduit)),
});

const OPEN = openSession(OS_TEST.uuid);
const nameOf = (result: number): string =>
  (resultName(result) ?? `0x${result.toString(16)}`).replace(/^TEEC?_(ERROR_)?/, "");

/** How opening a session ends, which asks for all that a TA's loading needs, and by which RPCs. */
function opening(driver: RawDriver, services: Readonly<Record<string, Serve>>): string {
  const before = driver.asked.length;
  const [ret, origin] = new RawService(driver, { services }).outcome(OPEN);
  return `${driver.asked.slice(before).join(" ")}: ${nameOf(ret)} ${origin}`;
}

/** Results that tee-supplicant and its files can have, and two that nobody has. */
const RESULTS: readonly number[] = [
  TEEC.TEEC_ERROR_GENERIC,
  TEEC.TEEC_ERROR_ACCESS_DENIED,
  TEEC.TEEC_ERROR_ACCESS_CONFLICT,
  TEEC.TEEC_ERROR_BAD_PARAMETERS,
  TEEC.TEEC_ERROR_ITEM_NOT_FOUND,
  TEEC.TEEC_ERROR_NOT_SUPPORTED,
  TEEC.TEEC_ERROR_OUT_OF_MEMORY,
  TEEC.TEEC_ERROR_SECURITY,
  TEEC.TEEC_ERROR_SHORT_BUFFER,
  TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE,
  TEEC.TEEC_ERROR_STORAGE_NO_SPACE,
  0x1234,
  0xffff_ffff,
];
const each = (run: (result: number) => string): Data =>
  Object.fromEntries(RESULTS.map((result) => [nameOf(result), run(result)]));

/** SHM_ALLOC refused with each result. */
export const allocationErrors = scenario(["MSG-3.SHM_ALLOC", "MSG-3.3", "MED-140"], (driver) =>
  each((result) => opening(driver, { SHM_ALLOC: refuse(result) })),
);

/** The first file that is opened refused with each result. */
export const fileErrors = scenario(["MSG-3.FS", "MSG-3.1.OPEN", "MSG-3.6"], (driver) =>
  each((result) => opening(driver, { FS: refuse(result) })),
);

/** LOAD_TA refused with each result. */
export const loadErrors = scenario(["MSG-3.LOAD_TA", "MSG-3.5"], (driver) =>
  each((result) => opening(driver, { LOAD_TA: refuse(result) })),
);

/** A TA of zeros of this size; `second` is the result with the buffer. */
const taOf =
  (size: number, second = 0): Serve =>
  (request) => {
    const filling = request.params[1]?.attr === BigInt(ATTR_TYPE.RMEM_OUTPUT);
    const params = request.params.map((param, index) =>
      index === 1 ? { ...param, b: BigInt(size) } : param,
    );
    return { ...request, ret: filling ? second : 0, params };
  };

/** What LOAD_TA says the size is, what is then asked for, and what becomes of a TA of zeros. */
export const loadSizes = scenario(["MSG-3.LOAD_TA", "MSG-3.7", "MSG-3.3"], (driver) =>
  Object.fromEntries(
    [0, 1, 8, 100, PAGE, PAGE + 1, 3 * PAGE].map((size) => {
      const service = new RawService(driver, { services: { LOAD_TA: taOf(size) } });
      const [ret] = service.outcome(OPEN);
      const sizes = service.requests
        .filter(({ cmd }) => cmd === RPC_CMD.SHM_ALLOC)
        .map(({ params }) => Number(params[0]?.b));
      return [size, `${sizes.join(" ")}: ${nameOf(ret)}`];
    }),
  ),
);

/** The second LOAD_TA refused, and with a size that is not the first one's. */
export const secondLoad = scenario(["MSG-3.LOAD_TA", "MSG-3.7", "MSG-3.2"], (driver) => {
  const fails = opening(driver, {
    LOAD_TA: taOf(100, TEEC.TEEC_ERROR_SHORT_BUFFER),
  });
  let asked = 0;
  const grows: Serve = (request) => {
    asked += 1;
    return taOf(asked === 1 ? 100 : 5000)(request);
  };
  return { fails, grows: opening(driver, { LOAD_TA: grows }) };
});

/** What every request looks like before it is answered. */
export const requestShapes = scenario(
  ["MSG-3.1", "MSG-3.4", "MSG-3.SHM_TYPES", "MSG-1.1.RET", "MED-107", "MED-102"],
  (driver) => {
    const service = new RawService(driver, { services: { LOAD_TA: taOf(100) } });
    service.call(OPEN);
    return service.requests.map(({ cmd, ret, ret_origin: origin, func, session, params }) => {
      const attrs = params.map(({ attr }) => attr.toString(16)).join(" ");
      const [first] = params;
      const allocation = cmd === RPC_CMD.SHM_ALLOC ? ` of type ${first?.a}, align ${first?.c}` : "";
      const untouched = origin + func + session === 0;
      return `${cmd}: ${attrs}${allocation}, ${nameOf(ret)}${untouched ? "" : " and more"}`;
    });
  },
);

const reshape =
  (change: (request: Message) => Draft): Serve =>
  (request) => ({ ...change(request), ret: TEEC.TEEC_ERROR_ITEM_NOT_FOUND });

/** A reply with other attributes, more parameters and another command is read as it was asked. */
export const reshapedReplies = scenario(
  ["MSG-3.2", "MSG-3.1.OPEN"],
  (driver) => {
    return {
      attributes: opening(driver, {
        FS: reshape((request) => ({
          ...request,
          params: request.params.map((param) => ({ ...param, attr: 0n })),
        })),
      }),
      more: opening(driver, {
        FS: reshape((request) => ({ ...request, params: [...request.params, {}, {}, {}] })),
      }),
      none: opening(driver, { FS: reshape((request) => ({ ...request, params: [] })) }),
      command: opening(driver, {
        FS: reshape((request) => ({ ...request, cmd: RPC_CMD.GET_TIME })),
      }),
    };
  },
  { rules: "strict" },
);

/** Replies to SHM_ALLOC that are no memory, or too little; what is asked for next, and given back. */
export const allocationReplies = scenario(
  ["MSG-3.3", "MSG-3.SHM_ALLOC", "MSG-3.SHM_FREE", "MED-141", "MED-143", "MED-145"],
  (driver) => {
    const list = (count: number): bigint => driver.list(driver.pages(count));
    const replies: Record<string, (request: Message) => NonNullable<Draft["params"]>> = {
      "memory of the size": () => [tmem(list(1), PAGE, 0x61n)],
      "more than asked for": () => [tmem(list(2), 2 * PAGE, 0x62n)],
      "less than asked for": () => [tmem(list(1), PAGE - 1, 0x63n)],
      "a list of nothing": () => [tmem(driver.list([0]), PAGE, 0x64n)],
      "no list": () => [tmem(0n, PAGE, 0x65n)],
      "input and output": () => [tmem(list(1), PAGE, 0x66n, 0x20b)],
      "registered memory": () => [{ attr: BigInt(ATTR_TYPE.RMEM_OUTPUT), b: 4096n, c: 0x67n }],
      "a value": (request) => request.params,
      "two parameters": () => [tmem(list(1), PAGE, 0x68n), {}],
      "no parameters": () => [],
    };
    const seen: Record<string, Data> = {};
    for (const [name, params] of Object.entries(replies)) {
      const service = new RawService(driver, {
        services: {
          SHM_ALLOC: (request) => ({ ...request, ret: 0, params: params(request) }),
        },
      });
      const before = driver.asked.length;
      const [ret] = service.outcome(OPEN);
      const freed = service.requests
        .filter(({ cmd }) => cmd === RPC_CMD.SHM_FREE)
        .map(({ params: [which] }) => `${which?.b.toString(16)}`);
      const asked = driver.asked.slice(before).join(" ");
      seen[name] = `${asked}${freed.length > 0 ? ` (${freed.join(" ")})` : ""}: ${nameOf(ret)}`;
    }
    return seen;
  },
  { rules: "strict" },
);

/** Calls left in an RPC are resumed wrongly in every way, then rightly. */
export const wrongResumes = scenario(
  ["SMC-4.2.RESUME_CHECK", "SMC-2.ERESUME", "SMC-4.2.FREE", "SMC-5.5", "MED-110"],
  (driver) => {
    const code = (thread: number): number =>
      driver.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, thread]).get(0);
    const wrong = (thread: number): number[] =>
      [thread + 1, thread + 2, 0xffff, 0x7fff_ffff, 0xffff_ffff].map(code);
    const before = code(0);
    const { at, rpc } = driver.send(OPEN);
    const thread = rpc?.thread ?? -1;
    const during = wrong(thread);
    const ended = new RawService(driver).finish({ a0: rpc?.a0 ?? 0, rpc }).a0;
    return { before, during, ended, ret: nameOf(driver.get(at).ret), after: code(thread) };
  },
);

/** A reply in the registers that nobody reads, and with garbage where it is not looked for. */
export const resumeRegisters = scenario(
  ["SMC-4.2.DELIVERY", "SMC-5.FREE", "SMC-5.CMD", "SMC-5", "SMC-5.7", "MED-113", "MED-134"],
  (driver) => {
    const service = new RawService(driver, { stopAt: ["SHM_ALLOC", "FREE"] });
    const { rpc: first } = service.finish(driver.send(OPEN));
    if (first === undefined) return "not asked";
    driver.put({ ...driver.request(first), ret: 0xffff_000c }, driver.argument(first));
    const garbage = (rpc: Asked, a1: number, a2: number): ReturnType<RawDriver["resume"]> =>
      driver.resume(rpc, a1, a2, 0x4444, 0x5555);
    // A CMD is answered in its argument: a4 and a5 may be left from an ALLOC.
    const { rpc: second } = garbage(first, first.a1, first.a2);
    if (second === undefined) return "not freed";
    // Nothing is expected of the registers after FREE.
    const { a0 } = garbage(second, 0x1111, 0x2222);
    return { second: second.a0 === SMC_RETURN.RPC_FREE, a0 };
  },
);

/** Registers of each RPC: what is in a1 and a2, and that a4 to a6 come back. */
export const rpcRegisters = scenario(
  ["SMC-5.ALLOC", "SMC-5.CMD", "SMC-5.FREE", "SMC-4.1.11", "SMC-2.RPC_PREFIX", "MED-100"],
  (driver) => {
    const at = driver.put(OPEN);
    const seen: string[] = [];
    let words = [OPTEE_SMC.CALL_WITH_ARG, Math.floor(at / 2 ** 32), at >>> 0, 1, 0x44, 0x55, 0x66];
    for (let turn = 0; turn < 12; turn += 1) {
      const registers = driver.smc(words);
      const [a0 = 0, a1 = 0, a2 = 0, a3 = 0, ...rest] = registers.toArray().map(Number);
      const kept = [4, 5, 6].every((index) => rest[index - 4] === words[index]);
      if (a0 !== SMC_RETURN.RPC_FOREIGN_INTR) {
        seen.push(`${a0.toString(16)} ${a1.toString(16)} ${a2.toString(16)}${kept ? "" : " lost"}`);
      }
      if (a0 === SMC_RETURN.OK) break;
      const page = driver.page();
      words =
        a0 === SMC_RETURN.RPC_ALLOC
          ? [OPTEE_SMC.RETURN_FROM_RPC, Math.floor(page / 2 ** 32), page >>> 0, a3, 0x12, 0x34, 6]
          : [OPTEE_SMC.RETURN_FROM_RPC, a1, a2, a3, 0x12, 0x34, 6];
    }
    return seen;
  },
);

/** A message of no known command with this many parameters. */
const unknown = (count: number): Draft => ({
  cmd: 99,
  params: Array.from({ length: count }, () => ({})),
});

/** A message that brings its RPC argument along: where that is, and how much room it needs. */
export const argumentWithCall = scenario(
  ["SMC-1.CALL_WITH_RPC_ARG", "SMC-4.1.8", "SMC-5.CMD", "SMC-3.1.RPC_ARG"],
  (driver) => {
    const call = (message: Draft): number => {
      const at = driver.put(message);
      const words = [OPTEE_SMC.CALL_WITH_RPC_ARG, Math.floor(at / 2 ** 32), at >>> 0];
      return driver.smc(words).get(0);
    };
    const room = [0, 121, 122, 123, 127].map((count) => call(unknown(count)));
    const at = driver.put(OPEN);
    const words = [OPTEE_SMC.CALL_WITH_RPC_ARG, Math.floor(at / 2 ** 32), at >>> 0];
    const registers = driver.smc(words);
    const argument = driver.conduit.memory.read(at, PAGE).slice(messageSize(2), messageSize(3));
    const [cmd = 0] = argument;
    const asked = [0, 1, 2].map((index) => registers.get(index));
    // Nobody answers: GENERIC was there before.
    const resume = [OPTEE_SMC.RETURN_FROM_RPC, 0, 0, registers.get(3)];
    let a0 = driver.smc(resume).get(0);
    for (let turn = 0; a0 !== SMC_RETURN.OK && turn < 9; turn += 1) a0 = driver.smc(resume).get(0);
    return { room, asked, shmAlloc: cmd === RPC_CMD.SHM_ALLOC, ret: nameOf(driver.get(at).ret) };
  },
  { conduits: ["direct", "hwdom"] },
);

/** A call that brings its argument has the one given back that the cache kept. */
export const cachedArgument = scenario(
  ["SMC-5.4", "SMC-6", "SMC-1.CALL_WITH_RPC_ARG"],
  (driver) => {
    driver.smc([OPTEE_SMC.ENABLE_SHM_CACHE]);
    new RawService(driver).call(OPEN);
    const at = driver.put(OPEN);
    const words = [OPTEE_SMC.CALL_WITH_RPC_ARG, Math.floor(at / 2 ** 32), at >>> 0];
    const seen: number[] = [];
    for (let turn = 0; turn < 9; turn += 1) {
      const registers = driver.smc(words);
      const a0 = registers.get(0);
      if (a0 !== SMC_RETURN.RPC_FOREIGN_INTR) seen.push(a0);
      if (a0 === SMC_RETURN.OK) break;
      words.splice(0, 4, OPTEE_SMC.RETURN_FROM_RPC, 0, 0, registers.get(3));
    }
    const drained = driver.smc([OPTEE_SMC.DISABLE_SHM_CACHE]).get(0);
    return { seen, ret: nameOf(driver.get(at).ret), drained };
  },
  { conduits: ["direct", "hwdom"] },
);

/** Interrupted wherever that can be, and resumed with garbage: the call ends as it would. */
export const interrupted = scenario(
  ["SMC-5.FOREIGN_INTR", "SMC-5.6", "SMC-4.3", "SMC-4.2.DELIVERY", "SMC-11.4", "MED-150"],
  (driver) => {
    const service = new RawService(driver, { services: { LOAD_TA: taOf(100) } });
    const [ret, origin] = service.outcome(OPEN);
    return `${driver.asked.join(" ")}: ${nameOf(ret)} ${origin}`;
  },
  { interrupts: 900 },
);

/** A command that is left unanswered, resumed as it is: GENERIC was in it before. */
export const unanswered = scenario(["MSG-3.1", "MSG-1.1.RET", "MED-132"], (driver) => {
  const { at, rpc } = driver.send({ ...OPEN, cmd: MSG_CMD.OPEN_SESSION });
  let back: { a0: number; rpc: Asked | undefined } = { a0: rpc?.a0 ?? 0, rpc };
  for (let turn = 0; back.rpc !== undefined && turn < 20; turn += 1) {
    const alloc = back.rpc.a0 === SMC_RETURN.RPC_ALLOC;
    back = alloc ? driver.giveArgument(back.rpc, 0x71) : driver.resume(back.rpc);
  }
  return { asked: driver.asked, a0: back.a0, ret: nameOf(driver.get(at).ret) };
});
