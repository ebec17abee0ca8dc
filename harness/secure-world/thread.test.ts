import { expect, test } from "@jest/globals";
import { OPTEE_SMC, SMC_RETURN } from "../optee-abi/index.ts";
import { DEBIAN_4_5, DEBIAN_4_5_VIRTUALIZED } from "./build.ts";
import type { NotificationDriver } from "./notifications.ts";
import { CRYPT_UUID, INVOKE_TESTS_UUID, OS_TEST_UUID, SIMS_UUID } from "./tas/index.ts";
import { openMessage, SecureKit } from "./testkit/kit.ts";

const { RETURN_FROM_RPC } = OPTEE_SMC;

test("SMC-4.2.RESUME_CHECK, SMC-4.2.FREE, SMC-4.2.SUSPENDED, SMC-2.ERESUME: only a suspended thread can be resumed, in its own partition", () => {
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

test("SMC-4.2.CLIENT_CHECK: thread numbers of different guests overlap", () => {
  const kit = new SecureKit({ build: { virtualization: true } });
  const threads = [1, 2].map((client) => {
    kit.smc(OPTEE_SMC.VM_CREATED, client);
    kit.clientId = client;
    return kit.start(kit.put(openMessage(CRYPT_UUID))).get(3);
  });
  expect(threads).toEqual([0, 0]);
});

test("SMC-4.3, SMC-4.2.DELIVERY, SMC-5.FOREIGN_INTR: a foreign interrupt ends in an exit whose resume takes no registers", () => {
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

test("SMC-4.2.DELIVERY: a1, a2, a4, a5 of a resume are the reply to an RPC, and nothing else is", () => {
  const kit = new SecureKit();
  kit.start(kit.put(openMessage(CRYPT_UUID)));
  const [thread] = kit.world.partitions.all[0]?.threads ?? [];
  kit.smc(RETURN_FROM_RPC, 1, 2, 0, 4, 5, 6, 7);
  expect([...(thread?.reply ?? [])]).toEqual([1, 2, 4, 5]);
});

test("SMC-4.2.ACTIVE: a thread that runs cannot be resumed by another core", () => {
  const seen: number[][] = [];
  let kit: SecureKit | undefined;
  const driver: NotificationDriver = {
    *yielding(_event, thread) {
      // Another core calls while this one is in the middle of the thread.
      seen.push(kit?.words(RETURN_FROM_RPC, 1, 2, thread.index) ?? []);
      seen.push([
        kit?.world.partitions.all[0]?.threads.map(({ state }) => state)[0] === "active" ? 1 : 0,
      ]);
      yield* [];
    },
  };
  kit = new SecureKit({ drivers: [driver] });
  kit.smc(OPTEE_SMC.ENABLE_ASYNC_NOTIF);
  expect(kit.call({ cmd: 6 }).a0).toBe(0);
  expect(seen).toEqual([[SMC_RETURN.ERESUME, 1, 2, 0], [1]]);
});

test("SMC-4.2.RESUME_CHECK: there is no nonce: a resume that was never sent is taken all the same", () => {
  const kit = new SecureKit();
  const first = kit.start(kit.put(openMessage(CRYPT_UUID)));
  kit.serve(first);
  // The same index is suspended again: an old resume cannot be told from the right one.
  expect(kit.smc(RETURN_FROM_RPC, 0xbad, 0xbad, 0, 0xbad, 0xbad).get(0)).not.toBe(
    SMC_RETURN.ERESUME,
  );
});

test("SMC-4.2.NO_VIRTUALIZATION: without virtualization there is one table and a7 is ignored", () => {
  const kit = new SecureKit();
  const registers = kit.start(kit.put(openMessage(CRYPT_UUID)));
  kit.answer(registers);
  registers.set(0, RETURN_FROM_RPC);
  registers.set(7, 0x1234);
  kit.world.smc(registers);
  expect(registers.get(0)).toBe(SMC_RETURN.RPC_CMD);
  expect(kit.smc(OPTEE_SMC.CALLS_UID, 0, 0, 0, 0, 0, 0, 99).get(0)).toBe(0x384f_b3e0);
});

/** a0 of the resume by `resumed` of a thread that `started` started, under release 3.`minor`. */
function resumeUnder(minor: number, started: number, resumed: number): number {
  const kit = new SecureKit({ build: { version: { major: 3, minor } } });
  kit.clientId = started;
  kit.start(kit.put(openMessage(CRYPT_UUID)));
  return kit.smc(RETURN_FROM_RPC, 0, 0, 0, 0, 0, 0, resumed).get(0);
}

test("SMC-4.2.CLIENT_CHECK_OLD, SMC-10.RESUME_CLIENT_CHECK: up to 3.6 a thread is resumed by its own client only", () => {
  expect(resumeUnder(6, 1, 2)).toBe(SMC_RETURN.ERESUME);
  expect([resumeUnder(6, 1, 1), resumeUnder(7, 1, 2)]).not.toContain(SMC_RETURN.ERESUME);
});

test("SMC-4.2.DEFAULTS, SMC-3.GET_THREAD_COUNT: two threads and two guests unless built otherwise", () => {
  expect([DEBIAN_4_5.threads, DEBIAN_4_5_VIRTUALIZED.threads]).toEqual([2, 2]);
  expect(DEBIAN_4_5_VIRTUALIZED.guestCount).toBe(2);
  for (const threads of [1, 2, 7]) {
    const kit = new SecureKit({ build: { threads } });
    expect(kit.words(OPTEE_SMC.GET_THREAD_COUNT).slice(0, 2)).toEqual([0, threads]);
    for (let index = 0; index < threads; index += 1) {
      expect(kit.start(kit.put(openMessage(CRYPT_UUID))).get(3)).toBe(index);
    }
    expect(kit.start(kit.put(openMessage(CRYPT_UUID))).get(0)).toBe(SMC_RETURN.ETHREAD_LIMIT);
  }
});

test("SMC-4.2.FREE: the lowest thread that became free is taken next", () => {
  // Without files to wait for, which one thread at a time uses.
  const kit = new SecureKit({ build: { threads: 3, reeFs: false } });
  const calls = [0, 1, 2].map(() => kit.start(kit.put(openMessage(INVOKE_TESTS_UUID))));
  expect(calls.map((call) => call.get(0))).toEqual([0, 0, 0]);
  const busy = [CRYPT_UUID, SIMS_UUID, OS_TEST_UUID].map((uuid) =>
    kit.start(kit.put(openMessage(uuid))),
  );
  const [, middle] = busy;
  if (middle !== undefined) kit.finish(middle);
  expect(kit.start(kit.put(openMessage(CRYPT_UUID))).get(3)).toBe(1);
});
