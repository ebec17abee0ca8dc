import { sleep, type Task } from "../../harness/machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecResult,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { TEE_IOC } from "../../harness/tee-uapi/index.ts";
import { buffer, openSession, registerMemory, uuidInMemory } from "../support/client.ts";
import {
  CRYPT,
  INVOKE_TESTS,
  MISS,
  OS_TEST,
  SIMS,
  SIMS_KEEP_ALIVE,
  STORAGE2,
} from "../support/tas.ts";

const client = (
  clauses: readonly string[],
  program: (tee: TeecContext, context: ScenarioContext) => Task<Data>,
): Scenario => ({
  conduits: ["vm", "direct", "hwdom"],
  clauses,
  // What TAs do to each other, no mediator sees.
  rules: "strict",
  run: (context) => context.execute(program(context.client(), context)),
});

const { VALUE_INPUT, VALUE_OUTPUT, MEMREF_TEMP_INPUT, MEMREF_TEMP_OUTPUT } = TEEC_PARAM;

function* write(tee: TeecContext, session: TeecSession, byte: number): Task<number> {
  const input = TeecParam.temp(MEMREF_TEMP_INPUT, buffer(tee, new Uint8Array(32).fill(byte)));
  const slot = TeecParam.value(VALUE_INPUT, 3);
  return (yield* tee.invokeCommand(session, SIMS.WRITE, [slot, input])).result;
}

/** Writing to, and reading from, the last slot that there is and the first that there is not. */
export const slots = client(["MSG-2.4.TA_RETURNED"], function* (tee) {
  const session = yield* openSession(tee, SIMS.uuid);
  const results: Data[] = [];
  for (const [command, type] of [
    [SIMS.WRITE, MEMREF_TEMP_INPUT],
    [SIMS.READ, MEMREF_TEMP_OUTPUT],
  ] as const) {
    for (const number of [3, 4]) {
      const bytes = TeecParam.temp(type, buffer(tee, 32));
      const slot = TeecParam.value(VALUE_INPUT, number);
      const { result, origin } = yield* tee.invokeCommand(session, command, [slot, bytes]);
      results.push([result, origin]);
    }
  }
  yield* tee.closeSession(session);
  return results;
});

/** The first byte of what the instance stores; it does not survive to be asked for nothing. */
function* read(tee: TeecContext, session: TeecSession): Task<Data> {
  const out = buffer(tee, new Uint8Array(32).fill(0xee));
  const output = TeecParam.temp(MEMREF_TEMP_OUTPUT, out);
  const slot = TeecParam.value(VALUE_INPUT, 3);
  const { result } = yield* tee.invokeCommand(session, SIMS.READ, [slot, output]);
  return [result, out.read(0, 1)[0] ?? -1];
}

function* counter(tee: TeecContext, session: TeecSession): Task<readonly [number, number]> {
  const value = TeecParam.value(VALUE_OUTPUT);
  const { result } = yield* tee.invokeCommand(session, SIMS.GET_COUNTER, [value]);
  return [result, value.a];
}

const panic = (tee: TeecContext, session: TeecSession, uuid?: string): Task<TeecResult> => {
  const name = uuid === undefined ? null : buffer(tee, uuidInMemory(uuid));
  return tee.invokeCommand(session, SIMS.PANIC, [TeecParam.temp(MEMREF_TEMP_INPUT, name)]);
};

/** What one session stores: seen by another at the same time, and by one after the last is closed. */
function* sharing(tee: TeecContext, uuid: string): Task<Data> {
  const first = yield* openSession(tee, uuid);
  const written = yield* write(tee, first, 0x5a);
  const second = yield* openSession(tee, uuid);
  const beside = yield* read(tee, second);
  yield* tee.closeSession(second);
  yield* tee.closeSession(first);
  const later = yield* openSession(tee, uuid);
  const after = yield* read(tee, later);
  yield* tee.closeSession(later);
  return { written, beside, after };
}

export const multiInstance = client(["MSG-2.1.3"], (tee) => sharing(tee, MISS.uuid));
export const singleInstance = client(["MSG-2.1.3"], (tee) => sharing(tee, SIMS.uuid));
export const keptAlive = client(["MSG-2.1.3"], (tee) => sharing(tee, SIMS_KEEP_ALIVE.uuid));

/** A single instance that takes one session: BUSY for the next, until it is closed. */
export const singleSession = client(["MSG-2.1.3", "MSG-4.BUSY"], function* (tee) {
  const first = yield* openSession(tee, STORAGE2.uuid);
  const { result, origin } = yield* tee.openSession(STORAGE2.uuid);
  yield* tee.closeSession(first);
  const again = yield* tee.openSession(STORAGE2.uuid);
  if (again.session !== undefined) yield* tee.closeSession(again.session);
  return { busy: [result, origin], again: again.result };
});

/** One session's TA panics: who else is dead, and that new sessions are not. */
function* reach(tee: TeecContext, uuid: string): Task<Data> {
  const other = yield* openSession(tee, uuid);
  const doomed = yield* openSession(tee, uuid);
  const died = yield* panic(tee, doomed);
  const [beside] = yield* counter(tee, other);
  const [own] = yield* counter(tee, doomed);
  const fresh = yield* openSession(tee, uuid);
  const after = yield* counter(tee, fresh);
  for (const session of [fresh, doomed, other]) yield* tee.closeSession(session);
  return { died: [died.result, died.origin], beside, own, after };
}

export const panicOfMulti = client(["MSG-2.4.TA_PANICKED", "MSG-2.1.3"], (tee) =>
  reach(tee, MISS.uuid),
);
export const panicOfSingle = client(["MSG-2.4.TA_PANICKED", "MSG-2.1.3"], (tee) =>
  reach(tee, SIMS.uuid),
);
export const panicOfKept = client(["MSG-2.4.TA_PANICKED", "MSG-2.1.3"], (tee) =>
  reach(tee, SIMS_KEEP_ALIVE.uuid),
);

/** A TA makes another one panic, whose sessions of the normal world are dead then; it lives itself. */
export const panicByTa = client(["MSG-2.4.TA_PANICKED", "MSG-2.1.3"], function* (tee) {
  const attacker = yield* openSession(tee, SIMS.uuid);
  const victim = yield* openSession(tee, SIMS_KEEP_ALIVE.uuid);
  const asked = yield* panic(tee, attacker, SIMS_KEEP_ALIVE.uuid);
  const [lives] = yield* counter(tee, attacker);
  const [dead] = yield* counter(tee, victim);
  for (const session of [victim, attacker]) yield* tee.closeSession(session);
  return { asked: asked.result, lives, dead };
});

/** Every way of a TA to touch what it must not, each in an instance of its own. */
export const badAccess = client(["MSG-2.4.TA_PANICKED"], function* (tee) {
  const seen: Data[] = [];
  for (let kind = 1; kind <= 4; kind += 1) {
    const session = yield* openSession(tee, OS_TEST.uuid);
    const value = TeecParam.value(VALUE_INPUT, kind);
    const memory = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, buffer(tee, 64));
    const done = yield* tee.invokeCommand(session, OS_TEST.BAD_MEM_ACCESS, [value, memory]);
    seen.push([done.result, done.origin]);
    yield* tee.closeSession(session);
  }
  return seen;
});

/** Memory that a TA had when it panicked is its client's again, to release and to use. */
export const memoryAfterPanic = client(
  ["MSG-2.4.TA_PANICKED", "MSG-2.2.RMEM", "TEE-3.3.3"],
  function* (tee) {
    const memory = yield* registerMemory(tee, buffer(tee, 64));
    const doomed = yield* openSession(tee, OS_TEST.uuid);
    const part = TeecParam.partial(TEEC_PARAM.MEMREF_PARTIAL_INPUT, memory, 0, 3);
    yield* tee.invokeCommand(doomed, OS_TEST.PANIC, [part]);
    yield* tee.closeSession(doomed);
    memory.buffer.write(new TextEncoder().encode("abc"));
    const session = yield* openSession(tee, CRYPT.uuid);
    const out = buffer(tee, 32);
    const { result } = yield* tee.invokeCommand(session, CRYPT.SHA256, [
      part,
      TeecParam.temp(MEMREF_TEMP_OUTPUT, out),
    ]);
    yield* tee.closeSession(session);
    yield* tee.releaseSharedMemory(memory);
    return { result, hash: Buffer.from(out.read(0, 4)).toString("hex") };
  },
);

/** Forty sessions at once, then none: the next is the first again. */
export const manySessions = client(["MSG-2.1.2", "MSG-1.1.SESSION"], function* (tee) {
  const sessions: TeecSession[] = [];
  for (let count = 0; count < 40; count += 1) {
    sessions.push(yield* openSession(tee, INVOKE_TESTS.uuid));
  }
  const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, 40, 2);
  const last = sessions.at(-1);
  if (last !== undefined) yield* tee.invokeCommand(last, INVOKE_TESTS.PARAMS, [value]);
  for (const session of sessions) yield* tee.closeSession(session);
  const next = yield* openSession(tee, INVOKE_TESTS.uuid);
  const distinct = new Set(sessions.map(({ id }) => id)).size;
  return { distinct, sum: value.a, again: next.id === sessions[0]?.id };
});

/** Instances until the secure RAM is used up; when they are gone there is room again. */
export const secureRam: Scenario = {
  ...client(["MSG-2.1.3"], function* (tee) {
    const sessions: TeecSession[] = [];
    let refused: TeecResult | undefined;
    while (refused === undefined && sessions.length < 40) {
      const { session, ...outcome } = yield* tee.openSession(OS_TEST.uuid);
      if (session === undefined) refused = outcome;
      else sessions.push(session);
    }
    for (const session of sessions) yield* tee.closeSession(session);
    const again = yield* tee.openSession(OS_TEST.uuid);
    return {
      several: sessions.length > 1,
      refusedBy: refused?.origin ?? 0,
      again: again.result,
    };
  }),
  // How many instances there is room for, and whether that is OUT_OF_MEMORY or GENERIC, depends on the build and on the images of its TAs.
  resultsOnly: true,
};

const wait = (tee: TeecContext, session: TeecSession, ms: number): Task<TeecResult> =>
  tee.invokeCommand(session, OS_TEST.WAIT, [TeecParam.value(VALUE_INPUT, ms)]);

/** Cancelled while nothing is under way: does the next operation feel it, and the one after that? */
export const cancelledBefore = client(["MSG-2.CANCEL", "TEE-3.4"], function* (tee) {
  const session = yield* openSession(tee, OS_TEST.uuid);
  yield* tee.requestCancellation(session);
  const first = yield* wait(tee, session, 50);
  const second = yield* wait(tee, session, 20);
  yield* tee.closeSession(session);
  return [first.result, second.result];
});

/** Waits in the TA while `meanwhile` runs, which begins when the TA sleeps. */
function* during(
  tee: TeecContext,
  context: ScenarioContext,
  session: TeecSession,
  meanwhile: () => Task,
): Task<TeecResult> {
  const waiter = context.scheduler.spawn("waiting client", wait(tee, session, 300));
  yield* sleep(40);
  yield* meanwhile();
  return yield* waiter.join();
}

/** The ioctl with a tag that no operation has: the session alone decides. */
export const cancelledByTag = client(
  ["MSG-1.1.CANCEL_ID", "MSG-5.CANCEL_ID", "TEE-3.4", "MSG-4.CANCEL"],
  function* (tee, context) {
    const session = yield* openSession(tee, OS_TEST.uuid);
    const payload = new Uint8Array(8);
    const view = new DataView(payload.buffer);
    view.setUint32(0, 0xdead, true);
    view.setUint32(4, session.id, true);
    let status = -1;
    const { result } = yield* during(tee, context, session, function* () {
      status = yield* tee.process.ioctl(tee.fd, TEE_IOC.CANCEL, payload);
    });
    yield* tee.closeSession(session);
    return { status, result };
  },
);

/** Another session of the same TA is cancelled: the one that waits is not. */
export const cancelledOther = client(["MSG-2.CANCEL", "TEE-3.4"], function* (tee, context) {
  const [session, other] = [
    yield* openSession(tee, OS_TEST.uuid),
    yield* openSession(tee, OS_TEST.uuid),
  ];
  const { result } = yield* during(tee, context, session, function* () {
    yield* tee.requestCancellation(other);
  });
  for (const one of [other, session]) yield* tee.closeSession(one);
  return result;
});

/** Cancelled twice; the session works on, and its next operation is not cancelled. */
export const cancelledTwice = client(["MSG-2.CANCEL", "MSG-4.CANCEL"], function* (tee, context) {
  const session = yield* openSession(tee, OS_TEST.uuid);
  const first = yield* during(tee, context, session, function* () {
    yield* tee.requestCancellation(session);
    yield* tee.requestCancellation(session);
  });
  const next = yield* wait(tee, session, 20);
  yield* tee.closeSession(session);
  return [first.result, next.result];
});

/** TAs that never unmask cancellation, and one of the core: nothing of it is seen. */
export const cancelledMasked = client(["MSG-2.CANCEL"], function* (tee) {
  const seen: number[] = [];
  for (const { uuid, command } of [
    { uuid: SIMS.uuid, command: SIMS.GET_COUNTER },
    { uuid: INVOKE_TESTS.uuid, command: INVOKE_TESTS.PARAMS },
  ]) {
    const session = yield* openSession(tee, uuid);
    yield* tee.requestCancellation(session);
    const type = uuid === SIMS.uuid ? VALUE_OUTPUT : TEEC_PARAM.VALUE_INOUT;
    seen.push((yield* tee.invokeCommand(session, command, [TeecParam.value(type)])).result);
    yield* tee.closeSession(session);
  }
  return seen;
});

/** More clients than threads, all waiting in TAs of their own at once: each is served in its turn. */
export const queueing: Scenario = {
  conduits: ["vm", "direct", "hwdom"],
  clauses: ["SMC-9.2", "SMC-2.ETHREAD_LIMIT", "SMC-4.1.3", "MED-040"],
  // Who waits for whom in the core depends on when a hypervisor's timer interrupts it.
  resultsOnly: true,
  run: (context) => {
    const tees = Array.from({ length: 5 }, () => context.client());
    return context.execute(
      (function* (): Task<Data> {
        const tasks = tees.map((tee, index) =>
          context.scheduler.spawn(
            `client ${index}`,
            (function* (): Task<number[]> {
              const session = yield* openSession(tee, INVOKE_TESTS.uuid);
              const sleeper = yield* tee.openSession(SIMS.uuid);
              const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, index, 100);
              yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [value]);
              if (sleeper.session !== undefined) yield* tee.closeSession(sleeper.session);
              yield* tee.closeSession(session);
              return [sleeper.result, value.a];
            })(),
          ),
        );
        const results: Data[] = [];
        for (const task of tasks) results.push(yield* task.join());
        return results;
      })(),
    );
  },
};
