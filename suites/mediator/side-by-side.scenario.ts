import type { Ipa } from "../../harness/machine/index.ts";
import { MSG_CMD } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";
import { vmOf } from "../support/vm.ts";
import { type Asked, RawDriver, openSession, registered, tmem } from "../support/raw-driver.ts";

const PAGE = 4096;

const scenario = (
  clauses: readonly string[],
  run: (driver: RawDriver, context: ScenarioContext) => Data,
  interrupts = 0,
): Scenario => ({
  conduits: ["vm"],
  clauses,
  vms: 2,
  interrupts,
  run: (context) => run(new RawDriver(context.conduit), context),
});

/**
 * A VM with many vCPUs: each makes a call until the threads are used up, all wait in an RPC, and each
 * call is answered on another vCPU than the one that made it, in another order.
 */
export const severalVcpus = scenario(
  ["MED-040", "MED-042", "MED-110", "MED-111", "SMC-4.1.3"],
  (driver) => {
    const suspended: Asked[] = [];
    let refusal = 0;
    for (driver.vcpu = 0; driver.vcpu < 64; driver.vcpu += 1) {
      const { a0, rpc } = driver.send(openSession(OS_TEST.uuid));
      if (rpc === undefined) {
        refusal = a0;
        break;
      }
      suspended.push(rpc);
    }
    // ALLOC each, answered with pages of their own; what comes next belongs to the same call.
    const answered = suspended.toReversed().map((rpc, index) => {
      driver.vcpu = 64 + index;
      return { rpc, back: driver.giveArgument(rpc, 0x100 + index) };
    });
    // The same again is a resume of a call that waits for something else by now.
    const threads = new Set(suspended.map(({ thread }) => thread));
    return {
      refusal,
      several: suspended.length > 1,
      ownThreads: threads.size === suspended.length,
      goneOn: answered.every(({ rpc, back }) => back.rpc?.thread === rpc.thread),
    };
  },
);

/** Registers these pages; the result. */
function register(driver: RawDriver, pages: readonly number[], cookie: bigint): number {
  const params = [tmem(driver.list(pages), pages.length * PAGE, cookie)];
  return driver.get(driver.send({ cmd: MSG_CMD.REGISTER_SHM, ret: 1, params }).at).ret;
}

/** A session to the pseudo-TA that adds up bytes. */
const openAdder = (driver: RawDriver): number =>
  driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at).session;

/** Has it add up `size` bytes of registered memory. */
function addUp(driver: RawDriver, session: number, cookie: bigint, size: number): number {
  const params = [registered(cookie, size)];
  const message = {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: INVOKE_TESTS.PARAMS,
    ret: 1,
    params,
  };
  return driver.get(driver.send(message).at).ret;
}

/**
 * The hypervisor takes pages that the secure world may use: one is ballooned out, one donated to
 * another VM. Both are gone from the VM at once, and the secure world works on them all the same;
 * nobody else gets them before they are unregistered.
 */
export const takenWhileShared = scenario(["MED-063", "MED-081", "MED-083"], (driver, context) => {
  const { space } = vmOf(context, 0);
  const other = vmOf(context, 1);
  const place = (other.conduit.ram.base + other.conduit.ram.size) as Ipa;
  const pages = driver.pages(3);
  const [kept = 0 as Ipa, first = 0 as Ipa, second = 0 as Ipa] = pages;
  const session = openAdder(driver);
  for (const page of pages) driver.conduit.memory.write(page, new Uint8Array(PAGE).fill(1));
  const registering = register(driver, pages, 5n);
  const frame = space.stage2.frame(first / PAGE);

  const ballooned = space.balloon(first);
  const donated = space.donate(second, other.space, place);
  const arrived = (): boolean => other.space.stage2.frame(place / PAGE) >= 0;
  const added = addUp(driver, session, 5n, 2 * PAGE + 42);
  const [sum = -1] = driver.conduit.memory.read(kept, 1);
  const during = { arrived: arrived(), free: space.frames.isFree(frame) };

  const params = [registered(5n, 0, 5)];
  driver.send({ cmd: MSG_CMD.UNREGISTER_SHM, ret: 1, params });
  const after = { arrived: arrived(), free: space.frames.isFree(frame) };
  const zero = after.arrived && other.space.read(place, PAGE).every((byte) => byte === 0);
  return { registering, ballooned, donated, added, sum, during, after, zero };
});

/**
 * Temporary memory, over and over, with interrupts in the middle of the call: every sum is right
 * whatever happens to the VM's other pages meanwhile.
 */
export const temporaryAgain = scenario(
  ["MED-064", "MED-065", "MED-084"],
  (driver) => {
    const session = openAdder(driver);
    const pages = driver.pages(5);
    let wrong = 0;
    for (let turn = 1; turn <= 40; turn += 1) {
      for (const page of pages) driver.conduit.memory.write(page, new Uint8Array(PAGE).fill(turn));
      const size = 4 * PAGE + turn;
      const list = driver.list(pages) + BigInt(turn);
      const params = [tmem(list, size, BigInt(turn), 0x20b)];
      const message = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.PARAMS, params };
      const { at } = driver.send({ ret: 1, ...message });
      const [sum] = driver.conduit.memory.read(((pages[0] ?? 0) + turn) as Ipa, 1);
      if (driver.get(at).ret !== 0 || sum !== ((size * turn) & 0xff)) wrong += 1;
    }
    return { wrong };
  },
  500,
);
