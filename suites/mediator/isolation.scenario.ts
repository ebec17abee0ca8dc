import type { Ipa, Task } from "../../harness/machine/index.ts";
import { MSG_CMD, OPTEE_SMC } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import {
  type Asked,
  type Draft,
  openSession,
  RawDriver,
  registered,
  tmem,
} from "../support/raw-driver.ts";
import { RawService } from "../support/raw-service.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

const PAGE = 4096;

/** Two guests that speak for themselves; what one does, the other must not feel. */
const guests = (
  clauses: readonly string[],
  run: (one: RawDriver, two: RawDriver, context: ScenarioContext) => Data,
): Scenario => ({
  conduits: ["vm"],
  clauses,
  rules: ["strict", "xen"],
  vms: 2,
  run: (context) => {
    const [one, two] = [0, 1].map((index) => new RawDriver(context.guest(index).conduit));
    return one === undefined || two === undefined ? null : run(one, two, context);
  },
});

const result = (driver: RawDriver, message: Draft): number =>
  driver.get(driver.send({ ret: 7, ...message }).at).ret;
const open = (driver: RawDriver): number =>
  driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at).session;
const register = (driver: RawDriver, page: number, cookie: bigint): number =>
  result(driver, {
    cmd: MSG_CMD.REGISTER_SHM,
    params: [tmem(driver.list([page]), PAGE, cookie)],
  });
const unregister = (driver: RawDriver, cookie: bigint): number =>
  result(driver, { cmd: MSG_CMD.UNREGISTER_SHM, params: [registered(cookie, 0, 5)] });
const add = (driver: RawDriver, session: number, cookie: bigint): number =>
  result(driver, {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: INVOKE_TESTS.PARAMS,
    params: [registered(cookie, 2)],
  });

/** A cookie of the other guest's is no cookie, to use or to unregister. */
export const foreignCookie = guests(["MED-062", "MED-9.2", "SMC-8.2"], (one, two) => {
  const page = one.page();
  one.conduit.memory.write(page, Uint8Array.of(40, 2));
  const sessions = [open(one), open(two)] as const;
  const entered = register(one, page, 0x21n);
  const foreign = [add(two, sessions[1], 0x21n), unregister(two, 0x21n)];
  return { entered, foreign, own: add(one, sessions[0], 0x21n), left: unregister(one, 0x21n) };
});

/** Both use the same cookie, each for memory of its own. */
export const sameCookie = guests(["MED-062", "MED-9.2", "MSG-2.3.1"], (one, two) => {
  const memory = [one, two].map((driver, index) => {
    const page = driver.page();
    driver.conduit.memory.write(page, Uint8Array.of(10 * (index + 1), 1));
    return { driver, page, session: open(driver), entered: register(driver, page, 0x22n) };
  });
  const used = memory.map(({ driver, session }) => add(driver, session, 0x22n));
  // The first lets go of its own: the second's stays.
  const left = unregister(one, 0x22n);
  const after = memory.map(({ driver, session }) => add(driver, session, 0x22n));
  const sums = memory.map(({ driver, page }) => driver.conduit.memory.read(page, 1)[0] ?? -1);
  return { entered: memory.map(({ entered }) => entered), used, left, after, sums };
});

/** A session id of the other guest's names none: it cannot be used, cancelled or closed. */
export const foreignSession = guests(["MED-9.2", "MSG-2.1.2", "SMC-8.2"], (one, two) => {
  const sessions = [open(one), open(one), open(one)];
  const own = open(two);
  const last = sessions.at(-1) ?? 0;
  const invocation = {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session: last,
    func: INVOKE_TESTS.PARAMS,
    params: [{ attr: 3n, a: 40n, b: 2n }],
  };
  const invoked = (driver: RawDriver): number => result(driver, invocation);
  return {
    sessions,
    own,
    foreign: [
      invoked(two),
      result(two, { cmd: MSG_CMD.CANCEL, session: last }),
      result(two, { cmd: MSG_CMD.CLOSE_SESSION, session: last }),
    ],
    still: invoked(one),
  };
});

/** Fills every thread of a guest with calls that wait; gives them, and the code of one too many. */
function fill(driver: RawDriver): { readonly calls: Asked[]; readonly refusal: number } {
  const calls: Asked[] = [];
  for (;;) {
    const { a0, rpc } = driver.send(openSession(OS_TEST.uuid));
    if (rpc === undefined) return { calls, refusal: a0 };
    calls.push(rpc);
  }
}

function finish(driver: RawDriver, rpc: Asked): number {
  return new RawService(driver).finish({ a0: rpc.a0, rpc }).a0;
}

/** All threads of one guest wait: the other has as many of its own. */
export const ownThreads = guests(["MED-040", "MED-151", "SMC-4.1.3"], (one, two) => {
  const first = fill(one);
  const second = fill(two);
  const refusals = [first.refusal, second.refusal];
  const ended = [
    ...first.calls.map((rpc) => finish(one, rpc)),
    ...second.calls.map((rpc) => finish(two, rpc)),
  ];
  return {
    refusals,
    asMany: first.calls.length === second.calls.length,
    ended: [...new Set(ended)],
    again: [one, two].map((driver) => driver.send({ cmd: 99 }).a0),
  };
});

/** A call of one guest resumed by the other, thread for thread, whatever it has suspended itself. */
export const foreignThread = guests(["MED-110", "MED-151", "MED-152"], (one, two) => {
  const { rpc } = one.send(openSession(OS_TEST.uuid));
  const thread = rpc?.thread ?? 0;
  const steal = (): number =>
    two.smc([OPTEE_SMC.RETURN_FROM_RPC, rpc?.a1 ?? 0, rpc?.a2 ?? 0, thread]).get(0);
  const before = steal();
  // Its own call has the same number: what is resumed is that one.
  const own = two.send(openSession(OS_TEST.uuid));
  const same = own.rpc?.thread === thread;
  const resumed = own.rpc === undefined ? -1 : finish(two, own.rpc);
  const after = steal();
  return { before, same, resumed, after, victim: rpc === undefined ? -1 : finish(one, rpc) };
});

const enable = (driver: RawDriver): number => driver.smc([OPTEE_SMC.ENABLE_SHM_CACHE]).get(0);
const drain = (driver: RawDriver): number => driver.smc([OPTEE_SMC.DISABLE_SHM_CACHE, 0, 0]).get(0);

/** The cache of one guest is switched and emptied: the other's stays as it was. */
export const ownCache = guests(["SMC-6", "MED-025", "MED-026"], (one, two) => {
  const enabled = enable(one);
  new RawService(one).call(openSession(OS_TEST.uuid));
  new RawService(two).call(openSession(OS_TEST.uuid));
  const other = drain(two);
  // A call of one that waits keeps its own cache busy, nobody else's.
  const { rpc } = two.send(openSession(OS_TEST.uuid));
  const busy = [drain(two), drain(one), drain(one)];
  if (rpc !== undefined) finish(two, rpc);
  return { enabled, other, busy };
});

/** Memory for RPCs that both give under the same cookies. */
export const sameRpcCookies = guests(["MED-121", "MED-122", "MED-142"], (one, two) => {
  const calls = [one, two].map((driver) => {
    const service = new RawService(driver, { stopAt: ["LOAD_TA"] });
    const { at, ...first } = driver.send(openSession(OS_TEST.uuid));
    return { driver, at, back: service.finish(first) };
  });
  const asked = calls.map(({ driver, back }) =>
    back.rpc === undefined ? [] : [back.rpc.a1, back.rpc.a2, driver.request(back.rpc).cmd],
  );
  const ended = calls.map(({ driver, at, back }) => {
    const { a0 } = new RawService(driver).finish(back);
    return [a0, driver.get(at).ret];
  });
  return { same: JSON.stringify(asked[0]) === JSON.stringify(asked[1]), ended };
});

/** A TA that panics takes nobody with it but its own guest's sessions. */
export const ownPanics: Scenario = {
  conduits: ["vm"],
  clauses: ["SMC-8.2", "MSG-2.4.TA_PANICKED", "MSG-2.1.3"],
  vms: 2,
  run: (context) => {
    const [first, second] = [context.client(0), context.client(1)];
    return context.execute(
      (function* (): Task<Data> {
        const one = yield* first.openSession(OS_TEST.uuid);
        const two = yield* second.openSession(OS_TEST.uuid);
        if (one.session === undefined || two.session === undefined) return null;
        const panicked = (yield* first.invokeCommand(one.session, OS_TEST.PANIC)).result;
        const dead = (yield* first.invokeCommand(one.session, OS_TEST.INIT)).result;
        const alive = (yield* second.invokeCommand(two.session, OS_TEST.INIT)).result;
        return { panicked, dead, alive };
      })(),
    );
  },
};

/** What is left of a guest that is gone: its place, and nothing for who comes after it. */
export const newcomer = guests(
  ["MED-164", "MED-167", "SMC-8.2", "SMC-8.5"],
  (one, two, context) => {
    const page = one.page();
    const session = open(one);
    const entered = register(one, page, 0x24n);
    const { base, size } = one.conduit.ram;
    const secret = (base + size - PAGE) as Ipa;
    one.conduit.memory.write(secret, Uint8Array.of(1, 2, 3));
    const { rpc } = one.send(openSession(OS_TEST.uuid));
    context.guest(0).destroy();
    const gone = [OPTEE_SMC.CALLS_UID, OPTEE_SMC.CALL_WITH_ARG].map((fid) => one.smc([fid]).get(0));
    const heir = new RawDriver(context.guest(2).conduit);
    const code = heir.smc([OPTEE_SMC.RETURN_FROM_RPC, 0, 0, rpc?.thread ?? 0]).get(0);
    const close = { cmd: MSG_CMD.CLOSE_SESSION, session };
    return {
      entered,
      gone,
      resumed: code,
      session: result(heir, close),
      cookie: unregister(heir, 0x24n),
      fresh: [open(heir), open(two)],
      empty: heir.conduit.memory.read(secret, PAGE).every((byte) => byte === 0),
    };
  },
);
