import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  MSG_CMD,
  OPTEE_SMC,
  PROTMEM_USE_CASE,
  RPC_CMD,
  SEC_CAP,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import { OPTEE_4_10, type OpteeBuild } from "./build.ts";
import { TA_FLAG } from "./tas/index.ts";
import { type Param, rmem, SecureKit, value } from "./testkit/kit.ts";
import { ProbeTa } from "./testkit/probe-ta.ts";
import { TINY_CMD, TinyTa } from "./testkit/tiny-tas.ts";

const { LEND_PROTMEM, RECLAIM_PROTMEM, GET_PROTMEM_CONFIG, ASSIGN_PROTMEM } = MSG_CMD;
const { VALUE_INPUT, VALUE_INOUT, TMEM_INPUT, TMEM_OUTPUT, RMEM_INPUT } = ATTR_TYPE;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const MIB = 1024 * 1024;

const LENT: Partial<OpteeBuild> = { ...OPTEE_4_10, protectedMemory: "lent" };

function lender(
  protectedMemory: OpteeBuild["protectedMemory"] = "lent",
  flags: number = TA_FLAG.SECURE_DATA_PATH,
): { kit: SecureKit; probe: ProbeTa; session: number } {
  const probe = new ProbeTa();
  const ta = { ...probe.ta, flags: probe.ta.flags | flags };
  const build = { ...OPTEE_4_10, ...(protectedMemory === undefined ? {} : { protectedMemory }) };
  const kit = new SecureKit({ pseudoTas: [ta], userTas: [], build });
  return { kit, probe, session: kit.open(ProbeTa.uuid).session };
}

const tmem = (at: number, size: number, cookie = 0n, attr: number = TMEM_INPUT): Param => ({
  attr: BigInt(attr),
  a: BigInt(at),
  b: BigInt(size),
  c: cookie,
});
const useCase = (number: number | bigint): Param => value(VALUE_INPUT, BigInt(number));

/** ret and ret_origin of a LEND of that memory. */
function lend(
  kit: SecureKit,
  at: number,
  size: number,
  cookie: bigint,
  use: number | bigint = 1,
): number {
  const done = kit.call({
    cmd: LEND_PROTMEM,
    ret: 9,
    ret_origin: 8,
    params: [useCase(use), tmem(at, size, cookie)],
  });
  expect([done.a0, done.ret_origin]).toEqual([0, 8]);
  return done.ret;
}

const reclaim = (kit: SecureKit, cookie: bigint): number =>
  kit.call({ cmd: RECLAIM_PROTMEM, params: [rmem(RMEM_INPUT, cookie, 0, 0)] }).ret;

test("MSG-6.PROTMEM, SMC-3.1.PROTMEM, SMC-3.1.DYNAMIC_PROTMEM: commands and capability bits come with 4.9 and the build option", () => {
  const region = { base: 0xe20_0000, size: MIB };
  for (const { build, caps, known } of [
    { build: {}, caps: 0, known: false },
    { build: { ...OPTEE_4_10 }, caps: 0, known: false },
    { build: { ...LENT, version: { major: 4, minor: 8 } }, caps: 0, known: false },
    { build: { ...OPTEE_4_10, protectedMemory: { region } }, caps: SEC_CAP.PROTMEM, known: false },
    { build: LENT, caps: SEC_CAP.DYNAMIC_PROTMEM, known: true },
  ]) {
    const kit = new SecureKit({ build });
    const announced = kit.smc(OPTEE_SMC.EXCHANGE_CAPABILITIES).get(1);
    expect(announced & (SEC_CAP.PROTMEM | SEC_CAP.DYNAMIC_PROTMEM)).toBe(caps);
    for (const cmd of [LEND_PROTMEM, RECLAIM_PROTMEM, GET_PROTMEM_CONFIG]) {
      expect(kit.call({ cmd, ret: 9 }).a0).toBe(known ? 0 : SMC_RETURN.EBADCMD);
    }
    // FF-A only.
    expect(kit.call({ cmd: ASSIGN_PROTMEM, ret: 9 })).toMatchObject({ a0: 5, ret: 9 });
  }
});

test("MSG-2.LEND_PROTMEM, MSG-2.USE_CASES: use cases 1 and 2, exact shapes, whole pages of RAM", () => {
  const { kit } = lender();
  const at = kit.page(4);
  expect(PROTMEM_USE_CASE).toEqual({
    RESERVED: 0,
    SECURE_VIDEO_PLAY: 1,
    TRUSTED_UI: 2,
    SECURE_VIDEO_RECORD: 3,
  });
  expect([1, 2].map((use) => lend(kit, at, 8192, BigInt(use), use))).toEqual([0, 0]);
  for (const use of [0, 3, 4, 0x1_0000_0001n]) expect(lend(kit, at, 4096, 3n, use)).toBe(BAD);
  for (const [start, size] of [
    [at + 1, 4096],
    [at, 4095],
    [at, 0],
    [0xe10_0000, 4096],
    [0x4fff_f000, 8192],
    [2 ** 51, 4096],
  ] as const) {
    expect(lend(kit, start, size, 3n)).toBe(BAD);
  }
  const good = [useCase(1), tmem(at, 4096, 4n)];
  for (const params of [
    [],
    good.slice(0, 1),
    [...good, {}],
    [value(2, 1n), tmem(at, 4096)],
    [useCase(1), tmem(at, 4096, 4n, TMEM_OUTPUT)],
    [useCase(1), tmem(at, 4096, 4n, 0x209)],
  ]) {
    expect(kit.call({ cmd: LEND_PROTMEM, params }).ret).toBe(BAD);
  }
});

test("MSG-2.LEND_PROTMEM: memory that is shared cannot be lent, and lent memory cannot be shared", () => {
  const { kit } = lender();
  const { pages } = kit.register(7n);
  const [shared = 0] = pages;
  expect(lend(kit, shared - 4096, 8192, 1n)).toBe(BAD);
  kit.unregister(7n);
  expect(lend(kit, shared, 4096, 1n)).toBe(0);
  const register = (): number =>
    kit.call({
      cmd: MSG_CMD.REGISTER_SHM,
      params: [{ attr: 0x20an, a: kit.listOf([shared]), b: 4096n, c: 8n }],
    }).ret;
  expect(register()).toBe(BAD);
  // A message in lent memory is nowhere that could be mapped.
  kit.put({ cmd: 99 }, shared);
  expect(kit.words(OPTEE_SMC.CALL_WITH_ARG, 0, shared)[0]).toBe(SMC_RETURN.EBADADDR);
  expect(kit.words(OPTEE_SMC.CALL_WITH_REGD_ARG, 0, 1, 0)[0]).toBe(SMC_RETURN.ENOMEM);
  // The page of the running message is shared too.
  const at = kit.page();
  kit.put({ cmd: LEND_PROTMEM, params: [useCase(1), tmem(at, 4096, 2n)] }, at);
  kit.finish(kit.start(at));
  expect(kit.get(at).ret).toBe(BAD);
  expect([reclaim(kit, 1n), register()]).toEqual([0, 0]);
});

test("MSG-2.2.TMEM_CONTIGUOUS: lent memory is referred to by address or cookie, by TAs that may", () => {
  const { kit, probe, session } = lender();
  const at = kit.page(2);
  kit.poke(at + 4096, Uint8Array.of(1, 2, 3));
  expect(lend(kit, at, 8192, 6n)).toBe(0);
  expect(kit.invoke(session, 0, [tmem(at + 4096, 3), rmem(RMEM_INPUT, 6n, 4097, 2)]).ret).toBe(0);
  expect([[...probe.param(0).read()], [...probe.param(1).read()]]).toEqual([
    [1, 2, 3],
    [2, 3],
  ]);
  for (const params of [[tmem(at + 8190, 3)], [tmem(at - 1, 3)], [tmem(at + 8192, 0)]]) {
    expect(kit.invoke(session, 0, params)).toMatchObject({ ret: BAD, ret_origin: 3 });
  }
  expect(kit.invoke(session, 0, [rmem(RMEM_INPUT, 6n, 8190, 3)]).ret).toBe(
    TEEC.TEEC_ERROR_SECURITY,
  );
  const other = lender("lent", 0);
  const theirs = other.kit.page(2);
  expect(lend(other.kit, theirs, 8192, 6n)).toBe(0);
  expect(other.kit.invoke(other.session, 0, [tmem(theirs, 3)])).toMatchObject({
    ret: BAD,
    ret_origin: 3,
  });
  expect(other.kit.open(ProbeTa.uuid, [tmem(theirs, 3)])).toMatchObject({
    ret: BAD,
    ret_origin: 3,
  });
  // Nothing is held of what was refused.
  expect([reclaim(kit, 6n), reclaim(other.kit, 6n)]).toEqual([0, 0]);
});

test("MSG-2.2.TMEM_CONTIGUOUS: a protected region of the build is referred to by address", () => {
  const region = { base: 0xe20_0000, size: MIB };
  const { kit, probe, session } = lender({ region });
  expect(kit.words(OPTEE_SMC.GET_PROTMEM_CONFIG)).toEqual([0, region.base, MIB, 64]);
  probe.next = ([memory]) => {
    memory.write(Uint8Array.of(5));
    return TEEC.TEEC_SUCCESS;
  };
  const last = region.base + MIB - 1;
  expect(kit.invoke(session, 0, [tmem(last, 1, 0n, TMEM_OUTPUT)]).ret).toBe(0);
  probe.next = () => TEEC.TEEC_SUCCESS;
  kit.invoke(session, 0, [tmem(last, 1)]);
  expect([...probe.param(0).read()]).toEqual([5]);
  expect(kit.invoke(session, 0, [tmem(last, 2)]).ret).toBe(BAD);
  expect(kit.invoke(session, 0, [tmem(region.base - 1, 2)]).ret).toBe(BAD);
});

test("MSG-2.RECLAIM_PROTMEM: exactly one RMEM_INPUT with the cookie, once, and not while it is used", () => {
  const tiny = new TinyTa(1, TA_FLAG.SECURE_DATA_PATH);
  const kit = new SecureKit({ userTas: [tiny.ta], build: LENT });
  const at = kit.page();
  lend(kit, at, 4096, 6n);
  for (const params of [
    [],
    [{}, {}],
    [value(VALUE_INPUT, 6n, 0n, 6n)],
    [rmem(ATTR_TYPE.RMEM_INOUT, 6n, 0, 0)],
  ]) {
    expect(kit.call({ cmd: RECLAIM_PROTMEM, params, ret_origin: 8 })).toMatchObject({
      ret: BAD,
      ret_origin: 3,
    });
  }
  const params = [rmem(RMEM_INPUT, 7n, 0, 0)];
  expect(kit.call({ cmd: RECLAIM_PROTMEM, params, ret_origin: 8 })).toMatchObject({
    ret: BAD,
    ret_origin: 8,
  });
  const { session } = kit.open(tiny.uuid);
  const using = kit.start(
    kit.put({
      cmd: MSG_CMD.INVOKE_COMMAND,
      session,
      func: TINY_CMD.WAIT,
      params: [value(VALUE_INPUT, 10n), rmem(RMEM_INPUT, 6n, 0, 1)],
    }),
  );
  while (kit.commandOf(using) !== RPC_CMD.SUSPEND) kit.serve(using);
  const message = kit.put({ cmd: RECLAIM_PROTMEM, params: [rmem(RMEM_INPUT, 6n, 0, 0)] });
  const reclaiming = kit.start(message);
  while (kit.commandOf(reclaiming) !== RPC_CMD.NOTIFICATION) kit.serve(reclaiming);
  // From here on it cannot be referred to by address, nor reclaimed again.
  expect(reclaim(kit, 6n)).toBe(BAD);
  kit.onCommand = (command, own, where) => {
    if (command.cmd !== RPC_CMD.NOTIFICATION) return false;
    own.reply(command, where, 0);
    return true;
  };
  kit.finish(using);
  kit.finish(reclaiming);
  expect([kit.get(message).ret, reclaim(kit, 6n)]).toEqual([0, BAD]);
  expect(kit.world.partitions.all[0]?.lent.count).toBe(0);
});

test("MSG-2.GET_PROTMEM_CONFIG: the use case goes in; size, alignment and address width come out", () => {
  const { kit } = lender();
  const none = tmem(0, 0, 0n, TMEM_OUTPUT);
  const config = (use: bigint, buffer: Param = none): unknown => {
    const done = kit.call({
      cmd: GET_PROTMEM_CONFIG,
      ret_origin: 8,
      params: [value(VALUE_INOUT, use, 7n, 8n), buffer],
    });
    const [first] = done.params;
    return [done.ret, done.ret_origin, first?.a, first?.b, first?.c];
  };
  expect(config(1n)).toEqual([0, 3, BigInt(MIB), 4096n, 64n]);
  kit.register(9n);
  expect(config(1n, rmem(ATTR_TYPE.RMEM_OUTPUT, 9n, 0, 8))).toEqual([
    0,
    3,
    BigInt(MIB),
    4096n,
    64n,
  ]);
  // A use case that the platform has nothing for: the width is told all the same.
  expect(config(2n)).toEqual([BAD, 3, 2n, 7n, 64n]);
  expect(config(1n, tmem(0, 0))).toEqual([BAD, 3, 1n, 7n, 8n]);
  expect(config(1n, rmem(ATTR_TYPE.RMEM_OUTPUT, 99n, 0, 8))).toEqual([BAD, 3, 1n, 7n, 8n]);
  for (const params of [[], [value(VALUE_INOUT, 1n)], [useCase(1), none]]) {
    expect(kit.call({ cmd: GET_PROTMEM_CONFIG, params })).toMatchObject({
      ret: BAD,
      ret_origin: 3,
    });
  }
});
