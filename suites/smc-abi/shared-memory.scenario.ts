import type { Ipa } from "../../harness/machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  encodeMessage,
  MSG_CMD,
  OPTEE_SMC,
  SMC_RETURN,
} from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { openSession, RawDriver, registered, tmem } from "../support/raw-driver.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

const PAGE = 4096;
const { RMEM_INPUT, RMEM_INOUT, TMEM_INOUT, VALUE_INOUT } = ATTR_TYPE;

/** Straight at the secure world: what a mediator refuses for itself is not asked here. */
const scenario = (clauses: readonly string[], run: (driver: RawDriver) => Data): Scenario => ({
  conduits: ["direct", "hwdom"],
  clauses,
  run: (context) => run(new RawDriver(context.conduit)),
});

type Draft = Parameters<RawDriver["send"]>[0];

/** ret and ret_origin of a message that came with 7 and 8 there. */
function send(driver: RawDriver, message: Draft): readonly [number, number] {
  const { at } = driver.send({ ret: 7, ret_origin: 8, ...message });
  const { ret, ret_origin: origin } = driver.get(at);
  return [ret, origin];
}

const register = (
  driver: RawDriver,
  pointer: bigint,
  size: number,
  cookie: bigint,
  attr = ATTR_TMEM_OUTPUT_NONCONTIG,
): readonly [number, number] =>
  send(driver, { cmd: MSG_CMD.REGISTER_SHM, params: [tmem(pointer, size, cookie, attr)] });

const unregister = (driver: RawDriver, cookie: bigint): readonly [number, number] =>
  send(driver, { cmd: MSG_CMD.UNREGISTER_SHM, params: [registered(cookie, 0, RMEM_INPUT)] });

/** A session to the pseudo-TA that adds up what it is given. */
const open = (driver: RawDriver): number =>
  driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at).session;

const invoke = (
  driver: RawDriver,
  session: number,
  params: Draft["params"],
): readonly [number, number] =>
  send(driver, {
    cmd: MSG_CMD.INVOKE_COMMAND,
    session,
    func: INVOKE_TESTS.PARAMS,
    ...(params === undefined ? {} : { params }),
  });

export const registerShapes = scenario(
  ["MSG-2.REGISTER_SHM", "MSG-1.3.RESERVED", "MSG-2.3.4"],
  (driver) => {
    const list = driver.list([driver.page()]);
    const attrs = [0x20a, 0x209, 0x20b, 0xa, 0x30a, 0x1_020a];
    const results = attrs.map((attr) => register(driver, list, PAGE, 0x70n, attr));
    const none = send(driver, { cmd: MSG_CMD.REGISTER_SHM });
    return { results, none, unregistered: [unregister(driver, 0x70n), unregister(driver, 0x70n)] };
  },
);

/** The same cookie twice: which page the sum of its bytes goes to. */
export const duplicateCookies = scenario(["MSG-2.3.1"], (driver) => {
  const session = open(driver);
  const [old, fresh] = [driver.page(), driver.page()];
  driver.conduit.memory.write(old, Uint8Array.of(1, 2));
  driver.conduit.memory.write(fresh, Uint8Array.of(3, 4));
  for (const page of [old, fresh]) register(driver, driver.list([page]), PAGE, 0x71n);
  const firstBytes = (): number[] =>
    [old, fresh].map((page) => driver.conduit.memory.read(page, 1)[0] ?? -1);
  const seen = [firstBytes()];
  for (let turn = 0; turn < 2; turn += 1) {
    invoke(driver, session, [registered(0x71n, 2, RMEM_INOUT)]);
    seen.push(firstBytes());
    unregister(driver, 0x71n);
  }
  return { seen, gone: invoke(driver, session, [registered(0x71n, 2, RMEM_INOUT)]) };
});

/** Objects reach to the end of their last page and no further. */
export const objectSizes = scenario(
  ["MSG-1.4.3", "MSG-1.4.6", "MSG-2.2.RMEM", "MSG-2.4.IMPORT_FAILED"],
  (driver) => {
    const session = open(driver);
    const list = driver.list([driver.page(), driver.page()]);
    const size = (offset: bigint, bytes: number, used: number): readonly [number, number] => {
      register(driver, list + offset, bytes, 0x72n);
      const seen = invoke(driver, session, [registered(0x72n, used, RMEM_INOUT)]);
      unregister(driver, 0x72n);
      return seen;
    };
    return {
      whole: [size(0n, 1, PAGE), size(0n, 1, PAGE + 1)],
      offset: [size(100n, 1, PAGE - 100), size(100n, 1, PAGE - 99)],
      two: [size(1n, PAGE, 2 * PAGE - 1), size(1n, PAGE, 2 * PAGE)],
      nothing: register(driver, list, 0, 0x72n),
      behindOffset: [register(driver, list + 5n, 0, 0x72n), unregister(driver, 0x72n)],
      unknown: invoke(driver, session, [registered(0x73n, 1, RMEM_INOUT)]),
    };
  },
);

/** 511 pages need one list page and 512 two; the link is looked at in the second case only. */
export const links = scenario(["MSG-1.4.1", "MSG-1.4.4", "MSG-1.4.7"], (driver) => {
  const data = driver.page();
  const result = (count: number, spoil?: (list: Ipa) => void): readonly [number, number] => {
    const list = driver.list(Array.from({ length: count }, () => data));
    spoil?.(Number(list) as Ipa);
    const seen = register(driver, list, count * PAGE, 0x74n);
    if (seen[0] === 0) unregister(driver, 0x74n);
    return seen;
  };
  const badLink = (list: Ipa): void =>
    driver.conduit.memory.write((list + 511 * 8) as Ipa, Uint8Array.of(8));
  const badEntry = (list: Ipa): void =>
    driver.conduit.memory.write((list + 3 * 8) as Ipa, Uint8Array.of(1));
  return {
    one: [result(511), result(511, badLink)],
    two: [result(512), result(512, badLink)],
    entry: result(4, badEntry),
  };
});

/** What comes back of values and of NULL references. */
export const exported = scenario(
  ["MSG-2.2.VALUE", "MSG-2.2.EXPORT", "MSG-2.2.TMEM_NULL", "MSG-2.2.META", "MSG-2.2.MAX_PARAMS"],
  (driver) => {
    const session = open(driver);
    const call = (func: number, params: NonNullable<Draft["params"]>): Data => {
      const { at } = driver.send({ cmd: MSG_CMD.INVOKE_COMMAND, session, func, params });
      const { ret, params: back } = driver.get(at);
      return [ret, back.slice(0, 1).map(({ a, b, c }) => [Number(a), Number(b), Number(c)])];
    };
    const value = { attr: BigInt(VALUE_INOUT), a: 0x5_0000_0003n, b: 4n, c: 9n };
    return {
      value: call(INVOKE_TESTS.PARAMS, [value]),
      null: call(INVOKE_TESTS.MEMREF_NULL, [tmem(0n, 4096, 5n, TMEM_INOUT)]),
      meta: call(INVOKE_TESTS.PARAMS, [{ ...value, attr: 0x103n }]),
      five: call(INVOKE_TESTS.PARAMS, [value, {}, {}, {}, {}]),
    };
  },
);

/** A message inside of a registered object, at the offset in a3. */
export const registeredArgument = scenario(
  ["SMC-4.1.6", "SMC-4.1.8", "MSG-2.3.5", "SMC-1.CALL_WITH_REGD_ARG"],
  (driver) => {
    const page = driver.page();
    register(driver, driver.list([page]), PAGE, 0x75n);
    const message = encodeMessage({ cmd: MSG_CMD.CANCEL, session: 77 });
    const at = (offset: number): number => {
      if (offset + message.length <= PAGE) {
        driver.conduit.memory.write((page + offset) as Ipa, message);
      }
      return driver.smc([OPTEE_SMC.CALL_WITH_REGD_ARG, 0, 0x75, offset]).get(0);
    };
    // The message and 160 bytes behind it have to fit.
    const codes = [0, 384, PAGE - 32 - 160, PAGE - 32 - 152, 388, PAGE].map(at);
    unregister(driver, 0x75n);
    return { codes, after: driver.smc([OPTEE_SMC.CALL_WITH_REGD_ARG, 0, 0x75, 0]).get(0) };
  },
);

/** ALLOC answered with nothing, and with an address that is none; what is asked next. */
export const refusedAllocation = scenario(["SMC-5.ALLOC", "SMC-5.1", "SMC-5.FREE"], (driver) => {
  const answer = (address: number, cookie: number): Data => {
    const { at, rpc } = driver.send(openSession(OS_TEST.uuid));
    const asked = rpc === undefined ? [] : [rpc.a0, rpc.a1, rpc.a2];
    const freed: number[] = [];
    let next = rpc;
    while (next !== undefined) {
      if (next.a0 === SMC_RETURN.RPC_FREE) freed.push(next.a2);
      next = driver.resume(next, 0, address, 0, cookie).rpc;
    }
    return { asked, freed: [...new Set(freed)], ret: driver.get(at).ret };
  };
  return {
    nothing: answer(0, 0),
    cookieOnly: answer(0, 5),
    unaligned: answer(driver.page() + 4, 6),
  };
});

/**
 * Threads are taken lowest first; with all in use a call is turned away. What a1 to a3 then hold is
 * nobody's promise: OP-TEE 4.5 leaves there what it finds.
 */
export const threads = scenario(
  ["SMC-4.1.3", "SMC-2.ETHREAD_LIMIT", "SMC-4.2.SUSPENDED", "SMC-3.GET_THREAD_COUNT"],
  (driver) => {
    const count = driver.smc([OPTEE_SMC.GET_THREAD_COUNT]).get(1);
    const calls = Array.from({ length: count }, () => driver.send(openSession(OS_TEST.uuid)).rpc);
    const one = driver.smc([OPTEE_SMC.CALL_WITH_ARG, 0, driver.put({ cmd: 99 }), 0x33]);
    for (const call of calls) {
      let next = call;
      while (next !== undefined) next = driver.resume(next, 0, 0).rpc;
    }
    return {
      inOrder: calls.every((call, index) => call?.thread === index),
      turnedAway: one.get(0),
      after: driver.send({ cmd: 99 }).a0,
    };
  },
);
