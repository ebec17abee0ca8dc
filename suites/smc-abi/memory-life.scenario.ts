import type { Ipa } from "../../harness/machine/index.ts";
import { ATTR_TYPE, MSG_CMD, OPTEE_SMC } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { type Draft, openSession, RawDriver, registered, tmem } from "../support/raw-driver.ts";
import { RawService } from "../support/raw-service.ts";
import { INVOKE_TESTS, OS_TEST } from "../support/tas.ts";

const PAGE = 4096;
const { TMEM_INOUT } = ATTR_TYPE;
const TMEM_LIST = TMEM_INOUT | 0x200;

const scenario = (
  clauses: readonly string[],
  run: (driver: RawDriver, context: ScenarioContext) => Data,
  more: Partial<Scenario> = {},
): Scenario => ({
  conduits: ["direct", "hwdom", "vm"],
  clauses,
  // To a single guest rule set kvm is as strict.
  rules: ["strict", "xen"],
  ...more,
  run: (context) => run(new RawDriver(context.conduit), context),
});

/** ret and ret_origin of a message that came with 7 and 8 there, and asks for nothing. */
function send(driver: RawDriver, message: Draft): readonly [number, number] {
  const { at } = driver.send({ ret: 7, ret_origin: 8, ...message });
  const { ret, ret_origin: origin } = driver.get(at);
  return [ret, origin];
}

const register = (
  driver: RawDriver,
  pointer: bigint,
  size: number | bigint,
  cookie: bigint,
): number => send(driver, { cmd: MSG_CMD.REGISTER_SHM, params: [tmem(pointer, size, cookie)] })[0];
const unregister = (driver: RawDriver, cookie: bigint): number =>
  send(driver, { cmd: MSG_CMD.UNREGISTER_SHM, params: [registered(cookie, 0, 5)] })[0];

/** A session to the pseudo-TA that adds up all bytes of what it is given into the first. */
const open = (driver: RawDriver): number =>
  driver.get(driver.send(openSession(INVOKE_TESTS.uuid)).at).session;
const add = (
  driver: RawDriver,
  session: number,
  params: NonNullable<Draft["params"]>,
): readonly [number, number] =>
  send(driver, { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.PARAMS, params });

const fill = (driver: RawDriver, page: Ipa, value: number): void =>
  driver.conduit.memory.write(page, new Uint8Array(PAGE).fill(value));
const byteAt = (driver: RawDriver, at: number): number =>
  driver.conduit.memory.read(at as Ipa, 1)[0] ?? -1;

/** Registered, used, unregistered; then again under the same cookie with another page. */
export const wholeLife = scenario(
  ["MSG-2.REGISTER_SHM", "MSG-2.UNREGISTER_SHM", "MSG-2.2.RMEM", "MED-062", "MED-081", "MED-083"],
  (driver) => {
    const session = open(driver);
    const use = (): readonly [number, number] => add(driver, session, [registered(0x11n, PAGE)]);
    const turn = (value: number): Data => {
      const page = driver.page();
      fill(driver, page, value);
      driver.conduit.memory.write(page, Uint8Array.of(value + 1));
      const entered = register(driver, driver.list([page]), PAGE, 0x11n);
      const used = use();
      return { entered, used, sum: byteAt(driver, page), left: unregister(driver, 0x11n) };
    };
    return { before: use(), first: turn(3), between: use(), second: turn(9), after: use() };
  },
);

/** Cookies of all kinds; those at the borders of 32 bits and of 64. */
export const cookies = scenario(["MSG-2.3.1", "MSG-1.2.RMEM", "MSG-1.2.ALIASING"], (driver) => {
  const session = open(driver);
  const all = [1n, 0xffff_ffffn, 1n << 32n, (1n << 32n) + 1n, 1n << 63n, (1n << 64n) - 1n];
  const pages = all.map((cookie, index) => {
    const page = driver.page();
    driver.conduit.memory.write(page, Uint8Array.of(0, index + 1));
    return { cookie, page, entered: register(driver, driver.list([page]), PAGE, cookie) };
  });
  // All at once: each cookie finds its own page.
  for (const { cookie } of pages) add(driver, session, [registered(cookie, 2)]);
  const sums = pages.map(({ page }) => byteAt(driver, page));
  const left = pages.map(({ cookie }) => unregister(driver, cookie));
  return { entered: pages.map(({ entered }) => entered), sums, left };
});

/**
 * Parts of a registered object: at its borders, and where offset and size together go wrong. The
 * command wants NULL, and says so (4) of what the core lets through.
 */
export const parts = scenario(["MSG-2.2.RMEM", "MSG-1.4.6", "MSG-2.4.IMPORT_FAILED"], (driver) => {
  const session = open(driver);
  const pages = driver.pages(2);
  register(driver, driver.list(pages) + 100n, 5000, 0x12n);
  const end = 2n * 4096n - 100n;
  const part = (offset: bigint, size: bigint): string => {
    const param = { attr: 7n, a: offset, b: size, c: 0x12n };
    const message = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.MEMREF_NULL };
    const [ret, origin] = send(driver, { ...message, params: [param] });
    return `0x${ret.toString(16)} ${origin}`;
  };
  return {
    "all of it": part(0n, end),
    "its last byte": part(end - 1n, 1n),
    "nothing at its end": part(end, 0n),
    "one byte at its end": part(end, 1n),
    "one byte too many": part(1n, end),
    "beyond its end": part(end + 1n, 0n),
    "offset and size overflow": part((1n << 64n) - 1n, 2n),
    "a size of 64 bits": part(0n, (1n << 64n) - 1n),
    "an offset of 2^32": part(1n << 32n, 1n),
  };
});

/** Temporary memory at offsets and of sizes about the border of a page: how many bytes are added. */
export const temporarySizes = scenario(
  ["MSG-1.4.2", "MSG-1.4.3", "MSG-2.2.TMEM_NONCONTIG", "MED-060", "MED-064", "MED-065"],
  (driver) => {
    const session = open(driver);
    const pages = driver.pages(3);
    const sums: number[] = [];
    for (const offset of [0, 1, 2048, 4095]) {
      for (const size of [1, 2, 4095, 4096, 4097, 8000]) {
        for (const page of pages) fill(driver, page, 1);
        const pointer = driver.list(pages) + BigInt(offset);
        const [ret] = add(driver, session, [tmem(pointer, size, 0x13n, TMEM_LIST)]);
        const wrong = byteAt(driver, (pages[0] ?? 0) + offset) !== (size & 0xff);
        if (ret !== 0 || wrong) sums.push(offset, size);
      }
    }
    return { wrong: sums };
  },
);

/** Sizes that no memory has. */
export const hugeSizes = scenario(
  ["MSG-1.4.3", "MSG-1.4.7", "MSG-2.3.6", "MED-060", "MED-067"],
  (driver) => {
    const list = driver.list([driver.page()]);
    const sizes = [1n << 32n, 1n << 44n, 1n << 52n, 1n << 63n, (1n << 64n) - 1n];
    const refused = (pointer: bigint, size: bigint): boolean =>
      register(driver, pointer, size, 0x14n) !== 0;
    return {
      whole: sizes.map((size) => refused(list, size)),
      overflow: refused(list + 4095n, (1n << 64n) - 4095n),
      after: register(driver, list, PAGE, 0x14n),
    };
  },
  { rules: "strict" },
);

/** Entries of a list that name no page of the normal world's. */
export const badEntries = scenario(["MSG-1.4.4", "MSG-1.4.7", "MED-063"], (driver) => {
  const good = driver.page();
  const { base, size } = driver.conduit.ram;
  const bad = [0, 0x1000, 0x900_0000, 2 ** 47, base - PAGE + 2 ** 41, base + size + 2 ** 41];
  const attempt = (pages: readonly number[]): number => {
    const ret = register(driver, driver.list(pages), pages.length * PAGE, 0x15n);
    if (ret === 0) unregister(driver, 0x15n);
    return ret;
  };
  return {
    alone: bad.map((entry) => attempt([entry])),
    last: bad.map((entry) => attempt([good, good, entry])),
    good: attempt([good, good, good]),
  };
});

/** A list that is nowhere, and one that ends the RAM. */
export const badLists = scenario(["MSG-1.4.2", "MSG-1.4.7", "MED-063"], (driver) => {
  const { base, size } = driver.conduit.ram;
  const end = (base + size - PAGE) as Ipa;
  const list = driver.list([driver.page()]);
  driver.conduit.memory.write(end, driver.conduit.memory.read(Number(list) as Ipa, PAGE));
  return [0x1000n, 0x900_0000n, 1n << 47n, BigInt(end)].map((pointer) =>
    register(driver, pointer, PAGE, 0x16n),
  );
});

/** Lists that go on in a second page, as long as a mediator takes. Nothing maps what they name. */
export const chainedLists = scenario(
  ["MSG-1.4.1", "MSG-1.4.4", "MED-060", "MED-061", "MED-064"],
  (driver) => {
    const page = driver.page();
    return [128, 510, 511, 512, 513, 1022, 1023].map((count) => {
      const list = driver.list(Array.from({ length: count }, () => page));
      return [count, register(driver, list, count * PAGE, 0x17n), unregister(driver, 0x17n)];
    });
  },
  { rules: "strict" },
);

/** A call that has a registered object as a parameter and waits in an RPC. */
function suspendWith(
  driver: RawDriver,
  param: NonNullable<Draft["params"]>[number],
): {
  readonly finish: () => number;
} {
  const message = openSession(OS_TEST.uuid);
  const { at, ...back } = driver.send({ ...message, params: [...(message.params ?? []), param] });
  const service = new RawService(driver);
  return {
    finish: () => {
      service.finish(back);
      return driver.get(at).ret;
    },
  };
}

/** Unregistered while a call uses it: the caller waits in NOTIFICATION until that call is over. */
export const unregisterInUse = scenario(
  ["MSG-2.3.3", "MSG-2.UNREGISTER_SHM", "MSG-3.NOTIFICATION", "MSG-3.9"],
  (driver) => {
    register(driver, driver.list([driver.page()]), PAGE, 0x18n);
    const user = suspendWith(driver, registered(0x18n, PAGE));
    const waiting = new RawService(driver, { stopAt: ["NOTIFICATION"] });
    const message = { cmd: MSG_CMD.UNREGISTER_SHM, params: [registered(0x18n, 0, 5)], ret: 7 };
    const { at, ...first } = driver.send(message);
    const asked = waiting.finish(first);
    const request = asked.rpc === undefined ? undefined : driver.request(asked.rpc);
    const [value] = request?.params ?? [];
    const before = driver.asked.length;
    const used = user.finish();
    const woken = driver.asked.slice(before).includes("NOTIFICATION");
    const done = new RawService(driver).finish(asked).a0;
    return {
      waits: value === undefined ? [] : [Number(value.a), Number(value.c)],
      used,
      woken,
      done: [done, driver.get(at).ret],
      after: unregister(driver, 0x18n),
    };
  },
);

/**
 * Memory of a call alone, named by its cookie: in the call, by UNREGISTER_SHM meanwhile, and after it.
 * OP-TEE never lets go of it; who puts other pages there must see to it that no guest finds it.
 */
export const temporaryByCookie = scenario(
  ["MSG-2.3.2", "MSG-2.2.TMEM_NONCONTIG", "MED-084"],
  (driver) => {
    const session = open(driver);
    const page = driver.page();
    driver.conduit.memory.write(page, Uint8Array.of(40, 2));
    const temporary = tmem(driver.list([page]), PAGE, 0x19n, TMEM_LIST);
    // Two references are more than the TA wants (4), if the core finds what they name (3).
    const both = add(driver, session, [temporary, registered(0x19n, PAGE)]);
    const after = add(driver, session, [registered(0x19n, 2)]);
    const call = suspendWith(driver, tmem(driver.list([page]), PAGE, 0x1en, TMEM_LIST));
    const during = unregister(driver, 0x1en);
    call.finish();
    return { both, after, during, byte: byteAt(driver, page) };
  },
);

/** A registered object that was referred to with bits beside the type: it is in use for ever. */
export const neverReleased = scenario(
  ["MSG-2.2.RMEM", "MSG-2.3.3", "MSG-1.3.CACHE", "MED-083"],
  (driver) => {
    const session = open(driver);
    register(driver, driver.list([driver.page()]), PAGE, 0x1fn);
    const used = add(driver, session, [registered(0x1fn, PAGE, 0x1_0007)]);
    const message = { cmd: MSG_CMD.UNREGISTER_SHM, params: [registered(0x1fn, 0, 5)], ret: 7 };
    const { at, ...first } = driver.send(message);
    const waits = new RawService(driver, { stopAt: ["NOTIFICATION"] }).finish(first);
    const { ret } = driver.get(at);
    const open2 = add(driver, session, [registered(0x1fn, PAGE)]);
    return { used, waits: waits.rpc !== undefined, ret, stillUsed: open2 };
  },
);

/** Memory by address: none of the normal world's own pages is ever taken so. */
export const contiguous = scenario(
  ["MSG-2.2.TMEM_CONTIGUOUS", "MED-050", "MED-051", "MSG-2.4.MEDIATOR_REFUSED"],
  (driver) => {
    const session = open(driver);
    const page = BigInt(driver.page());
    return [page, page + 8n, 0x1000n, 1n << 40n].map((pointer) =>
      add(driver, session, [tmem(pointer, 16, 0x1an, TMEM_INOUT)]),
    );
  },
);

/** A NULL reference, whatever else it says; only to a command that does not write there. */
export const nullReferences = scenario(["MSG-2.2.TMEM_NULL", "MSG-5.NULL"], (driver) => {
  const session = open(driver);
  const shapes = [
    tmem(0n, 0, 0n, TMEM_INOUT),
    tmem(0n, 4096, 5n, TMEM_INOUT),
    tmem(0n, (1n << 64n) - 1n, 0n, TMEM_INOUT),
    tmem(0n, 1, 0x1bn, TMEM_LIST),
  ];
  const message = { cmd: MSG_CMD.INVOKE_COMMAND, session, func: INVOKE_TESTS.MEMREF_NULL };
  return shapes.map((param) => {
    const { at } = driver.send({ ...message, params: [param] });
    const { ret, params } = driver.get(at);
    return [ret, Number(params[0]?.a), Number(params[0]?.b), Number(params[0]?.c)];
  });
});

/** What was registered is still there when other calls came and went, threads full or not. */
export const manyObjects = scenario(["MSG-2.3.1", "MSG-2.3.6", "MED-062"], (driver) => {
  const session = open(driver);
  const count = 14;
  const pages = driver.pages(count);
  const all = pages.map((page, index) => {
    driver.conduit.memory.write(page, Uint8Array.of(index, 1));
    return register(driver, driver.list([page]), PAGE, BigInt(index + 1));
  });
  // Every second one goes; the others are used.
  const left = pages.map((_, index) =>
    index % 2 === 0 ? unregister(driver, BigInt(index + 1)) : 0,
  );
  const used = pages.map((_, index) => add(driver, session, [registered(BigInt(index + 1), 2)])[0]);
  const sums = pages.map((page) => byteAt(driver, page));
  driver.smc([OPTEE_SMC.CALLS_UID]);
  return { all: [...new Set(all)], left: [...new Set(left)], used, sums };
});
