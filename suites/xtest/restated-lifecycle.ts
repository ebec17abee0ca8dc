import { type Task, sleep } from "../../harness/machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecResult,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import { TEEC } from "../../harness/optee-abi/index.ts";
import { buffer, openSession, uuidInMemory } from "../support/client.ts";
import { CREATE_FAIL, MISS, OS_TEST, SIMS, SIMS_KEEP_ALIVE } from "../support/tas.ts";
import { check, checkResult, type Restatement, restate } from "./restate.ts";
import { joinAll } from "./restated-core.ts";

const OK = TEEC.TEEC_SUCCESS;
const DEAD = TEEC.TEEC_ERROR_TARGET_DEAD;
const FROM_TEE = 3;

export const regression_1007 = restate(
  "regression_1007",
  "Panic of a TA",
  { clauses: ["MSG-2.4.TA_PANICKED", "MSG-2.1.3"] },
  function* (run) {
    const session = yield* openSession(run.tee, OS_TEST.uuid);
    const panic = yield* run.tee.invokeCommand(session, OS_TEST.PANIC);
    checkResult(panic, DEAD, "the command that panics", FROM_TEE);
    const after = yield* run.tee.invokeCommand(session, OS_TEST.INIT);
    checkResult(after, DEAD, "a command after it", FROM_TEE);
    yield* run.tee.closeSession(session);
  },
);

export const regression_1008 = restate(
  "regression_1008",
  "TAs as clients of TAs",
  { clauses: ["MSG-2.4.TA_RETURNED", "MSG-3.7"] },
  function* (run) {
    const { tee } = run;
    yield* run.subcase("1", "A TA invokes another", function* () {
      const session = yield* openSession(tee, OS_TEST.uuid);
      checkResult(yield* tee.invokeCommand(session, OS_TEST.CLIENT), OK, "TA to TA");
      yield* tee.closeSession(session);
    });
    yield* run.subcase("2", "A TA's invocation times out", function* () {
      const session = yield* openSession(tee, OS_TEST.uuid);
      const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 2000);
      const done = yield* tee.invokeCommand(session, OS_TEST.CLIENT_WITH_TIMEOUT, [wait]);
      checkResult(done, OK, "the inner wait ended as cancelled");
      yield* tee.closeSession(session);
    });
    yield* run.subcase("3", "A TA that refuses to be created", function* () {
      const opened = yield* tee.openSession(CREATE_FAIL.uuid);
      checkResult(opened, TEEC.TEEC_ERROR_GENERIC, "open session");
    });
    run.skip("4", "Damaged TA images", "the pseudo-TA that installs TAs is not modelled");
  },
);

/** Waits in the TA for `ms`, cancelled by another thread after 500 ms when `cancel` says so. */
function* waitInTa(run: Restatement, ms: number, cancel: boolean): Task {
  const { tee, scheduler } = run;
  const session = yield* openSession(tee, OS_TEST.uuid);
  const began = scheduler.nowMs;
  const other = scheduler.spawn("canceller", cancelLater(tee, session, cancel));
  const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, ms);
  const done = yield* tee.invokeCommand(session, OS_TEST.WAIT, [wait]);
  yield* other.join();
  checkResult(done, cancel ? TEEC.TEEC_ERROR_CANCEL : OK, `wait of ${ms} ms`);
  check(scheduler.nowMs - began >= (cancel ? 500 : ms), "the time has passed");
  yield* tee.closeSession(session);
}

function* cancelLater(tee: TeecContext, session: TeecSession, wanted: boolean): Task {
  if (!wanted) return;
  yield* sleep(500);
  yield* tee.requestCancellation(session);
}

export const regression_1009 = restate(
  "regression_1009",
  "Waiting in a TA",
  { clauses: ["MSG-3.SUSPEND", "MSG-2.CANCEL", "TEE-3.4"] },
  function* (run) {
    const cases = [
      { number: "1", ms: 100, cancel: false },
      { number: "2", ms: 500, cancel: false },
      { number: "3", ms: 2000, cancel: true },
      { number: "4", ms: 2000, cancel: false },
    ];
    for (const { number, ms, cancel } of cases) {
      const title = `${ms} ms${cancel ? ", cancelled" : ""}`;
      yield* run.subcase(number, title, () => waitInTa(run, ms, cancel));
    }
  },
);

export function* counterOf(
  tee: TeecContext,
  session: TeecSession,
): Task<TeecResult & { a: number }> {
  const value = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
  const done = yield* tee.invokeCommand(session, SIMS.GET_COUNTER, [value]);
  return { ...done, a: value.a };
}

export const regression_1012 = restate(
  "regression_1012",
  "A single instance for many sessions",
  { clauses: ["MSG-2.1.3"] },
  (run) => run.subcase("1", "Storage and counter are shared", () => sharedInstance(run)),
);

function* sharedInstance({ tee }: Restatement): Task {
  const bytes = Uint8Array.from({ length: 32 }, (_, index) => 200 - index * 3);
  const slot = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 0);
  const first = yield* openSession(tee, SIMS.uuid);
  const source = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, buffer(tee, bytes));
  checkResult(yield* tee.invokeCommand(first, SIMS.WRITE, [slot, source]), OK, "write");
  const read = function* (session: TeecSession): Task {
    const out = buffer(tee, 32);
    const target = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, out);
    checkResult(yield* tee.invokeCommand(session, SIMS.READ, [slot, target]), OK, "read");
    check(Buffer.from(out.read()).equals(bytes), "what was written is read");
  };
  for (let turn = 1; turn < 3; turn += 1) {
    const other = yield* openSession(tee, SIMS.uuid);
    yield* read(other);
    const counters = [yield* counterOf(tee, first), yield* counterOf(tee, other)];
    check(counters[0]?.a === 0, "the first session's counter");
    check(counters[1]?.a === turn, "the next session's counter");
    yield* tee.closeSession(other);
  }
  yield* read(first);
  yield* tee.closeSession(first);
}

/** Makes the TA of `session` panic; with a UUID, that TA as a client's victim. */
function* triggerPanic(tee: TeecContext, session: TeecSession, uuid?: string): Task<TeecResult> {
  const name = uuid === undefined ? null : buffer(tee, uuidInMemory(uuid));
  return yield* tee.invokeCommand(session, SIMS.PANIC, [
    TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, name),
  ]);
}

/** One of two sessions panics: who is dead afterwards, and that new sessions work. */
function* panicFromClient({ tee }: Restatement, uuid: string, ownInstances: boolean): Task {
  const first = yield* openSession(tee, uuid);
  const second = yield* openSession(tee, uuid);
  check((yield* counterOf(tee, first)).a === 0, "counter of the first session");
  check((yield* counterOf(tee, second)).a === (ownInstances ? 0 : 1), "counter of the second");
  checkResult(yield* triggerPanic(tee, second), DEAD, "panic");
  checkResult(yield* counterOf(tee, first), ownInstances ? OK : DEAD, "first session");
  checkResult(yield* counterOf(tee, second), DEAD, "second session");
  yield* tee.closeSession(second);
  const third = yield* openSession(tee, uuid);
  const fourth = yield* openSession(tee, uuid);
  if (ownInstances) check((yield* counterOf(tee, first)).a === 0, "first session lives on");
  const fresh = yield* counterOf(tee, fourth);
  checkResult(fresh, OK, "a fresh instance");
  check(fresh.a === (ownInstances ? 0 : 1), "counter of the fresh instance");
  for (const session of [fourth, third, first]) yield* tee.closeSession(session);
}

/** A TA whose client is another TA panics: the client TA lives on. */
function* panicFromTa({ tee }: Restatement): Task {
  for (const byTa of [false, true]) {
    const client = yield* openSession(tee, SIMS.uuid);
    const victim = yield* openSession(tee, SIMS_KEEP_ALIVE.uuid);
    const name = TeecParam.temp(
      TEEC_PARAM.MEMREF_TEMP_INPUT,
      buffer(tee, uuidInMemory(SIMS_KEEP_ALIVE.uuid)),
    );
    const linked = yield* tee.invokeCommand(client, SIMS.OPEN_TA_SESSION, [name]);
    checkResult(linked, OK, "a session between the TAs");
    const panic = byTa
      ? yield* triggerPanic(tee, client, SIMS_KEEP_ALIVE.uuid)
      : yield* triggerPanic(tee, victim);
    checkResult(panic, byTa ? OK : DEAD, "panic");
    checkResult(yield* counterOf(tee, client), OK, "the TA that is a client");
    checkResult(yield* counterOf(tee, victim), DEAD, "the TA that panicked");
    yield* tee.closeSession(victim);
    yield* tee.closeSession(client);
  }
}

export const regression_1021 = restate(
  "regression_1021",
  "What a panic releases",
  { clauses: ["MSG-2.4.TA_PANICKED", "MSG-2.1.3"] },
  function* (run) {
    yield* run.subcase("1", "An instance for each session", () =>
      panicFromClient(run, MISS.uuid, true),
    );
    yield* run.subcase("2", "One instance", () => panicFromClient(run, SIMS.uuid, false));
    yield* run.subcase("3", "One instance, kept alive", () =>
      panicFromClient(run, SIMS_KEEP_ALIVE.uuid, false),
    );
    yield* run.subcase("4", "Between TAs", () => panicFromTa(run));
  },
);

const PANIC_LOOPS = 50;

export const regression_1040 = restate(
  "regression_1040",
  "Panics in concurrent sessions",
  { clauses: ["MSG-2.4.TA_PANICKED", "MSG-2.1.3", "SMC-9.2"], interrupts: 200 },
  (run) =>
    run.subcase("1", "Three clients, one instance", () =>
      joinAll([0, 1, 2].map((index) => run.scheduler.spawn(`panic ${index}`, panicLoop(run.tee)))),
    ),
);

function* panicLoop(tee: TeecContext): Task {
  for (let done = 0; done < PANIC_LOOPS;) {
    const opened = yield* tee.openSession(SIMS.uuid);
    if (opened.result === DEAD) continue;
    checkResult(opened, OK, "open session");
    if (opened.session === undefined) continue;
    const panic = yield* triggerPanic(tee, opened.session);
    yield* tee.closeSession(opened.session);
    checkResult(panic, DEAD, "panic");
    done += 1;
  }
}
