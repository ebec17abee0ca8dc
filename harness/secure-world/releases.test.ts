import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  MSG_CMD,
  NOTIFICATION_OP,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  SEC_CAP,
  TEEC,
} from "../optee-abi/index.ts";
import {
  DEBIAN_4_5,
  DEBIAN_4_5_VIRTUALIZED,
  featuresOf,
  isSince,
  OPTEE_4_10,
  type OpteeBuild,
} from "./build.ts";
import { type Param, SecureKit, value } from "./testkit/kit.ts";
import { TINY_CMD, TINY_FLAGS, TinyTa } from "./testkit/tiny-tas.ts";

const release = (major: number, minor: number, build: Partial<OpteeBuild> = {}): SecureKit =>
  new SecureKit({ build: { version: { major, minor }, ...build } });
const capabilities = (kit: SecureKit): number => kit.smc(OPTEE_SMC.EXCHANGE_CAPABILITIES).get(1);

test("SMC-10.GET_THREAD_COUNT: an unknown function before 3.5", () => {
  const [before, since] = [4, 5].map((minor) =>
    release(3, minor).words(OPTEE_SMC.GET_THREAD_COUNT, 9).slice(0, 2),
  );
  expect([before, since]).toEqual([
    [0xffff_ffff, 9],
    [0, 2],
  ]);
});

test("SMC-10.RPC_ARG: before 3.17 an RPC argument comes by RPC ALLOC only", () => {
  const old = release(3, 16);
  expect(capabilities(old) & SEC_CAP.RPC_ARG).toBe(0);
  expect(old.words(OPTEE_SMC.EXCHANGE_CAPABILITIES, 0, 0, 0x33)[3]).toBe(0x33);
  const at = old.put({ cmd: MSG_CMD.CANCEL });
  for (const fid of [OPTEE_SMC.CALL_WITH_RPC_ARG, OPTEE_SMC.CALL_WITH_REGD_ARG]) {
    expect(old.words(fid, 0, at)[0]).toBe(5);
  }
  const fresh = release(3, 17);
  expect(capabilities(fresh) & SEC_CAP.RPC_ARG).not.toBe(0);
  expect(fresh.words(OPTEE_SMC.CALL_WITH_RPC_ARG, 0, fresh.put({ cmd: MSG_CMD.CANCEL }))[0]).toBe(
    0,
  );
});

test("MSG-6.MEMREF_NULL: a NULL reference is one since 3.9, and bad before", () => {
  const tiny = new TinyTa(1, TINY_FLAGS.multiInstance);
  const invoke = (minor: number, attr: number): [number, number] => {
    const kit = new SecureKit({ build: { version: { major: 3, minor } }, userTas: [tiny.ta] });
    const { session } = kit.open(tiny.uuid);
    const params = [value(ATTR_TYPE.VALUE_INPUT, 0n), { attr: BigInt(attr) }];
    return [
      kit.invoke(session, TINY_CMD.RETURN, params).ret,
      capabilities(kit) & SEC_CAP.MEMREF_NULL,
    ];
  };
  for (const attr of [ATTR_TYPE.TMEM_INPUT, 0x209]) {
    expect(invoke(8, attr)).toEqual([TEEC.TEEC_ERROR_BAD_PARAMETERS, 0]);
    expect(invoke(9, attr)).toEqual([0, SEC_CAP.MEMREF_NULL]);
  }
});

test("MSG-6.ASYNC_NOTIF: asynchronous notifications come with 3.16", () => {
  const kits = [release(3, 15), release(3, 16)];
  expect(kits.map((kit) => capabilities(kit) & SEC_CAP.ASYNC_NOTIF)).toEqual([
    0,
    SEC_CAP.ASYNC_NOTIF,
  ]);
  expect(kits.map((kit) => kit.smc(OPTEE_SMC.ENABLE_ASYNC_NOTIF).get(0))).toEqual([0xffff_ffff, 0]);
  expect(kits.map((kit) => kit.call({ cmd: MSG_CMD.DO_BOTTOM_HALF }).a0)).toEqual([5, 0]);
});

test("SMC-10.NOTIFICATION_RPC, MSG-3.9: sleeping and waking have the numbers of the wait queue that came before", () => {
  expect([RPC_CMD.NOTIFICATION, NOTIFICATION_OP]).toEqual([4, { WAIT: 0, SEND: 1 }]);
  for (const { minor, base } of [
    { minor: 15, base: 0 },
    { minor: 16, base: 64 },
  ]) {
    expect(release(3, minor).world.core.syncNotificationBase).toBe(base);
  }
});

const probeBit = (minor: number, rpmbProbe: boolean): number =>
  capabilities(release(4, minor, { rpmbProbe })) & SEC_CAP.RPMB_PROBE;

test("MSG-6.RPMB_PROBE: probing is announced since 4.4, where built", () => {
  expect([probeBit(3, true), probeBit(4, true), probeBit(5, true), probeBit(5, false)]).toEqual([
    0,
    SEC_CAP.RPMB_PROBE,
    SEC_CAP.RPMB_PROBE,
    0,
  ]);
});

test("SMC-10.RPC_ARG, SMC-10.RESUME_CLIENT_CHECK, MSG-6.PROTMEM: what a release can do only grows, but for the check that 3.7 gave up", () => {
  const newest = { ...DEBIAN_4_5, protectedMemory: "lent" as const };
  const at = (major: number, minor: number): ReturnType<typeof featuresOf> =>
    featuresOf({ ...newest, version: { major, minor } });
  expect(at(3, 4)).toEqual({
    threadCount: false,
    checksClientOnResume: true,
    nullMemrefs: false,
    asyncNotif: false,
    rpcArg: false,
    refusesUnknownClient: false,
    rpmbProbe: false,
    refusesClientZero: false,
    keepCrashed: false,
    protectedMemory: undefined,
    locksOpening: false,
    dropsTemporary: false,
  });
  expect(at(4, 10)).toEqual({
    threadCount: true,
    checksClientOnResume: false,
    nullMemrefs: true,
    asyncNotif: true,
    rpcArg: true,
    refusesUnknownClient: true,
    rpmbProbe: true,
    refusesClientZero: true,
    keepCrashed: true,
    protectedMemory: "lent",
    locksOpening: true,
    dropsTemporary: false,
  });
  expect(at(4, 11).dropsTemporary).toBe(true);
  expect([
    isSince(DEBIAN_4_5, 4, 5),
    isSince(DEBIAN_4_5, 4, 6),
    isSince(DEBIAN_4_5, 3, 99),
  ]).toEqual([true, false, true]);
});

/** What one guest does with a TA, start to end; everything that it sees. */
function scenario(kit: SecureKit, tiny: TinyTa): unknown {
  if (kit.world.core.build.virtualization) {
    kit.clientId = 7;
    kit.smc(OPTEE_SMC.VM_CREATED, 7);
  }
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, kit.clientId);
  const opened = kit.open(tiny.uuid);
  const dynamic = kit.world.core.build.dynamicShm;
  const registered = dynamic ? kit.register(3n).result.ret : kit.call({ cmd: 4 }).a0;
  const params: Param[] = [
    value(ATTR_TYPE.VALUE_INOUT, 1n, 2n),
    { attr: BigInt(ATTR_TYPE.RMEM_OUTPUT), a: 0n, b: 8n, c: 3n },
  ];
  const invoked = kit.invoke(
    opened.session,
    TINY_CMD.CHANGE,
    dynamic ? params : params.slice(0, 1),
  );
  const closed = kit.close(opened.session).ret;
  let cookies = 0;
  const disable = [OPTEE_SMC.DISABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, kit.clientId];
  while (kit.smc(...disable).get(0) === 0) cookies += 1;
  return {
    opened: [opened.ret, opened.session],
    registered,
    invoked: [invoked.ret, invoked.params.map(({ a, b }) => [a, b])],
    closed,
    cookies,
  };
}

const expected = (dynamic: boolean, cookies: number): unknown => ({
  opened: [0, 1],
  registered: dynamic ? 0 : 5,
  invoked: [
    TEEC.TEEC_ERROR_SHORT_BUFFER,
    dynamic
      ? [
          [0xaaaa_aaaan, 0xbbbb_bbbbn],
          [0n, 15n],
        ]
      : [[0xaaaa_aaaan, 0xbbbb_bbbbn]],
  ],
  closed: 0,
  cookies,
});

const SCENARIOS: readonly (readonly [string, OpteeBuild, unknown])[] = [
  ["Debian 4.5", DEBIAN_4_5, expected(true, 1)],
  ["Debian 4.5 virtualized", DEBIAN_4_5_VIRTUALIZED, expected(true, 1)],
  ["4.10", OPTEE_4_10, expected(true, 1)],
  ["4.10 virtualized", { ...OPTEE_4_10, virtualization: true }, expected(true, 1)],
  ["4.5 without reserved memory", { ...DEBIAN_4_5, reservedShm: undefined }, expected(true, 1)],
  ["4.5 without the cache", { ...DEBIAN_4_5, preallocRpcCache: false }, expected(true, 0)],
  ["4.5 with one thread", { ...DEBIAN_4_5, threads: 1 }, expected(true, 1)],
  ["4.5 with ten threads", { ...DEBIAN_4_5, threads: 10 }, expected(true, 1)],
  [
    "4.5 without notifications and RPMB",
    { ...DEBIAN_4_5, asyncNotif: false, rpmbProbe: false },
    expected(true, 1),
  ],
  ["3.5", { ...DEBIAN_4_5, version: { major: 3, minor: 5 } }, expected(true, 1)],
];

test.each(SCENARIOS)(
  "MSG-2.OPEN_SESSION, MSG-2.INVOKE_COMMAND, MSG-2.CLOSE_SESSION: a session goes the same way under %s",
  (_, build, seen) => {
    const tiny = new TinyTa(1, TINY_FLAGS.shared);
    const kit = new SecureKit({ build, userTas: [tiny.ta] });
    expect(scenario(kit, tiny)).toEqual(seen);
    const [partition] = kit.world.partitions.all;
    expect(partition?.contexts).toEqual([]);
    expect([...(partition?.registered.objects() ?? [])].map(({ cookieLow }) => cookieLow)).toEqual([
      3,
    ]);
  },
);

test("MSG-2.OPEN_SESSION, SMC-3.1.DYNAMIC_SHM: without dynamic memory a session lives in the reserved pool", () => {
  const tiny = new TinyTa(1, TINY_FLAGS.shared);
  const kit = new SecureKit({
    build: { dynamicShm: false },
    userTas: [tiny.ta],
    pool: { base: 0x4210_0000, size: 0x8_0000 },
  });
  expect(scenario(kit, tiny)).toEqual(expected(false, 1));
  // Buffers of the pool are named by address in RPCs (MSG-3.4), and are no registered objects.
  const memrefs = kit.rpcs.flatMap(({ message }) =>
    message?.cmd === RPC_CMD.LOAD_TA ? [message.params[1]?.attr] : [],
  );
  expect(memrefs).toEqual([BigInt(ATTR_TYPE.TMEM_OUTPUT), BigInt(ATTR_TYPE.TMEM_OUTPUT)]);
  expect(kit.world.partitions.all[0]?.registered.count).toBe(0);
});

test("MSG-3.4: a payload of cookie 0 cannot be named, so the request for it is never sent", () => {
  const tiny = new TinyTa(1, TINY_FLAGS.shared);
  const kit = new SecureKit({ userTas: [tiny.ta] });
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.SHM_ALLOC) return false;
    const pages = Array.from({ length: 4 }, () => own.page());
    const params = [{ attr: 0x20an, a: own.listOf(pages), b: 16_384n, c: 0n }];
    own.reply({ ...message, params: params.map((each) => ({ ...each })) }, at, 0);
    return true;
  };
  expect(kit.open(tiny.uuid).ret).not.toBe(0);
  const loads = kit.rpcs.filter(({ message }) => message?.cmd === RPC_CMD.LOAD_TA);
  expect(loads.every(({ message }) => message?.params[1]?.a === 0n)).toBe(true);
  expect(kit.rpcs.filter(({ func }) => func === RPC_FUNC.CMD).length).toBeGreaterThan(1);
});
