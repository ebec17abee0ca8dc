import { expect, test } from "@jest/globals";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  encodeMessage,
  messageSize,
  MSG_CMD,
  OPTEE_SMC,
  SMC_RETURN,
  TEEC,
} from "../optee-abi/index.ts";
import { CRYPT_UUID } from "./tas/index.ts";
import { openMessage, SecureKit } from "./testkit/kit.ts";

const { CALL_WITH_ARG, CALL_WITH_RPC_ARG, CALL_WITH_REGD_ARG, RETURN_FROM_RPC } = OPTEE_SMC;
const POOL = 0x4200_0000;
const POOL_END = POOL + 0x20_0000;

test("SMC-4.1.1, SMC-4.1.A7, SMC-2.ENOTAVAIL: a guest without partition gets ENOTAVAIL before anything else", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  const at = kit.put({ cmd: 99 });
  expect(kit.words(CALL_WITH_ARG, 0, at, 3)).toEqual([7, 0, at, 3]);
  expect(kit.words(RETURN_FROM_RPC, 1, 2, 3)).toEqual([7, 1, 2, 3]);
});

test("SMC-4.1.2, SMC-2.EBADCMD: an unknown yielding function is EBADCMD, and ETHREAD_LIMIT when all threads are busy", () => {
  const kit = new SecureKit({ build: { threads: 1 } });
  expect(kit.words(0x3200_0020, 1, 2, 3)).toEqual([5, 0, 0, 0]);
  const busy = kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(busy.get(0)).toBe(SMC_RETURN.RPC_ALLOC);
  expect(kit.words(0x3200_0020, 1, 2, 3)).toEqual([1, 1, 2, 3]);
});

test("SMC-4.1.3, SMC-2.ETHREAD_LIMIT: threads are taken lowest first, and without a free one nothing changes", () => {
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

test("SMC-4.1.5, SMC-4.1.A1_A2, SMC-2.EBADADDR: by address, a message lies in one page of RAM or in the reserved pool", () => {
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

test("SMC-4.1.6, SMC-4.1.A1_A2, SMC-4.1.A3, MSG-2.3.5: by cookie, a message lies in a registered object with its RPC argument behind it", () => {
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

test("SMC-4.1.7: more than 127 parameters are EBADADDR, and their number is read once", () => {
  const kit = new SecureKit();
  const a0 = (count: number): number | undefined => {
    const at = kit.put({ cmd: 99 });
    kit.poke(at + 28, new Uint8Array(Uint32Array.of(count).buffer));
    return kit.words(CALL_WITH_ARG, 0, at, 0)[0];
  };
  expect([a0(127), a0(128), a0(0xffff_ffff)]).toEqual([5, 4, 4]);
  // The page says 0 when it is first looked at and 5 ever after: 0 counts.
  let seen = 0;
  let message = 0;
  const racing = new SecureKit({
    onAccess: (page, own) => {
      if (page !== message) return;
      if (seen > 1) own.poke(message + 28, Uint8Array.of(5));
      seen += 1;
    },
  });
  message = racing.put({ cmd: MSG_CMD.CLOSE_SESSION, session: 9 });
  racing.smc(CALL_WITH_ARG, 0, message);
  expect(seen).toBeGreaterThan(2);
  expect(racing.get(message).ret).toBe(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
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

test("SMC-4.1.9, MSG-2.OTHER: an unknown command leaves the message alone", () => {
  const kit = new SecureKit();
  const done = kit.call({ cmd: 99, ret: 0x1234, ret_origin: 9, session: 5 });
  expect(done).toMatchObject({ a0: 5, ret: 0x1234, ret_origin: 9, session: 5 });
});

test("SMC-4.1.10, SMC-4.1.11: a completed call clears a1 to a3 and frees its thread", () => {
  const kit = new SecureKit();
  const at = kit.put({ cmd: MSG_CMD.CLOSE_SESSION, session: 9 });
  const registers = kit.smc(CALL_WITH_ARG, 0, at, 0x33, 0x44, 0x55, 0x66, 0);
  expect(Array.from({ length: 8 }, (_, index) => registers.get(index))).toEqual([
    0, 0, 0, 0, 0x44, 0x55, 0x66, 0,
  ]);
  expect(kit.world.partitions.all[0]?.threads.map(({ state }) => state)).toEqual(["free", "free"]);
});

test("SMC-4.1.6, SMC-2.ENOMEM: an object that the core cannot map is ENOMEM", () => {
  const kit = new SecureKit({ build: { shmAddressSpace: 2 * 4096 } });
  const small = kit.register(1n, 2);
  kit.register(2n, 3);
  const a0 = (cookie: number): number | undefined => kit.words(CALL_WITH_REGD_ARG, 0, cookie, 0)[0];
  kit.poke(small.pages[0] ?? 0, encodeMessage({ cmd: 99 }));
  expect([a0(1), a0(2), a0(3)]).toEqual([5, SMC_RETURN.ENOMEM, SMC_RETURN.EBADADDR]);
});

test("SMC-4.1.5: a message outside of RAM that can be shared is EBADADDR without dynamic memory", () => {
  const kit = new SecureKit({ build: { dynamicShm: false } });
  expect(kit.words(CALL_WITH_ARG, 0, kit.put({ cmd: 99 }))[0]).toBe(4);
  expect(kit.words(CALL_WITH_ARG, 0, kit.put({ cmd: 99 }, POOL))[0]).toBe(5);
  // What needs dynamic memory is not built then.
  const at = kit.put({ cmd: MSG_CMD.REGISTER_SHM, params: [{ attr: 0x20an }] }, POOL);
  expect(kit.words(CALL_WITH_ARG, 0, at)[0]).toBe(5);
  expect(kit.words(CALL_WITH_REGD_ARG, 0, 0)[0]).toBe(4);
});

test("SMC-4.1.A3, SMC-4.1.A4_A5, SMC-4.1.A6: the cache setting and unused registers change nothing", () => {
  const kit = new SecureKit();
  for (const [a3, a4, a5, a6] of [
    [0, 0, 0, 0],
    [1, 1, 2, 3],
    [0xffff_ffff, 0xdead, 0xbeef, 0xffff_ffff],
  ] as const) {
    const at = kit.put({ cmd: MSG_CMD.CANCEL, session: 7 });
    const registers = kit.smc(CALL_WITH_ARG, 0, at, a3, a4, a5, a6, 0);
    expect([4, 5, 6].map((index) => registers.get(index))).toEqual([a4, a5, a6]);
    expect([registers.get(0), kit.get(at).ret]).toEqual([0, TEEC.TEEC_ERROR_BAD_PARAMETERS]);
  }
});

test("SMC-0.PAIRS, SMC-0.WIDTH: an address is a pair of low words, the high one first", () => {
  const kit = new SecureKit();
  const at = kit.put({ cmd: 99 });
  const registers = kit.smc();
  registers.set64(0, BigInt(CALL_WITH_ARG));
  registers.set64(1, 0xaaaa_0000_0000_0000n);
  registers.set64(2, 0xbbbb_0000_0000_0000n | BigInt(at));
  kit.world.smc(registers);
  expect([0, 1, 2, 3].map((index) => registers.get64(index))).toEqual([5n, 0n, 0n, 0n]);
  registers.set(0, CALL_WITH_ARG);
  registers.set(1, at);
  registers.set(2, 0);
  kit.world.smc(registers);
  expect(registers.get(0)).toBe(4);
});

test("SMC-4.1.10, SMC-4.1.11: an early error keeps all registers but a0", () => {
  const kit = new SecureKit({ build: { threads: 1 } });
  const words = (fid: number, ...rest: number[]): number[] => {
    const registers = kit.smc(fid, ...rest);
    return Array.from({ length: 8 }, (_, index) => registers.get(index));
  };
  expect(words(RETURN_FROM_RPC, 1, 2, 0, 4, 5, 6, 7)).toEqual([3, 1, 2, 0, 4, 5, 6, 7]);
  kit.start(kit.put(openMessage(CRYPT_UUID)));
  expect(words(CALL_WITH_ARG, 1, 2, 3, 4, 5, 6, 7)).toEqual([1, 1, 2, 3, 4, 5, 6, 7]);
});

test("SMC-4.1.8: a message by cookie always brings an RPC argument, right behind its parameters", () => {
  const kit = new SecureKit();
  const { pages } = kit.register(7n, 1);
  const [page = 0] = pages;
  kit.put(openMessage(CRYPT_UUID), page);
  const registers = kit.smc(CALL_WITH_REGD_ARG, 0, 7, 0);
  expect([0, 1, 2].map((index) => registers.get(index))).toEqual([SMC_RETURN.RPC_CMD, 0, 0]);
  const behind = kit.get(page + messageSize(2));
  expect(behind).toMatchObject({ cmd: 6, ret: TEEC.TEEC_ERROR_GENERIC });
  // It is answered there.
  kit.reply(
    { ...behind, params: [{ attr: BigInt(ATTR_TMEM_OUTPUT_NONCONTIG), a: 0n, b: 0n, c: 0n }] },
    page + messageSize(2),
    TEEC.TEEC_ERROR_OUT_OF_MEMORY,
  );
  kit.smc(RETURN_FROM_RPC, 0, 0, registers.get(3));
  expect(kit.rpcs).toHaveLength(0);
});

test("SMC-4.1.4: the first yielding call of a guest initializes its runtime", () => {
  const kit = new SecureKit();
  const [partition] = kit.world.partitions.all;
  expect(partition?.runtimeInitialized).toBe(false);
  kit.call({ cmd: 99 });
  expect(partition?.runtimeInitialized).toBe(true);
});
