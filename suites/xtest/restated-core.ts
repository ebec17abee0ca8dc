import type { SpawnedTask, Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, TeecParam } from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { buffer, openSession } from "../support/client.ts";
import { CONCURRENT, INVOKE_TESTS, LARGE } from "../support/tas.ts";
import { check, checkResult, restate, SubcaseSkipped } from "./restate.ts";

const OK = TEEC.TEEC_SUCCESS;

export const regression_1001 = restate(
  "regression_1001",
  "Core self tests",
  { clauses: ["MSG-2.INVOKE_COMMAND", "MSG-2.4.TA_RETURNED"] },
  function* (run) {
    const session = yield* openSession(run.tee, INVOKE_TESTS.uuid);
    yield* run.subcase("1", "The core's own tests", function* () {
      checkResult(yield* run.tee.invokeCommand(session, INVOKE_TESTS.SELF_TESTS), OK, "self tests");
    });
    yield* run.subcase("2", "Device-tree driver tests", function* () {
      const tests = yield* run.tee.invokeCommand(session, INVOKE_TESTS.DT_DRIVER_TESTS);
      if (tests.result === TEEC.TEEC_ERROR_NOT_SUPPORTED) {
        throw new SubcaseSkipped("the core has no device tree to test");
      }
      checkResult(tests, OK, "device-tree tests");
    });
    yield* run.tee.closeSession(session);
  },
);

export const regression_1002 = restate(
  "regression_1002",
  "Parameters of pseudo-TAs",
  { clauses: ["MSG-2.2.EXPORT", "MSG-5.MEMREF_TEMP", "TEE-5.TEMP"] },
  function* (run) {
    const session = yield* openSession(run.tee, INVOKE_TESTS.uuid);
    const bytes = Uint8Array.from({ length: 16 * 1024 }, (_, index) => index + 1);
    const memory = buffer(run.tee, bytes);
    const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, memory);
    checkResult(
      yield* run.tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [memref]),
      OK,
      "sum of 16 KiB",
    );
    const sum = bytes.reduce((total, byte) => (total + byte) & 0xff, 0);
    check(memory.read(0, 1)[0] === sum, "the first byte is the sum of all");
    yield* run.tee.closeSession(session);
  },
);

const WRITER = 0;
const READER = 1;
/** Invocations of each of six clients, and rounds in the mutex of each invocation. */
const MUTEX_REPEAT = 20;
const MUTEX_ROUNDS = 64 * 1024;

export const regression_1003 = restate(
  "regression_1003",
  "Read/write mutex of the core",
  { clauses: ["MSG-3.NOTIFICATION", "SMC-4.3", "SMC-9.2"], interrupts: 300 },
  function* (run) {
    const clients = [WRITER, READER, READER, WRITER, READER, READER].map((kind, index) =>
      run.scheduler.spawn(`mutex client ${index}`, mutexClient(run.tee, kind)),
    );
    yield* joinAll(clients);
  },
);

function* mutexClient(tee: Parameters<typeof openSession>[0], kind: number): Task {
  const session = yield* openSession(tee, INVOKE_TESTS.uuid);
  for (let turn = 0; turn < MUTEX_REPEAT; turn += 1) {
    const seen = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
    const done = yield* tee.invokeCommand(session, INVOKE_TESTS.MUTEX, [
      TeecParam.value(TEEC_PARAM.VALUE_INPUT, kind, MUTEX_ROUNDS),
      seen,
    ]);
    checkResult(done, OK, "mutex test");
    if (kind === WRITER) check(seen.b === 1, `${seen.b} writers inside at once`);
  }
  yield* tee.closeSession(session);
}

export function* joinAll(tasks: readonly SpawnedTask<void>[]): Task {
  for (const task of tasks) yield* task.join();
}

export const regression_1005 = restate(
  "regression_1005",
  "Many sessions",
  { clauses: ["MSG-2.1.2", "MSG-2.1.3"] },
  function* (run) {
    const sessions = [];
    for (let count = 0; count < 3; count += 1) {
      sessions.push(yield* openSession(run.tee, CONCURRENT.uuid));
    }
    check(new Set(sessions.map(({ id }) => id)).size === 3, "session ids are unique");
    for (const session of sessions.toReversed()) yield* run.tee.closeSession(session);
  },
);

export const regression_1020 = restate(
  "regression_1020",
  "Lock-order checking",
  { clauses: [] },
  function* (run) {
    const session = yield* openSession(run.tee, INVOKE_TESTS.uuid);
    const tests = yield* run.tee.invokeCommand(session, INVOKE_TESTS.LOCKDEP);
    yield* run.tee.closeSession(session);
    if (tests.result === TEEC.TEEC_ERROR_NOT_SUPPORTED) {
      throw new SubcaseSkipped("feature not implemented");
    }
    checkResult(tests, OK, "lock-order tests");
  },
);

export const regression_1034 = restate(
  "regression_1034",
  "A large TA",
  { clauses: ["MSG-3.LOAD_TA", "MSG-3.3", "MSG-3.7"] },
  function* (run) {
    const session = yield* openSession(run.tee, LARGE.uuid);
    yield* run.tee.closeSession(session);
  },
);
