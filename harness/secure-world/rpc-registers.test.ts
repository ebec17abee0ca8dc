import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  messageSize,
  MSG_CMD,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import {
  CRYPT_UUID,
  INVOKE_TESTS_CMD,
  INVOKE_TESTS_UUID,
  OS_TEST_CMD,
  OS_TEST_UUID,
} from "./tas/index.ts";
import { openMessage, SecureKit, value } from "./testkit/kit.ts";

const { CALL_WITH_RPC_ARG, RETURN_FROM_RPC } = OPTEE_SMC;

test("SMC-5.ALLOC, SMC-5.1, SMC-5.2, SMC-2.RPC_ALLOC: a bad answer to ALLOC is freed by its cookie, and the call runs out of memory", () => {
  for (const { pa, cookie, frees } of [
    { pa: 0, cookie: 0, frees: false },
    { pa: 0, cookie: 77, frees: true },
    { pa: 0x4800_0004, cookie: 78, frees: true },
    { pa: 0x4800_0008, cookie: 79, frees: true },
    { pa: 0xe10_0000, cookie: 80, frees: true },
  ]) {
    const kit = new SecureKit();
    const at = kit.put(openMessage(CRYPT_UUID));
    const registers = kit.start(at);
    expect([registers.get(0), registers.get(1), registers.get(2)]).toEqual([
      SMC_RETURN.RPC_ALLOC,
      160,
      0,
    ]);
    // Every further need of a buffer is answered in the same way.
    const seen: number[] = [];
    while (registers.get(0) >= 0xffff_0000) {
      if (registers.get(0) === SMC_RETURN.RPC_FREE) seen.push(registers.get(2));
      registers.setPair(1, pa);
      registers.setPair(4, cookie);
      registers.set(0, RETURN_FROM_RPC);
      kit.world.smc(registers);
    }
    expect(registers.get(0)).toBe(0);
    expect(kit.get(at).ret).toBe(0xffff_000c);
    expect(seen.length > 0).toBe(frees);
    expect(seen.every((one) => one === cookie)).toBe(true);
  }
});

test("SMC-5.1: an argument buffer is taken from any page of RAM, or 8-byte aligned from the pool", () => {
  for (const [at, first] of [
    [0x4800_0000, true],
    [0x4200_0008, true],
    [0x421f_ff60, true],
    [0x421f_ff68, false],
    [0x4200_0004, false],
    [0x4800_0008, false],
  ] as const) {
    const kit = new SecureKit();
    const registers = kit.start(kit.put(openMessage(CRYPT_UUID), 0x4700_0000));
    registers.set(0, RETURN_FROM_RPC);
    registers.setPair(1, at);
    registers.setPair(4, 5);
    kit.world.smc(registers);
    expect([at, registers.get(0)]).toEqual([at, first ? SMC_RETURN.RPC_CMD : SMC_RETURN.RPC_FREE]);
    expect([registers.get(1), registers.get(2)]).toEqual([0, 5]);
  }
});

test("SMC-5.1: a buffer of cookie 0 is used and never given back", () => {
  const kit = new SecureKit();
  const page = kit.page();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  const seen: number[] = [];
  while (registers.get(0) >= 0xffff_0000) {
    seen.push(registers.get(0));
    if (registers.get(0) === SMC_RETURN.RPC_ALLOC) {
      registers.setPair(1, page);
      registers.setPair(4, 0);
    }
    registers.set(0, RETURN_FROM_RPC);
    kit.world.smc(registers);
  }
  expect(seen).toContain(SMC_RETURN.RPC_CMD);
  expect(seen).not.toContain(SMC_RETURN.RPC_FREE);
  expect(kit.world.partitions.all[0]?.registered.count).toBe(0);
});

test("SMC-5.3, SMC-5.FREE, SMC-2.RPC_FREE: without the cache a call that made RPCs ends with FREE of its argument", () => {
  const kit = new SecureKit();
  expect(kit.open(CRYPT_UUID).ret).toBe(0);
  const funcs = kit.rpcs.map(({ func }) => func);
  expect(funcs[0]).toBe(RPC_FUNC.ALLOC);
  expect(funcs.at(-1)).toBe(RPC_FUNC.FREE);
  expect(kit.liveArguments).toBe(0);
  expect(kit.livePayloads).toBe(0);
});

test("SMC-5.3: a call that ends with EBADCMD keeps the thread's argument, one that succeeds gives it back", () => {
  const kit = new SecureKit();
  const [partition] = kit.world.partitions.all;
  const [thread] = partition?.threads ?? [];
  const page = kit.page();
  // A kept argument can only come from the time when the cache was on.
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE);
  kit.open(CRYPT_UUID);
  if (partition !== undefined) partition.preallocRpcCache = false;
  expect(kit.call({ cmd: 99 }).a0).toBe(SMC_RETURN.EBADCMD);
  expect(thread?.rpcArgument).toBeDefined();
  kit.rpcs.length = 0;
  expect(kit.call({ cmd: MSG_CMD.CLOSE_SESSION, session: 99 }).a0).toBe(0);
  expect(kit.rpcs.map(({ func }) => func)).toEqual([RPC_FUNC.FREE]);
  expect([thread?.rpcArgument, kit.liveArguments, page > 0]).toEqual([undefined, 0, true]);
});

test("SMC-6, SMC-6.DISABLE, SMC-3.DISABLE_SHM_CACHE: with the cache on the argument stays, and DISABLE hands its cookie out", () => {
  const kit = new SecureKit();
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE);
  kit.open(CRYPT_UUID);
  expect(kit.liveArguments).toBe(1);
  kit.rpcs.length = 0;
  kit.open(CRYPT_UUID);
  expect(kit.rpcs.some(({ func }) => func === RPC_FUNC.ALLOC)).toBe(false);
  const first = kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE);
  expect(first.get(0)).toBe(0);
  const cookie = (BigInt(first.get(1)) << 32n) | BigInt(first.get(2));
  expect(kit.argumentAt(cookie)).toBeDefined();
  expect(kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE).get(0)).toBe(7);
});

test("SMC-6.ENABLE, SMC-6.DISABLE, SMC-2.EBUSY: the cache cannot be switched while a thread is in use", () => {
  const kit = new SecureKit();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE).get(0)).toBe(2);
  expect(kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE).get(0)).toBe(2);
  kit.finish(registers);
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE).get(0)).toBe(0);
});

test("SMC-6: each guest has a cache of its own, which is off at first", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  for (const client of [1, 2]) kit.smc(OPTEE_SMC.VM_CREATED, client);
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, 1);
  expect(kit.world.partitions.all.map((one) => one.preallocRpcCache)).toEqual([true, false]);
  kit.clientId = 1;
  const busy = kit.start(kit.put(openMessage(CRYPT_UUID)));
  // Only the guest's own threads count.
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, 1).get(0)).toBe(2);
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE, 0, 0, 0, 0, 0, 0, 2).get(0)).toBe(0);
  kit.finish(busy);
});

test("SMC-6.DISABLE: cookies come one a call, all of 64 bits, while the cache stays on until the last", () => {
  const kit = new SecureKit({ build: { threads: 3 } });
  const [partition] = kit.world.partitions.all;
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE);
  const calls = [1, 2].map(() => kit.start(kit.put(openMessage(CRYPT_UUID))));
  kit.onCommand = (message, own, at) => {
    if (message.cmd !== RPC_CMD.NOTIFICATION) return false;
    own.reply(message, at, 0);
    return true;
  };
  for (const call of calls) kit.finish(call);
  expect(kit.liveArguments).toBe(2);
  const disable = (): [number, boolean | undefined] => [
    kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE).get(0),
    partition?.preallocRpcCache,
  ];
  expect([disable(), disable(), disable(), disable()]).toEqual([
    [0, true],
    [0, true],
    [7, false],
    [7, false],
  ]);
  expect(partition?.registered.count).toBe(0);
});

test("SMC-5.CMD, SMC-4.1.8, SMC-2.RPC_CMD: an RPC argument that came with the call is named by cookie 0", () => {
  const kit = new SecureKit();
  const at = kit.put(openMessage(OS_TEST_UUID));
  const registers = kit.smc(CALL_WITH_RPC_ARG, 0, at);
  expect([registers.get(0), registers.get(1), registers.get(2)]).toEqual([
    SMC_RETURN.RPC_CMD,
    0,
    0,
  ]);
  const rpc = kit.get(at);
  const behind = kit.peek(at + messageSize(rpc.params.length), messageSize(4));
  expect(new DataView(behind.buffer, behind.byteOffset).getUint32(0, true)).toBe(RPC_CMD.SHM_ALLOC);
});

test("SMC-5.4: supplying an RPC argument while the cache is on frees the cached one first", () => {
  const kit = new SecureKit();
  kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE);
  kit.open(CRYPT_UUID);
  const at = kit.put({ cmd: MSG_CMD.CLOSE_SESSION, session: 99 });
  const registers = kit.smc(CALL_WITH_RPC_ARG, 0, at);
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_FREE);
  kit.finish(registers);
  expect(registers.get(0)).toBe(0);
  expect(kit.liveArguments).toBe(0);
});

test("SMC-5.6, SMC-4.3, SMC-5.FOREIGN_INTR, SMC-2.RPC_FOREIGN_INTR: one call may make many RPCs, with interrupts between any two", () => {
  let turn = 0;
  const kit = new SecureKit({ interruptPending: () => (turn += 1) % 2 === 0 });
  const { session, ret } = kit.open(OS_TEST_UUID);
  expect(ret).toBe(0);
  const wait = kit.invoke(session, OS_TEST_CMD.WAIT, [value(ATTR_TYPE.VALUE_INPUT, 100n)]);
  expect(wait.ret).toBe(0);
  const pta = kit.open(INVOKE_TESTS_UUID);
  const mutex = [value(ATTR_TYPE.VALUE_INPUT, 0n, 100_000n), value(ATTR_TYPE.VALUE_OUTPUT)];
  expect(kit.invoke(pta.session, INVOKE_TESTS_CMD.MUTEX, mutex).ret).toBe(0);
  expect(kit.rpcs.filter(({ func }) => func === RPC_FUNC.FOREIGN_INTR).length).toBeGreaterThan(5);
});

test("SMC-5, SMC-5.7: a3 is the thread at every exit, and a4 to a7 are the caller's, stale or not", () => {
  const kit = new SecureKit();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  const second = kit.start(kit.put(openMessage(OS_TEST_UUID)));
  expect([registers.get(3), second.get(3)]).toEqual([0, 1]);
  let exits = 0;
  for (; registers.get(0) >= 0xffff_0000; exits += 1) {
    kit.answer(registers);
    registers.set(0, RETURN_FROM_RPC);
    // The driver never clears the words of an ALLOC answer, nor anything behind them.
    const kept = [registers.get(4), registers.get(5), 0x66, 0x77];
    registers.set(6, 0x66);
    registers.set(7, 0x77);
    kit.world.smc(registers);
    expect([4, 5, 6, 7].map((index) => registers.get(index))).toEqual(kept);
    if (registers.get(0) >= 0xffff_0000) expect(registers.get(3)).toBe(0);
  }
  expect(exits).toBeGreaterThan(5);
  expect(registers.get(4) + registers.get(5)).toBeGreaterThan(0);
});

test("SMC-5.2: an argument buffer is allocated for the first command only", () => {
  const kit = new SecureKit();
  kit.open(CRYPT_UUID);
  const funcs = kit.rpcs.map(({ func }) => func);
  expect(funcs.filter((func) => func === RPC_FUNC.ALLOC)).toHaveLength(1);
  expect(funcs.filter((func) => func === RPC_FUNC.CMD).length).toBeGreaterThan(5);
  // A call that needs no service allocates nothing.
  kit.rpcs.length = 0;
  kit.call({ cmd: MSG_CMD.CLOSE_SESSION, session: 99 });
  expect(kit.rpcs).toHaveLength(0);
});
