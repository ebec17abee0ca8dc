import { expect, test } from "@jest/globals";
import {
  ATTR_TYPE,
  encodeMessage,
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

const { CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG, RETURN_FROM_RPC } = OPTEE_SMC;
const POOL = 0x4200_0000;
const POOL_END = POOL + 0x20_0000;

test("SMC-4.1.1: a guest without partition gets ENOTAVAIL before anything else", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  const at = kit.put({ cmd: 99 });
  expect(kit.words(CALL_WITH_ARG, 0, at, 3)).toEqual([7, 0, at, 3]);
  expect(kit.words(RETURN_FROM_RPC, 1, 2, 3)).toEqual([7, 1, 2, 3]);
});

test("SMC-4.1.2: an unknown yielding function is EBADCMD, and ETHREAD_LIMIT when all threads are busy", () => {
  const kit = new SecureKit({ build: { threads: 1 } });
  expect(kit.words(0x3200_0020, 1, 2, 3)).toEqual([5, 0, 0, 0]);
  const busy = kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(busy.get(0)).toBe(SMC_RETURN.RPC_ALLOC);
  expect(kit.words(0x3200_0020, 1, 2, 3)).toEqual([1, 1, 2, 3]);
});

test("SMC-4.1.3: threads are taken lowest first, and without a free one nothing changes", () => {
  const kit = new SecureKit();
  const start = (): number[] => {
    const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
    return [registers.get(0), registers.get(3)];
  };
  expect([start(), start()]).toEqual([
    [SMC_RETURN.RPC_ALLOC, 0],
    [SMC_RETURN.RPC_ALLOC, 1],
  ]);
  const at = kit.put(openMessage(CRYPT_UUID));
  expect(kit.words(CALL_WITH_ARG, 0, at, 0x33)).toEqual([1, 0, at, 0x33]);
});

test("SMC-4.1.5: by address, a message lies in one page of RAM or in the reserved pool", () => {
  const kit = new SecureKit();
  const empty = encodeMessage({ cmd: 99 });
  const a0 = (at: number, fid: number = CALL_WITH_ARG): number | undefined => {
    if (at < 0x5000_0000) kit.poke(at, empty);
    return kit.words(fid, Math.floor(at / 2 ** 32), at >>> 0, 0)[0];
  };
  const page = kit.page();
  expect([a0(page), a0(page + 8), a0(page + 2048)]).toEqual([5, 4, 4]);
  expect([a0(POOL + 8), a0(POOL + 4), a0(POOL + 4096 - 8)]).toEqual([5, 4, 5]);
  expect([a0(POOL_END - 32), a0(POOL_END - 24)]).toEqual([5, 4]);
  // Secure RAM and addresses where nothing is.
  expect([a0(0x8000_0000), a0(2 ** 40)]).toEqual([4, 4]);
  expect(kit.words(CALL_WITH_ARG, 0, 0xe10_0000, 0)[0]).toBe(4);
});

test("SMC-4.1.6: by cookie, a message lies in a registered object with its RPC argument behind it", () => {
  const kit = new SecureKit();
  const { pages } = kit.register(0x5_0000_0001n, 1);
  const [page = 0] = pages;
  kit.poke(page + 384, encodeMessage({ cmd: 99 }));
  const a0 = (offset: number, low = 1): number | undefined =>
    kit.words(CALL_WITH_REGD_ARG, 5, low, offset)[0];
  expect([a0(384), a0(388), a0(4096), a0(0, 2)]).toEqual([5, 4, 4, 4]);
  // The message fits and its RPC argument does not.
  const last = 4096 - messageSize(0) - 159;
  expect(a0(Math.ceil(last / 8) * 8)).toBe(4);
  // Zeros are an OPEN_SESSION without parameters: refused in the message, not in a0.
  expect(a0(4096 - messageSize(0) - 160)).toBe(0);
});

test("SMC-4.1.7: more than 127 parameters are EBADADDR, and num_params is read once", () => {
  const kit = new SecureKit();
  const a0 = (count: number): number | undefined => {
    const at = kit.put({ cmd: 99 });
    kit.poke(at + 28, Uint8Array.of(count, 0, 0, 0));
    return kit.words(CALL_WITH_ARG, 0, at, 0)[0];
  };
  expect([a0(127), a0(128)]).toEqual([5, 4]);
});

test("SMC-4.1.8: with an RPC argument in the page, 122 parameters are the most", () => {
  const kit = new SecureKit();
  const a0 = (count: number): number | undefined => {
    const at = kit.put({ cmd: 99 });
    kit.poke(at + 28, Uint8Array.of(count, 0, 0, 0));
    return kit.words(CALL_WITH_RPC_ARG, 0, at, 0)[0];
  };
  expect([a0(122), a0(123)]).toEqual([5, 4]);
});

test("SMC-4.1.9: an unknown command leaves the message alone", () => {
  const kit = new SecureKit();
  const done = kit.call({ cmd: 99, ret: 0x1234, ret_origin: 9, session: 5 });
  expect(done).toMatchObject({ a0: 5, ret: 0x1234, ret_origin: 9, session: 5 });
});

test("SMC-4.1.10: a completed call clears a1 to a3 and frees its thread", () => {
  const kit = new SecureKit();
  const at = kit.put({ cmd: MSG_CMD.CLOSE_SESSION, session: 9 });
  const registers = kit.smc(CALL_WITH_ARG, 0, at, 0x33, 0x44, 0x55, 0x66, 0);
  expect(Array.from({ length: 8 }, (_, index) => registers.get(index))).toEqual([
    0, 0, 0, 0, 0x44, 0x55, 0x66, 0,
  ]);
  expect(kit.world.partitions.all[0]?.threads.map(({ state }) => state)).toEqual(["free", "free"]);
});

test("SMC-4.2: only a suspended thread can be resumed, in its own partition", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  kit.smc(OPTEE_SMC.VM_CREATED, 1);
  kit.smc(OPTEE_SMC.VM_CREATED, 2);
  const resume = (thread: number, client: number): number =>
    kit.smc(RETURN_FROM_RPC, 0, 0, thread, 0, 0, 0, client).get(0);
  expect([resume(0, 1), resume(2, 1), resume(0xffff_ffff, 1)]).toEqual([3, 3, 3]);
  kit.clientId = 1;
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_ALLOC);
  expect(resume(0, 2)).toBe(3);
  kit.finish(registers);
  expect(resume(0, 1)).toBe(3);
});

test("SMC-4.2: thread numbers of different guests overlap", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  const threads = [1, 2].map((client) => {
    kit.smc(OPTEE_SMC.VM_CREATED, client);
    kit.clientId = client;
    return kit.start(kit.put(openMessage(CRYPT_UUID))).get(3);
  });
  expect(threads).toEqual([0, 0]);
});

test("SMC-4.3: a foreign interrupt ends in an exit whose resume takes no registers", () => {
  let pending = true;
  const kit = new SecureKit({ interruptPending: () => pending });
  const at = kit.put(openMessage(INVOKE_TESTS_UUID));
  const registers = kit.start(at);
  expect([0, 1, 2, 3].map((index) => registers.get(index))).toEqual([
    SMC_RETURN.RPC_FOREIGN_INTR,
    0,
    0,
    0,
  ]);
  pending = false;
  const [thread] = kit.world.partitions.all[0]?.threads ?? [];
  thread?.reply.fill(7);
  const done = kit.smc(RETURN_FROM_RPC, 1, 2, 0, 3, 4, 0, 0);
  expect(done.get(0)).toBe(0);
  expect([...(thread?.reply ?? [])]).toEqual([7, 7, 7, 7]);
  expect(kit.get(at)).toMatchObject({ ret: 0, session: 1 });
});

test("SMC-5.1: a bad answer to ALLOC is freed by its cookie, and the call runs out of memory", () => {
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

test("SMC-5.3: without the cache a call that made RPCs ends with FREE of its argument", () => {
  const kit = new SecureKit();
  expect(kit.open(CRYPT_UUID).ret).toBe(0);
  const funcs = kit.rpcs.map(({ func }) => func);
  expect(funcs[0]).toBe(RPC_FUNC.ALLOC);
  expect(funcs.at(-1)).toBe(RPC_FUNC.FREE);
  expect(kit.liveArguments).toBe(0);
  expect(kit.livePayloads).toBe(0);
});

test("SMC-6: with the cache on the argument stays, and DISABLE hands its cookie out", () => {
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

test("SMC-6: the cache cannot be switched while a thread is in use", () => {
  const kit = new SecureKit();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE).get(0)).toBe(2);
  expect(kit.smc(OPTEE_SMC.DISABLE_SHM_CACHE).get(0)).toBe(2);
  kit.finish(registers);
  expect(kit.smc(OPTEE_SMC.ENABLE_SHM_CACHE).get(0)).toBe(0);
});

test("SMC-5: an RPC argument that came with the call is named by cookie 0", () => {
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

test("SMC-8.5: what is suspended in a destroyed partition vanishes with it", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  kit.smc(OPTEE_SMC.VM_CREATED, 1);
  kit.clientId = 1;
  kit.start(kit.put(openMessage(CRYPT_UUID)));
  kit.smc(OPTEE_SMC.VM_DESTROYED, 1);
  expect(kit.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1).get(0)).toBe(7);
  kit.smc(OPTEE_SMC.VM_CREATED, 1);
  expect(kit.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, 1).get(0)).toBe(3);
});

test("SMC-4.1.4: the first yielding call of a guest initializes its runtime", () => {
  const kit = new SecureKit();
  const [partition] = kit.world.partitions.all;
  expect(partition?.runtimeInitialized).toBe(false);
  kit.call({ cmd: 99 });
  expect(partition?.runtimeInitialized).toBe(true);
});

test("SMC-5.6: one call may make many RPCs, with interrupts between any two", () => {
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
