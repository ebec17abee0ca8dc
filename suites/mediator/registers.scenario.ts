import { type Ipa, Registers } from "../../harness/machine/index.ts";
import { MSG_CMD, OPTEE_SMC, SMC_RETURN } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { openSession, RawDriver, registered, tmem } from "../support/raw-driver.ts";
import { DEVICES, INVOKE_TESTS } from "../support/tas.ts";

/** What a guest of Xen's has in x1 to x7 of every call. */
const MARKS = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77] as const;

const scenario = (clauses: readonly string[], run: (driver: RawDriver) => Data): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules: "xen",
  run: (context) => run(new RawDriver(context.conduit)),
});

/** x0 to x7 after a call, all 64 bits, as one line; `changed` replaces some of what was in x1 to x7. */
function call(driver: RawDriver, fid: number, changed: Readonly<Record<number, number>> = {}) {
  const registers = new Registers([fid, ...MARKS]);
  for (const [index, value] of Object.entries(changed)) registers.set(Number(index), value);
  driver.conduit.smc(registers);
  return registers
    .toArray()
    .map((word) => word.toString(16))
    .join(" ");
}

/** x1 and x2 of a call with the message in `page`. */
const messageIn = (page: number): Record<number, number> => ({ 1: 0, 2: page });

/** The same line on every platform: the guest's page by name. */
const own = (line: string, page: number): string => line.replace(page.toString(16), "page");

const FAST = [
  "CALLS_COUNT",
  "CALLS_UID",
  "CALLS_REVISION",
  "GET_OS_UUID",
  "GET_OS_REVISION",
  "ENABLE_SHM_CACHE",
  "DISABLE_SHM_CACHE",
  "GET_SHM_CONFIG",
  "EXCHANGE_CAPABILITIES",
  "VM_CREATED",
  "VM_DESTROYED",
  "GET_THREAD_COUNT",
  "CALL_WITH_RPC_ARG",
] as const;

/** Every fast call, and what is refused of yielding ones before OP-TEE hears of it: x0 to x7 of each. */
export const refusedRegisters = scenario(
  [
    "MED-020",
    "MED-021",
    "MED-022",
    "MED-023",
    "MED-024",
    "MED-025",
    "MED-026",
    "MED-027",
    "MED-029",
    "MED-030",
    "MED-034",
    "MED-043",
    "MED-046",
    "MED-047",
    "MED-110",
  ],
  (driver) => {
    const tooMany = driver.put({ cmd: MSG_CMD.INVOKE_COMMAND });
    driver.conduit.memory.write((tooMany + 28) as Ipa, Uint8Array.of(200, 0, 0, 0));
    const unknown = driver.put({ cmd: 99 });
    return {
      ...Object.fromEntries(FAST.map((name) => [name, call(driver, OPTEE_SMC[name])])),
      "CALL_WITH_ARG, misaligned": call(driver, OPTEE_SMC.CALL_WITH_ARG),
      "RETURN_FROM_RPC, no thread": call(driver, OPTEE_SMC.RETURN_FROM_RPC),
      "CALL_WITH_ARG, 200 parameters": own(
        call(driver, OPTEE_SMC.CALL_WITH_ARG, messageIn(tooMany)),
        tooMany,
      ),
      "CALL_WITH_ARG, command 99": own(
        call(driver, OPTEE_SMC.CALL_WITH_ARG, messageIn(unknown)),
        unknown,
      ),
    };
  },
);

/** Messages with parameters that cannot be translated: x0 to x7, and ret and ret_origin. */
export const refusedParameters = scenario(["MED-050", "MED-051", "MED-067"], (driver) => {
  const send = (param: ReturnType<typeof tmem>): Data => {
    const at = driver.put({ cmd: MSG_CMD.INVOKE_COMMAND, ret: 1, params: [param] });
    const line = call(driver, OPTEE_SMC.CALL_WITH_ARG, { 1: 0, 2: at });
    const { ret, ret_origin: origin } = driver.get(at);
    return { registers: line.replace(at.toString(16), "page"), ret, origin };
  };
  return {
    contiguous: send(tmem(BigInt(driver.page()), 4096, 1n, 0xa)),
    empty: send(tmem(driver.list(driver.pages(1)), 0, 2n)),
  };
});

/** A call that completes, with marks in all registers: x0, x4 to x7, and the session that it opened. */
export const completedRegisters = scenario(["MED-053", "MED-080", "MED-113"], (driver) => {
  const at = driver.put(openSession(DEVICES.uuid));
  const registers = new Registers([OPTEE_SMC.CALL_WITH_ARG, ...MARKS]);
  registers.setPair(1, at);
  driver.conduit.smc(registers);
  while (registers.get(0) === SMC_RETURN.RPC_FOREIGN_INTR) {
    // x1 and x2 of a resume are nothing to Xen, which goes on with what it saved.
    registers.set(0, OPTEE_SMC.RETURN_FROM_RPC);
    driver.conduit.smc(registers);
  }
  const words = registers.toArray().map((word) => word.toString(16));
  const { ret, session } = driver.get(at);
  return { x0: words[0] ?? "", others: words.slice(4).join(" "), ret, session };
});

const TURNS = 40;
const PAGES = 64;
const SIZE = PAGES * 4096;

/**
 * Calls on registered memory with interrupts in the middle: how many had a wrong result. Interrupts
 * come from the scenario on the emulated platform, from the guest's timer on the real Xen, and on
 * machines without either there are none.
 */
export const interrupted: Scenario = {
  conduits: ["vm"],
  clauses: ["MED-101", "MED-113", "MED-150"],
  rules: "xen",
  interrupts: 800,
  run: ({ conduit }) => {
    const driver = new RawDriver(conduit);
    const { session } = driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at);
    const pages = driver.pages(PAGES);
    for (const page of pages) conduit.memory.write(page, new Uint8Array(4096).fill(3));
    const registering = [tmem(driver.list(pages), SIZE, 7n)];
    driver.send({ cmd: MSG_CMD.REGISTER_SHM, ret: 1, params: registering });
    const [first = 0 as Ipa] = pages;
    let wrong = 0;
    for (let turn = 0; turn < TURNS; turn += 1) {
      conduit.memory.write(first, Uint8Array.of(turn));
      const params = [registered(7n, SIZE)];
      const command = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.PARAMS, params };
      const { at } = driver.send({ ret: 1, ...command });
      const [sum] = conduit.memory.read(first, 1);
      if (driver.get(at).ret !== 0 || sum !== ((3 * (SIZE - 1) + turn) & 0xff)) wrong += 1;
    }
    return { wrong };
  },
};

/**
 * The core's own tests, a call that takes a real machine tens of milliseconds: the result, and with an
 * argument other than null whether the call was interrupted, for a real machine's interrupts come when
 * they come.
 */
export const longCall: Scenario = {
  conduits: ["vm"],
  clauses: ["MED-101", "MED-113", "MED-150"],
  rules: "xen",
  interrupts: 800,
  run: ({ conduit }, args) => {
    const interrupts: number[] = [];
    const driver = new RawDriver({
      ...conduit,
      smc: (registers, vcpu) => {
        conduit.smc(registers, vcpu);
        if (registers.get(0) === SMC_RETURN.RPC_FOREIGN_INTR) interrupts.push(registers.get(3));
      },
    });
    const { session } = driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at);
    const command = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.SELF_TESTS };
    const { ret } = driver.get(driver.send({ ret: 1, ...command }).at);
    return args === null ? { ret } : { ret, interrupted: interrupts.length > 0 };
  },
};
