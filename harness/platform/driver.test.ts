import { expect, test } from "@jest/globals";
import type { Task } from "../machine/index.ts";
import { functionName } from "../optee-abi/index.ts";
import { TEEC_PARAM, TeecParam } from "../normal-world/index.ts";
import {
  DEBIAN_4_5,
  INVOKE_TESTS_CMD,
  INVOKE_TESTS_UUID,
  type OpteeBuild,
  OS_TEST_CMD,
  OS_TEST_UUID,
} from "../secure-world/index.ts";
import { createEmulated, EmulatedContext } from "./index.ts";

/** Function ids that the driver issued while it booted and opened a session, yielding ones once. */
function boot(conduit: "vm" | "direct", build: Partial<OpteeBuild> = {}): (string | undefined)[] {
  const context = new EmulatedContext(createEmulated({ conduit, seed: 1, build }));
  const seen: number[] = [];
  context.guest();
  context.observe(({ where, phase, registers }) => {
    if (where === "conduit" && phase === "enter") seen.push(registers.get(0));
  });
  const tee = context.client();
  context.execute(tee.openSession(INVOKE_TESTS_UUID));
  return seen
    .filter((fid, index) => fid >= 0x8000_0000 || !seen.slice(0, index).includes(fid))
    .map((fid) => functionName(fid));
}

test("SMC-9.P5, SMC-9.P12, SMC-9.BUFFERS_DYN_RPC_ARG: the driver probes in Linux's order", () => {
  expect(boot("direct")).toEqual([
    "CALLS_UID",
    "CALLS_REVISION",
    "GET_THREAD_COUNT",
    "EXCHANGE_CAPABILITIES",
    "GET_OS_REVISION",
    "ENABLE_ASYNC_NOTIF",
    "DISABLE_SHM_CACHE",
    "CALL_WITH_RPC_ARG",
    "CALL_WITH_REGD_ARG",
  ]);
});

test("SMC-9.P11, SMC-9.BUFFERS_DYN: as a guest it sees fewer capabilities, and enables the cache", () => {
  expect(boot("vm")).toEqual([
    "CALLS_UID",
    "CALLS_REVISION",
    "GET_THREAD_COUNT",
    "EXCHANGE_CAPABILITIES",
    "GET_OS_REVISION",
    "DISABLE_SHM_CACHE",
    "ENABLE_SHM_CACHE",
    "CALL_WITH_ARG",
  ]);
});

test("SMC-9.P6, SMC-9.BUFFERS_RESERVED_RPC_ARG: without dynamic memory everything lies in the reserved pool", () => {
  expect(boot("direct", { dynamicShm: false, asyncNotif: false })).toEqual([
    "CALLS_UID",
    "CALLS_REVISION",
    "GET_THREAD_COUNT",
    "EXCHANGE_CAPABILITIES",
    "GET_SHM_CONFIG",
    "GET_OS_REVISION",
    "DISABLE_SHM_CACHE",
    "CALL_WITH_RPC_ARG",
  ]);
});

test("SMC-9.P6: with nothing to share the driver does not start", () => {
  const build = { dynamicShm: false, reservedShm: undefined };
  const context = new EmulatedContext(createEmulated({ conduit: "direct", seed: 1, build }));
  expect(context.execute(context.guest().kernel.probe())).toBe(-22);
  expect(() => context.client()).toThrow(/does not start/);
});

test("SMC-9.P12: the driver makes devices of the TAs that enumeration names", () => {
  const context = new EmulatedContext(createEmulated({ conduit: "vm", seed: 1 }));
  expect(context.guest().linux.driver?.devices).toEqual([INVOKE_TESTS_UUID]);
});

test("SMC-9.2: more clients than threads all finish, with and without a known thread count", () => {
  for (const conduit of ["vm", "direct"] as const) {
    const context = new EmulatedContext(
      createEmulated({ conduit, seed: 5, build: { taRam: 64 * 1024 * 1024 } }),
    );
    const tee = context.client();
    const limits: number[] = [];
    context.observe(({ where, phase, registers }) => {
      if (where === "conduit" && phase === "leave") limits.push(registers.get(0));
    });
    const wait = function* (): Task<number> {
      const { session } = yield* tee.openSession(OS_TEST_UUID);
      if (session === undefined) return -1;
      const ms = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 20);
      return (yield* tee.invokeCommand(session, OS_TEST_CMD.WAIT, [ms])).result;
    };
    const tasks = Array.from({ length: 6 }, (_, index) =>
      context.scheduler.spawn(`c${index}`, wait()),
    );
    context.scheduler.runUntil(() => tasks.every(({ finished }) => finished));
    expect(tasks.map((task) => task.result())).toEqual([0, 0, 0, 0, 0, 0]);
    // Only a guest, which cannot ask how many threads there are, runs into the limit.
    expect(limits.includes(1)).toBe(conduit === "vm");
  }
});

test("TEE-5.TEMP, TEE-5.REGISTER: on the reserved pool the library copies in and out", () => {
  const build = { ...DEBIAN_4_5, dynamicShm: false };
  const context = new EmulatedContext(createEmulated({ conduit: "direct", seed: 1, build }));
  const tee = context.client();
  expect(tee.registersMemory).toBe(false);
  context.execute(
    (function* (): Task {
      const { session } = yield* tee.openSession(INVOKE_TESTS_UUID);
      const buffer = tee.process.memory.allocate(5000);
      if (session === undefined || buffer === undefined) throw new Error("no session");
      buffer.write(new Uint8Array(5000).fill(3));
      const temporary = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, buffer);
      const { PARAMS } = INVOKE_TESTS_CMD;
      expect((yield* tee.invokeCommand(session, PARAMS, [temporary])).result).toBe(0);
      expect(buffer.read(0, 1)[0]).toBe(15_000 & 0xff);
      const { memory } = yield* tee.registerSharedMemory(buffer, 3);
      if (memory === undefined) throw new Error("not registered");
      const part = TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INOUT, memory, 100, 50);
      expect((yield* tee.invokeCommand(session, PARAMS, [part])).result).toBe(0);
      expect(buffer.read(99, 3)).toEqual(Uint8Array.of(3, 150, 3));
      yield* tee.releaseSharedMemory(memory);
    })(),
  );
});
