import { expect, test } from "@jest/globals";
import { budget } from "../base/index.ts";
import type { SpawnedTask, Task } from "../machine/index.ts";
import {
  type Linux,
  type Process,
  ProcessKilled,
  TEEC_PARAM,
  teecInitializeContext,
  TeecParam,
} from "../normal-world/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import { CRYPT_CMD, CRYPT_UUID, OS_TEST_CMD, OS_TEST_UUID } from "../secure-world/index.ts";
import { createEmulated, EmulatedContext } from "./index.ts";

/**
 * What a client does: two TAs that the supplicant has to load, memory of every kind, a wait, and a
 * TA as a client of another. Gives the results of its steps.
 */
function* work(process: Process): Task<number[]> {
  const results: number[] = [];
  const { context: tee } = yield* teecInitializeContext(process);
  if (tee === undefined) return [-1];
  const { memory } = yield* tee.allocateSharedMemory(9000, 3);
  const opened = yield* tee.openSession(CRYPT_UUID);
  results.push(opened.result);
  if (opened.session !== undefined && memory !== undefined) {
    const buffer = process.memory.allocate(5000, 10);
    const hash = TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_OUTPUT, memory, 100, 32);
    const input = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, buffer ?? null);
    const done = yield* tee.invokeCommand(opened.session, CRYPT_CMD.SHA256, [input, hash]);
    results.push(done.result);
  }
  const os = yield* tee.openSession(OS_TEST_UUID);
  results.push(os.result);
  if (os.session !== undefined) {
    const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 20);
    results.push((yield* tee.invokeCommand(os.session, OS_TEST_CMD.WAIT, [wait])).result);
    results.push((yield* tee.invokeCommand(os.session, OS_TEST_CMD.CLIENT)).result);
    yield* tee.closeSession(os.session);
  }
  // The other session, the memory and the descriptor are left to the end of the process.
  return results;
}

interface Run {
  readonly context: EmulatedContext;
  readonly linux: Linux;
  readonly process: Process;
  readonly client: SpawnedTask<number[]>;
  /** Pages that the kernel had in use before. */
  readonly pages: number;
}

function start(conduit: "vm" | "direct", seed: number): Run {
  const context = new EmulatedContext(createEmulated({ conduit, seed, interrupts: 30 }));
  const { linux } = context.guest();
  // The first TA ever loaded makes the files of secure storage, which nothing protects yet.
  const first = linux.process("first client");
  context.execute(work(first));
  context.execute(first.exit());
  context.scheduler.runUntilIdle();
  const pages = linux.kernel.pages.usedPages;
  const process = linux.process("client");
  const client = context.scheduler.spawn("client", work(process));
  return { context, linux, process, client, pages };
}

/** Lets the scheduler make one turn. */
function turn({ context }: Run): void {
  let asked = 0;
  context.scheduler.runUntil(() => (asked += 1) > 1);
}

/** Turns that an undisturbed run takes. */
function turnsOf(conduit: "vm" | "direct", seed: number): number {
  const run = start(conduit, seed);
  let turns = 0;
  for (; !run.client.finished; turns += 1) turn(run);
  expect(run.client.result()).toEqual([0, 0, 0, 0, 0]);
  return turns;
}

/** Messages keep a page or two, and RPC arguments of threads one each; nothing else may stay. */
const KEPT_PAGES = 8;

/** Nothing of the client is left in kernel, mediator or secure world, and others are served. */
function expectReleased(run: Run): void {
  const { context, linux, process, pages } = run;
  expect(process.exited).toBe(true);
  expect(linux.driver?.callsRunning).toBe(0);
  expect(linux.driver?.supplicant.outstanding).toBe(0);
  const tee0 = linux.devices.get("/dev/tee0");
  const teepriv0 = linux.devices.get("/dev/teepriv0");
  expect([tee0?.contexts, tee0?.shmIds]).toEqual([0, []]);
  // A supplicant keeps what it was not told to free in time; with its end all is gone.
  linux.supplicant?.process.kill();
  finish(run);
  expect([teepriv0?.contexts, teepriv0?.shmIds]).toEqual([0, []]);
  expect(linux.kernel.pages.usedPages - pages).toBeLessThanOrEqual(KEPT_PAGES);
  for (const partition of context.platform.secureWorld.partitions.all) {
    expect(partition.sessions).toEqual([]);
    expect(partition.threads.filter(({ state }) => state !== "free")).toEqual([]);
  }
  expect(context.execute(linux.startSupplicant())).toBe(0);
  const again = context.scheduler.spawn("another client", work(linux.process("another")));
  context.scheduler.runUntil(() => again.finished);
  expect(again.result()).toEqual([0, 0, 0, 0, 0]);
}

function finish(run: Run): void {
  run.context.scheduler.runUntilIdle();
}

/** Every turn of a run at night, an even sample of them otherwise, and the last one. */
function moments(turns: number): number[] {
  const count = Math.min(turns, budget(16, turns));
  const sample = Array.from({ length: count }, (_, index) => Math.floor((index * turns) / count));
  return [...new Set([...sample, turns - 1])];
}

for (const conduit of ["vm", "direct"] as const) {
  test(`TEE-4.7, TEE-3.1.1, TEE-3.3.2: a client killed at any moment on conduit ${conduit} leaves nothing behind`, () => {
    const turns = turnsOf(conduit, 5);
    expect(turns).toBeGreaterThan(100);
    for (const moment of moments(turns)) {
      const run = start(conduit, 5);
      for (let done = 0; done < moment; done += 1) turn(run);
      run.process.kill();
      finish(run);
      expect(() => run.client.result()).toThrow(ProcessKilled);
      expectReleased(run);
    }
  });

  test(`TEE-4.8, TEE-4.1: a supplicant killed at any moment on conduit ${conduit} can be followed by another, at the latest when its client is gone`, () => {
    const turns = turnsOf(conduit, 6);
    let served = 0;
    let blocked = 0;
    for (const moment of moments(turns)) {
      const run = start(conduit, 6);
      const { linux, context } = run;
      for (let done = 0; done < moment; done += 1) turn(run);
      linux.supplicant?.process.kill();
      finish(run);
      let status = context.execute(linux.startSupplicant());
      if (status < 0) {
        // Memory of the dead one is in the secure world's hands, for a client that waits for ever.
        expect([status, run.client.finished]).toEqual([-16, false]);
        blocked += 1;
        run.process.kill();
        finish(run);
        status = context.execute(linux.startSupplicant());
      }
      expect(status).toBe(0);
      finish(run);
      // With a supplicant again every client comes to an end.
      expect(run.client.finished).toBe(true);
      if (!run.process.killed) {
        const results = run.client.result();
        served += results.every((result) => result === TEEC.TEEC_SUCCESS) ? 1 : 0;
        run.process.kill();
        finish(run);
      }
      expectReleased(run);
    }
    // Both happen: clients that do not notice, and ones that hold what the dead one gave.
    expect(served).toBeGreaterThan(0);
    expect(blocked).toBeGreaterThan(0);
  });
}
