import { sleep, type Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, type TeecContext, TeecParam } from "../../harness/normal-world/index.ts";
import { RPC_CMD } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { CLOSE_SESSION_ARG, TEE_IOC, VERSION_DATA } from "../../harness/tee-uapi/index.ts";
import { allocateMemory, openSession } from "../support/client.ts";
import { CREATE_FAIL, CRYPT, INVOKE_TESTS, LARGE, OS_TEST, SIMS } from "../support/tas.ts";

const ALL = ["vm", "direct", "hwdom"] as const;

/** A scenario of one client: the program gets its context, booted system included. */
const client = (
  clauses: readonly string[],
  program: (tee: TeecContext, context: ScenarioContext) => Task<Data>,
): Scenario => ({
  conduits: ALL,
  clauses,
  run: (context) => context.execute(program(context.client(), context)),
});

/** TEE_IOC_VERSION of /dev/tee0 and /dev/teepriv0, and a device that does not exist. */
export const openDevice: Scenario = {
  conduits: ALL,
  clauses: ["TEE-1.1", "TEE-1.3", "TEE-1.4", "TEE-4.1"],
  run: (context) => {
    const { linux } = context.guest();
    const process = linux.process();
    return context.execute(
      (function* (): Task<Data> {
        const fd = yield* process.open("/dev/tee0");
        const version = new Uint8Array(VERSION_DATA.size);
        const status = yield* process.ioctl(fd, TEE_IOC.VERSION, version);
        const view = new DataView(version.buffer);
        return {
          status,
          implId: view.getUint32(VERSION_DATA.implId, true),
          implCaps: view.getUint32(VERSION_DATA.implCaps, true),
          genCaps: view.getUint32(VERSION_DATA.genCaps, true),
          missing: yield* process.open("/dev/tee7"),
          supplicantTwice: yield* process.open("/dev/teepriv0"),
        };
      })(),
    );
  },
};

/** A session to a pseudo-TA and a command with a value. */
export const pseudoTa = client(["MSG-2.2.VALUE", "MSG-2.4.TA_RETURNED"], function* (tee) {
  const session = yield* openSession(tee, INVOKE_TESTS.uuid);
  const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, 40, 2);
  const { result, origin } = yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [value]);
  yield* tee.closeSession(session);
  return { result, origin, a: value.a, b: value.b };
});

/** A session to a TA that the supplicant has to deliver, and how it was asked. */
export const userTa = client(
  ["MSG-3.LOAD_TA", "MSG-3.7", "MSG-3.5", "TEE-4.3", "MED-12.6"],
  function* (tee, context) {
    const { supplicant } = context.guest().linux;
    const session = yield* openSession(tee, CRYPT.uuid);
    const loads = supplicant?.served.get(RPC_CMD.LOAD_TA) ?? 0;
    const allocated = supplicant?.served.get(RPC_CMD.SHM_ALLOC) ?? 0;
    yield* tee.closeSession(session);
    const freed = supplicant?.served.get(RPC_CMD.SHM_FREE) ?? 0;
    return { loads, leaked: allocated - freed };
  },
);

/** The largest TA of xtest: its image is 284 pages long. */
export const largeTa = client(["MSG-3.LOAD_TA", "MSG-3.3"], function* (tee) {
  const { result, origin, session } = yield* tee.openSession(LARGE.uuid);
  if (session !== undefined) yield* tee.closeSession(session);
  return { result, origin };
});

export const unknownTa = client(["MSG-2.1.3"], function* (tee) {
  const { result, origin } = yield* tee.openSession("00000000-1111-2222-3333-444444444444");
  return { result, origin };
});

export const failingTa = client(["MSG-2.4.TA_RETURNED"], function* (tee) {
  const { result } = yield* tee.openSession(CREATE_FAIL.uuid);
  return result;
});

/** A TA that panics is dead for its sessions; a new session gets a new instance. */
export const panic = client(["MSG-2.4.TA_PANICKED", "MSG-2.1.3"], function* (tee) {
  const session = yield* openSession(tee, OS_TEST.uuid);
  const first = yield* tee.invokeCommand(session, OS_TEST.PANIC);
  const second = yield* tee.invokeCommand(session, OS_TEST.INIT);
  yield* tee.closeSession(session);
  const again = yield* openSession(tee, OS_TEST.uuid);
  const alive = yield* tee.invokeCommand(again, OS_TEST.INIT);
  yield* tee.closeSession(again);
  return { first: { ...first }, second: { ...second }, alive: { ...alive } };
});

/** Sessions are used only through the context that opened them, and closed once. */
export const foreignSession: Scenario = {
  conduits: ALL,
  clauses: ["TEE-3.2", "TEE-1.2"],
  run: (context) => {
    const owner = context.client();
    const stranger = context.client();
    return context.execute(
      (function* (): Task<Data> {
        const session = yield* openSession(owner, INVOKE_TESTS.uuid);
        const payload = new Uint8Array(CLOSE_SESSION_ARG.size);
        new DataView(payload.buffer).setUint32(0, session.id, true);
        const close = (tee: TeecContext): Task<number> =>
          tee.process.ioctl(tee.fd, TEE_IOC.CLOSE_SESSION, payload);
        const cancel = new Uint8Array(8);
        new DataView(cancel.buffer).setUint32(4, session.id, true);
        const invoked = yield* stranger.invokeCommand(session, INVOKE_TESTS.PARAMS);
        return {
          invoked: { ...invoked },
          cancelled: yield* stranger.process.ioctl(stranger.fd, TEE_IOC.CANCEL, cancel),
          closedByStranger: yield* close(stranger),
          closed: yield* close(owner),
          closedTwice: yield* close(owner),
        };
      })(),
    );
  },
};

/** Two sessions share a single-instance TA: what one wrote the other reads. */
export const sharedInstance = client(["MSG-2.1.3"], function* (tee) {
  const writer = yield* openSession(tee, SIMS.uuid);
  const memory = yield* allocateMemory(tee, 32, 1);
  memory.buffer.write(new Uint8Array(32).fill(0x5a));
  const slot = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 0);
  yield* tee.invokeCommand(writer, SIMS.WRITE, [slot, TeecParam.whole(memory)]);
  const reader = yield* openSession(tee, SIMS.uuid);
  const target = yield* allocateMemory(tee, 32, 2);
  const read = yield* tee.invokeCommand(reader, SIMS.READ, [slot, TeecParam.whole(target)]);
  const bytes = target.buffer.read();
  yield* tee.closeSession(writer);
  yield* tee.closeSession(reader);
  return { read: read.result, bytes };
});

/** Closing the device does not close sessions while a shared-memory descriptor lives (TEE-3.1.2). */
export const deviceClosedEarly = client(["TEE-3.1.2", "TEE-3.1.4"], function* (tee, context) {
  const memory = yield* allocateMemory(tee, 4096);
  yield* openSession(tee, INVOKE_TESTS.uuid);
  const closes = countCloses(context);
  yield* tee.finalize();
  const whileShared = closes();
  yield* tee.releaseSharedMemory(memory);
  return { whileShared, afterwards: closes() };
});

/** How many yielding calls were made since, which after the device is closed are CLOSE_SESSION. */
function countCloses(context: ScenarioContext): () => number {
  let calls = 0;
  context.observe(({ where, phase, registers }) => {
    const yielding = (registers.get(0) & 0x8000_0000) === 0;
    if (where === "conduit" && phase === "enter" && yielding) calls += 1;
  });
  return () => calls;
}

/** A waiting TA is cancelled from another thread of the client. */
export const cancellation = client(
  ["TEE-3.4", "MSG-2.CANCEL", "MSG-4.CANCEL"],
  function* (tee, context) {
    const session = yield* openSession(tee, OS_TEST.uuid);
    const { scheduler } = context;
    const waiter = scheduler.spawn(
      "waiting client",
      tee.invokeCommand(session, OS_TEST.WAIT, [TeecParam.value(TEEC_PARAM.VALUE_INPUT, 2000)]),
    );
    // Until the TA waits there is nothing to cancel; time must pass between two tries.
    while (!waiter.finished) {
      yield* sleep(10);
      yield* tee.requestCancellation(session);
    }
    const { result, origin } = yield* waiter.join();
    yield* tee.closeSession(session);
    return { result, origin };
  },
);
