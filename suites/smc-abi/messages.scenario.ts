import type { Ipa } from "../../harness/machine/index.ts";
import {
  ATTR_META_VALUE_INPUT,
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  type Message,
  MSG_CMD,
  OPTEE_SMC,
} from "../../harness/optee-abi/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { type Draft, openSession, RawDriver, registered, tmem } from "../support/raw-driver.ts";
import { RawService } from "../support/raw-service.ts";
import { INVOKE_TESTS } from "../support/tas.ts";

const PAGE = 4096;
const META = BigInt(ATTR_META_VALUE_INPUT);

/** To a single guest rule set kvm is as strict. */
const RULES = ["strict", "xen"] as const;

const scenario = (
  clauses: readonly string[],
  run: (driver: RawDriver) => Data,
  conduits: Scenario["conduits"] = ["direct", "hwdom", "vm"],
): Scenario => ({
  conduits,
  clauses,
  rules: RULES,
  run: ({ conduit }) => run(new RawDriver(conduit)),
});

/** The message after its call, which asks for nothing, with 7 and 8 as results before it. */
function send(driver: RawDriver, message: Draft): Message {
  const { at } = driver.send({ ret: 7, ret_origin: 8, ...message });
  return driver.get(at);
}

const resultOf = ({ ret, ret_origin: origin }: Message): readonly [number, number] => [ret, origin];
const open = (driver: RawDriver): number => send(driver, openSession(INVOKE_TESTS.uuid)).session;
const close = (driver: RawDriver, session: number): number =>
  send(driver, { cmd: MSG_CMD.CLOSE_SESSION, session }).ret;

const invoke = (
  driver: RawDriver,
  session: number,
  params: NonNullable<Draft["params"]>,
  func: number = INVOKE_TESTS.PARAMS,
): Message => send(driver, { cmd: MSG_CMD.INVOKE_COMMAND, session, func, params });

/** OPEN_SESSION with one thing wrong at a time: what comes back, and no session with it. */
export const openShapes = scenario(
  ["MSG-2.OPEN_SESSION", "MSG-2.2.META", "MSG-2.2.MAX_PARAMS", "MSG-1.3.META", "MSG-1.3.RESERVED"],
  (driver) => {
    const [uuid = {}, client = {}] = openSession(INVOKE_TESTS.uuid).params ?? [];
    const shapes: Record<string, NonNullable<Draft["params"]>> = {
      "no parameters": [],
      "no client": [uuid],
      "first without META": [{ ...uuid, attr: 1n }, client],
      "second without META": [uuid, { ...client, attr: 1n }],
      "META output": [{ ...uuid, attr: 0x102n }, client],
      "reserved bit 10": [{ ...uuid, attr: META | 0x400n }, client],
      "bit 32": [uuid, { ...client, attr: META | (1n << 32n) }],
      "a third META": [uuid, client, { attr: META }],
      "four more": [uuid, client, {}, {}, {}, {}],
      "five more": [uuid, client, {}, {}, {}, {}, {}],
    };
    const seen: Record<string, Data> = {};
    for (const [name, params] of Object.entries(shapes)) {
      const {
        ret,
        ret_origin: origin,
        session,
      } = send(driver, {
        cmd: MSG_CMD.OPEN_SESSION,
        session: 55,
        params,
      });
      seen[name] = session === 0 ? `0x${ret.toString(16)} ${origin}` : `session, ${ret} ${origin}`;
    }
    return seen;
  },
);

/** Every login class there is, and the numbers beside them. */
export const logins = scenario(["MSG-1.3.LOGIN", "MSG-2.1.1", "MSG-2.1.P1"], (driver) => {
  const classes = [0, 1, 2, 3, 4, 5, 6, 7, 0x8000_0000, 0x8000_0001, 0xf000_0000, 0xffff_ffff];
  const [uuid = {}] = openSession(INVOKE_TESTS.uuid).params ?? [];
  const attempt = (login: bigint): number =>
    send(driver, {
      cmd: MSG_CMD.OPEN_SESSION,
      params: [uuid, { attr: META, a: 1n, b: 2n, c: login }],
    }).ret;
  return {
    taken: classes.filter((login) => attempt(BigInt(login)) === 0),
    // The upper half of c is nobody's.
    upperHalf: attempt(1n << 32n),
  };
});

/** A TA that nobody has: asked for in storage and of the supplicant, then ITEM_NOT_FOUND. */
export const unknownTa = scenario(["MSG-2.1.P0", "MSG-2.1.3", "MSG-3.LOAD_TA"], (driver) => {
  const service = new RawService(driver);
  const message = { ...openSession("00112233-4455-6677-8899-aabbccddeeff"), session: 55 };
  const { at } = service.call(message);
  const { ret, ret_origin: origin, session } = driver.get(at);
  const load = service.requests.find(({ cmd }) => cmd === 0)?.params[0];
  const octets = new DataView(new ArrayBuffer(16));
  octets.setBigUint64(0, load?.a ?? 0n, true);
  octets.setBigUint64(8, load?.b ?? 0n, true);
  const asked = Buffer.from(octets.buffer).toString("hex");
  return { ret, origin, session, asked };
});

/**
 * Session ids are counted from the last of the list, not from the highest: which comes next after
 * some in the middle and at the end were closed.
 */
export const sessionIds = scenario(["MSG-2.1.2", "MSG-1.1.SESSION"], (driver) => {
  const ids = [open(driver), open(driver), open(driver)];
  const [first = 0, second = 0, third = 0] = ids;
  close(driver, second);
  const afterMiddle = open(driver);
  close(driver, afterMiddle);
  close(driver, third);
  const afterEnd = open(driver);
  const closed = [close(driver, afterEnd), close(driver, first), close(driver, first)];
  return { ids, afterMiddle, afterEnd, closed, afterAll: open(driver) };
});

/** Invocations of sessions that there are not, and what is wrong with them besides. */
export const wrongSession = scenario(
  ["MSG-2.INVOKE_COMMAND", "MSG-2.4.IMPORT_FAILED", "MSG-2.2.RMEM"],
  (driver) => {
    const session = open(driver);
    send(driver, {
      cmd: MSG_CMD.REGISTER_SHM,
      params: [tmem(driver.list([driver.page()]), PAGE, 0x31n)],
    });
    const beyond = [registered(0x31n, PAGE + 1)];
    return {
      none: [0, session + 1, 0xffff_ffff].map((id) => resultOf(invoke(driver, id, []))),
      // Parameters are judged before anybody asks for the session.
      parametersFirst: resultOf(invoke(driver, 0xffff_ffff, beyond)),
      closed: [close(driver, session), resultOf(invoke(driver, session, []))],
    };
  },
);

/** NULL to read and write, which takes the core down: this test TA of its own writes there. */
const FATAL = 0xb;

/** Each parameter type alone, and with META: who refuses it, the TA (4) or the core (3). */
export const parameterTypes = scenario(
  ["MSG-1.3.TYPE", "MSG-2.2.RESERVED", "MSG-2.2.META", "MSG-2.2.TMEM_NULL", "MSG-2.2.RMEM"],
  (driver) => {
    const session = open(driver);
    const types = Array.from({ length: 17 }, (_, type) => type);
    const refusedBy = (attr: bigint): number =>
      invoke(driver, session, [{ attr, c: 5n }]).ret_origin;
    return {
      plain: types.filter((type) => type !== FATAL).map((type) => refusedBy(BigInt(type))),
      meta: types.map((type) => refusedBy(BigInt(type | 0x100))),
      // What the caches hold is no affair of the core's, and neither are bits that nobody has.
      others: [0x1_0003n, 0x7_0003n, 0x400n, 1n << 63n].map(refusedBy),
    };
  },
);

/** One parameter more each time. */
export const parameterCounts = scenario(["MSG-2.2.MAX_PARAMS", "MSG-1.1.NUM_PARAMS"], (driver) => {
  const session = open(driver);
  return [0, 1, 2, 3, 4, 5, 6, 127].map((count) =>
    resultOf(
      invoke(
        driver,
        session,
        Array.from({ length: count }, () => ({})),
      ),
    ),
  );
});

/** Commands of a TA at the borders of 32 bits; what they leave behind in the message's other fields. */
export const commandIds = scenario(
  ["MSG-1.1.FUNC", "MSG-2.4.TA_RETURNED", "MSG-2.2.EXPORT"],
  (driver) => {
    const session = open(driver);
    const value = { attr: BigInt(ATTR_TYPE.VALUE_INOUT), a: 40n, b: 2n, c: 9n };
    return [INVOKE_TESTS.PARAMS, 3, 0x7fff_ffff, 0xffff_ffff].map((func) => {
      const back = invoke(driver, session, [value], func);
      const { a = 0n, b = 0n, c = 0n } = back.params[0] ?? {};
      return {
        result: resultOf(back),
        kept: [back.cmd === MSG_CMD.INVOKE_COMMAND, back.func === func, back.session === session],
        value: [a, b, c].map(Number),
      };
    });
  },
);

/** CLOSE_SESSION and CANCEL with parameters, unknown sessions, and the tag that nobody reads. */
export const closeAndCancel = scenario(
  ["MSG-2.CLOSE_SESSION", "MSG-2.CANCEL", "MSG-1.1.CANCEL_ID", "MSG-1.1.PAD"],
  (driver) => {
    const session = open(driver);
    const both = (message: Draft): readonly [Data, Data] => [
      resultOf(send(driver, { ...message, cmd: MSG_CMD.CANCEL })),
      resultOf(send(driver, { ...message, cmd: MSG_CMD.CLOSE_SESSION })),
    ];
    return {
      parameter: both({ session, params: [{}] }),
      unknown: both({ session: session + 9 }),
      zero: both({ session: 0 }),
      tagged: both({ session, cancel_id: 0xdead_beef }),
      gone: both({ session }),
    };
  },
);

/** REGISTER_SHM by each attribute, and what UNREGISTER_SHM makes of the same. */
export const registrationAttributes = scenario(
  ["MSG-2.REGISTER_SHM", "MSG-2.UNREGISTER_SHM", "MSG-1.3.NONCONTIG", "MSG-2.3.4"],
  (driver) => {
    const list = driver.list([driver.page()]);
    const register = (attr: number): number =>
      send(driver, { cmd: MSG_CMD.REGISTER_SHM, params: [tmem(list, PAGE, 0x41n, attr)] }).ret;
    const unregister = (attr: bigint): number =>
      send(driver, { cmd: MSG_CMD.UNREGISTER_SHM, params: [{ attr, c: 0x41n }] }).ret;
    const attrs = [0n, 1n, 3n, 5n, 7n, 0xfn, 0x105n, 1n << 40n];
    return {
      registered: [0, 1, 5, 6, 0x10a, 0x209, 0x20b].map(register),
      // Registered by the one attribute and let go by any.
      unregistered: attrs.map((attr) => [register(ATTR_TMEM_OUTPUT_NONCONTIG), unregister(attr)]),
      twice: unregister(5n),
    };
  },
);

/** Both with too few and too many parameters. */
export const registrationCounts = scenario(
  ["MSG-2.REGISTER_SHM", "MSG-2.UNREGISTER_SHM", "MSG-2.3.4"],
  (driver) => {
    const list = driver.list([driver.page()]);
    const good = tmem(list, PAGE, 0x42n);
    const cookie = registered(0x42n, 0, 5);
    const register = (params: NonNullable<Draft["params"]>): Data =>
      resultOf(send(driver, { cmd: MSG_CMD.REGISTER_SHM, params }));
    const unregister = (params: NonNullable<Draft["params"]>): Data =>
      resultOf(send(driver, { cmd: MSG_CMD.UNREGISTER_SHM, params }));
    return {
      register: [register([]), register([good, {}]), register([good])],
      unregister: [unregister([]), unregister([cookie, {}]), unregister([cookie])],
    };
  },
);

/** Commands that this release or build does not have, and those that nobody has. */
export const otherCommands = scenario(
  ["MSG-2.OTHER", "MSG-6.PROTMEM", "SMC-4.1.9", "SMC-2.EBADCMD", "MED-047"],
  (driver) =>
    [8, 9, 10, 11, 12, 99, 0x7fff_ffff, 0xffff_ffff].map((cmd) => {
      const { a0, at } = driver.send({ cmd, ret: 7, ret_origin: 8, params: [{}] });
      return [a0, ...resultOf(driver.get(at))];
    }),
);

/** Where a message may not be: within a page, in nobody's memory, beyond 32 bits, beyond the RAM. */
export const argumentPlaces = scenario(
  ["SMC-4.1.5", "SMC-2.EBADADDR", "SMC-4.1.A1_A2", "MED-043", "MED-045"],
  (driver) => {
    const { base, size } = driver.conduit.ram;
    const page = driver.put({ cmd: 99 });
    const codeAt = (address: number): number =>
      driver.smc([OPTEE_SMC.CALL_WITH_ARG, Math.floor(address / 2 ** 32), address >>> 0]).get(0);
    const last = (base + size - PAGE) as Ipa;
    driver.put({ cmd: 99 }, last);
    return {
      withinPage: [1, 4, 8, 2048, 4095].map((offset) => codeAt(page + offset)),
      nowhere: [0, 0x1000, 2 ** 40, 2 ** 51].map(codeAt),
      lastPage: codeAt(last),
    };
  },
);
