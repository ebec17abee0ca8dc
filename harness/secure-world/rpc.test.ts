import { expect, test } from "@jest/globals";
import { uuidOctets } from "../base/index.ts";
import {
  ATTR_TYPE,
  encodeMessage,
  type Message,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import {
  buildTaImage,
  CRYPT_UUID,
  cryptTa,
  OS_TEST_CMD,
  OS_TEST_UUID,
  SIMS_UUID,
} from "./tas/index.ts";
import { openMessage, rmem, SecureKit, value } from "./testkit/kit.ts";

const commands = (kit: SecureKit, cmd: number): Message[] =>
  kit.rpcs.flatMap(({ message }) => (message?.cmd === cmd ? [message] : []));

test("MSG-3.1: a request is zeroed and preset to GENERIC, so no answer is a failure", () => {
  const kit = new SecureKit();
  kit.onCommand = (message) => {
    if (message.cmd !== RPC_CMD.LOAD_TA) return false;
    expect(message.ret).toBe(TEEC.TEEC_ERROR_GENERIC);
    expect([message.func, message.session, message.cancel_id]).toEqual([0, 0, 0]);
    return true;
  };
  expect(kit.open(CRYPT_UUID)).toMatchObject({ ret: TEEC.TEEC_ERROR_GENERIC, ret_origin: 3 });
});

test("MSG-3.2: an answer cannot change the number or the kinds of parameters", () => {
  const kit = new SecureKit();
  kit.onCommand = (message, _kit, at) => {
    if (message.cmd !== RPC_CMD.SUSPEND) return false;
    kit.nowMs += 1000;
    kit.poke(at, encodeMessage({ cmd: 99, ret: 0, params: [value(3, 1n), value(3), value(3)] }));
    return true;
  };
  const { session } = kit.open(OS_TEST_UUID);
  expect(kit.invoke(session, OS_TEST_CMD.WAIT, [value(1, 500n)]).ret).toBe(0);
});

test("MSG-3.7: LOAD_TA asks for the size first, and the first answer's size counts", () => {
  const kit = new SecureKit();
  expect(kit.open(CRYPT_UUID).ret).toBe(0);
  const [first, second, ...more] = commands(kit, RPC_CMD.LOAD_TA);
  expect(more).toEqual([]);
  const view = new DataView(uuidOctets(CRYPT_UUID).buffer);
  for (const message of [first, second]) {
    expect(message?.params[0]).toMatchObject({
      attr: 1n,
      a: view.getBigUint64(0, true),
      b: view.getBigUint64(8, true),
    });
  }
  // NULL is TMEM with nothing in it; the buffer is named by cookie, never by address (MSG-3.4).
  expect(first?.params[1]).toEqual({ attr: 0xan, a: 0n, b: 0n, c: 0n });
  const size = BigInt(buildTaImage(cryptTa).length);
  expect(second?.params[1]).toMatchObject({ attr: 6n, a: 0n, b: size });
});

test("MSG-3.3: only well-formed answers to SHM_ALLOC are taken, and only unusable memory is freed", () => {
  const cases: { name: string; change: (m: Message, kit: SecureKit) => Message; frees: boolean }[] =
    [
      { name: "failed", change: (m) => ({ ...m, ret: 1 }), frees: false },
      { name: "no parameter", change: (m) => ({ ...m, params: [] }), frees: false },
      {
        name: "input attribute",
        change: (m, kit) => reply(m, 0x209n, kit.listOf([kit.page()]), 4096n),
        frees: false,
      },
      {
        name: "cache bits",
        change: (m, kit) => reply(m, 0x1_020an, kit.listOf([kit.page()]), 4096n),
        frees: false,
      },
      {
        name: "too small",
        change: (m, kit) => reply(m, 0x20an, kit.listOf([kit.page()]), 4095n),
        frees: false,
      },
      {
        name: "secure page",
        change: (m, kit) => reply(m, 0x20an, kit.listOf([0xe10_0000]), 4096n),
        frees: true,
      },
      { name: "no list", change: (m) => reply(m, 0x20an, 0xf000_0000n, 4096n), frees: true },
      {
        name: "contiguous elsewhere",
        change: (m) => reply(m, 0xan, 0x4800_0008n, 4096n),
        frees: true,
      },
      { name: "secure address", change: (m) => reply(m, 0xan, 0xe10_0000n, 4096n), frees: true },
    ];
  for (const { name, change, frees } of cases) {
    const kit = new SecureKit();
    kit.onCommand = (message, _kit, at) => {
      if (message.cmd !== RPC_CMD.SHM_ALLOC) return false;
      kit.poke(at, encodeMessage({ ...change({ ...message, ret: 0 }, kit) }));
      return true;
    };
    const ret = kit.open(CRYPT_UUID).ret;
    expect({ name, ret }).toEqual({ name, ret: TEEC.TEEC_ERROR_OUT_OF_MEMORY });
    const freed = commands(kit, RPC_CMD.SHM_FREE).map(({ params }) => params[0]?.b);
    expect({ name, freed: freed.includes(0x55n) }).toEqual({ name, freed: frees });
    expect(kit.world.partitions.all[0]?.registered.count).toBe(0);
  }
});

const reply = (message: Message, attr: bigint, a: bigint, b: bigint): Message => ({
  ...message,
  params: [{ attr, a, b, c: 0x55n }],
});

test("MSG-3.3, MSG-3.4: a contiguous page is accepted from anywhere in RAM, and then referred to by cookie", () => {
  const kit = new SecureKit();
  const page = kit.page();
  kit.onCommand = (message, _kit, at) => {
    if (message.cmd !== RPC_CMD.SHM_ALLOC || message.params[0]?.b !== 4096n) return false;
    kit.poke(at, encodeMessage({ ...reply(message, 0xan, BigInt(page), 4096n), ret: 0 }));
    kit.adoptPayload(0x55n, [page]);
    return true;
  };
  expect(kit.open(CRYPT_UUID).ret).toBe(0);
  const [named] = commands(kit, RPC_CMD.FS);
  expect(named?.params[1]).toMatchObject({ attr: 5n, a: 0n, c: 0x55n });
});

test("MSG-3.6: the buffer for files is kept for the call and freed at its end", () => {
  const kit = new SecureKit();
  kit.open(CRYPT_UUID);
  const small = commands(kit, RPC_CMD.SHM_ALLOC).filter(({ params }) => params[0]?.b === 4096n);
  expect(small).toHaveLength(1);
  expect(commands(kit, RPC_CMD.FS).length).toBeGreaterThan(2);
  expect(kit.livePayloads).toBe(0);
});

test("MSG-3.5: a thread has one RPC outstanding at most", () => {
  const kit = new SecureKit();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  kit.serve(registers);
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_CMD);
  const thread = registers.get(3);
  expect(kit.world.partitions.all[0]?.threads[thread]?.state).toBe("suspended");
  kit.finish(registers);
  expect(registers.get(0)).toBe(0);
});

test("MSG-2.1.3: an image that is not right is SECURITY, and an unknown one cannot be found", () => {
  const image = buildTaImage(cryptTa);
  for (const at of [0, 4, 8, 12, 16, 18, 20, 52, 84, 200, image.length - 1]) {
    const kit = new SecureKit();
    const bad = image.slice();
    bad[at] = (bad[at] ?? 0) ^ 1;
    kit.images.set(CRYPT_UUID, bad);
    const ret = kit.open(CRYPT_UUID).ret;
    expect({ at, ret }).toEqual({ at, ret: TEEC.TEEC_ERROR_SECURITY });
    expect(kit.livePayloads).toBe(0);
  }
  const kit = new SecureKit();
  kit.images.set(CRYPT_UUID, kit.images.get(SIMS_UUID) ?? image);
  expect(kit.open(CRYPT_UUID).ret).toBe(TEEC.TEEC_ERROR_SECURITY);
  kit.images.delete(CRYPT_UUID);
  expect(kit.open(CRYPT_UUID).ret).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
});

test("MSG-2.3.3: unregistering waits with NOTIFICATION until the last user is gone", () => {
  const kit = new SecureKit();
  const { session } = kit.open(OS_TEST_UUID);
  kit.register(8n);
  const waiting = kit.start(
    kit.put({
      cmd: MSG_CMD.INVOKE_COMMAND,
      session,
      func: OS_TEST_CMD.WAIT,
      params: [value(ATTR_TYPE.VALUE_INPUT, 10n), rmem(ATTR_TYPE.RMEM_INPUT, 8n, 0, 8)],
    }),
  );
  while (commandOf(kit, waiting) !== RPC_CMD.SUSPEND) kit.serve(waiting);
  const at = kit.put({ cmd: MSG_CMD.UNREGISTER_SHM, params: [rmem(5, 8n, 0, 0)] });
  const unregistering = kit.start(at);
  while (commandOf(kit, unregistering) !== RPC_CMD.NOTIFICATION) kit.serve(unregistering);
  const wait = argument(kit, unregistering);
  // Values start at 64 when asynchronous notifications are built, and name the waiting thread.
  expect(wait.params[0]).toMatchObject({ a: 0n, b: BigInt(64 + unregistering.get(3)), c: 0n });
  expect(kit.start(at).get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
  kit.rpcs.length = 0;
  kit.onCommand = (message, _kit, where) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    kit.reply(message, where, 0);
    return true;
  };
  kit.finish(waiting);
  const sent = commands(kit, RPC_CMD.NOTIFICATION);
  expect(sent[0]?.params[0]).toMatchObject({ a: 1n, b: BigInt(64 + unregistering.get(3)) });
  kit.finish(unregistering);
  expect(kit.get(at).ret).toBe(0);
  expect(kit.world.partitions.all[0]?.registered.find(0, 8)).toBeUndefined();
});

function argument(kit: SecureKit, registers: { get(index: number): number }): Message {
  const cookie = (BigInt(registers.get(1)) << 32n) | BigInt(registers.get(2));
  const at = kit.argumentAt(cookie);
  if (at === undefined) throw new Error("no argument");
  return kit.get(at);
}

const commandOf = (kit: SecureKit, registers: { get(index: number): number }): number =>
  registers.get(0) === SMC_RETURN.RPC_CMD ? argument(kit, registers).cmd : -1;

test("MSG-2.1.3: two threads that open one TA load it once for a single instance", () => {
  const kit = new SecureKit();
  const [first, second] = [kit.put(openMessage(SIMS_UUID)), kit.put(openMessage(SIMS_UUID))];
  const loading = kit.start(first);
  while (commandOf(kit, loading) !== RPC_CMD.LOAD_TA) kit.serve(loading);
  kit.onCommand = (message, _kit, where) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    kit.reply(message, where, 0);
    return true;
  };
  const joining = kit.start(second);
  while (commandOf(kit, joining) !== RPC_CMD.NOTIFICATION) kit.serve(joining);
  kit.rpcs.length = 0;
  kit.finish(loading);
  kit.finish(joining);
  expect([kit.get(first).ret, kit.get(second).ret]).toEqual([0, 0]);
  expect(commands(kit, RPC_CMD.LOAD_TA)).toHaveLength(2);
  expect(
    kit.world.partitions.all[0]?.contexts.filter(({ ta }) => ta.uuid === SIMS_UUID),
  ).toHaveLength(1);
});

test("SMC-5.5: a thread number is used again by the very next call", () => {
  const kit = new SecureKit();
  kit.open(CRYPT_UUID);
  const numbers = new Set(kit.rpcs.map(({ thread }) => thread));
  kit.rpcs.length = 0;
  kit.open(CRYPT_UUID);
  expect(new Set(kit.rpcs.map(({ thread }) => thread))).toEqual(numbers);
  expect(kit.rpcs[0]?.func).toBe(RPC_FUNC.ALLOC);
  expect(kit.smc(OPTEE_SMC.RETURN_FROM_RPC, 0, 0, 0).get(0)).toBe(SMC_RETURN.ERESUME);
});
