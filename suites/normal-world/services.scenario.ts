import { sleep, type Task } from "../../harness/machine/index.ts";
import {
  echoPeer,
  type Linux,
  ProcessKilled,
  TEEC_PARAM,
  type TeecContext,
  TeecContext as Context,
  teecInitializeContext,
  TeecParam,
  type TeecSession,
} from "../../harness/normal-world/index.ts";
import { RPC_CMD, rpcCommandName } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { buffer, openSession, uuidFromMemory } from "../support/client.ts";
import { CRYPT, OS_TEST, SOCKET } from "../support/tas.ts";

const ALL = ["vm", "direct", "hwdom"] as const;

/** RPC commands that a kernel served since, by name. */
function watchRpcs(linux: Linux): () => string[] {
  const before = new Map(linux.driver?.rpcCommands);
  return () =>
    [...(linux.driver?.rpcCommands ?? [])]
      .filter(([command, count]) => count > (before.get(command) ?? 0))
      .map(([command]) => rpcCommandName(command))
      .toSorted();
}

/** Which services a TA's loading and its sleep ask for: kernel and supplicant share the work. */
export const rpcKinds: Scenario = {
  conduits: ALL,
  clauses: ["SMC-9.8", "MSG-3.LOAD_TA", "MSG-3.SUSPEND", "MSG-3.SHM_ALLOC", "MSG-3.SHM_FREE"],
  run: (context) => {
    const tee = context.client();
    const { linux } = context.guest();
    const loading = watchRpcs(linux);
    return context.execute(
      (function* (): Task<Data> {
        const session = yield* openSession(tee, OS_TEST.uuid);
        const loaded = loading().filter((name) => name !== "FS" && name !== "NOTIFICATION");
        const sleeping = watchRpcs(linux);
        const before = context.scheduler.nowMs;
        const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 30);
        const { result } = yield* tee.invokeCommand(session, OS_TEST.WAIT, [wait]);
        const slept = context.scheduler.nowMs - before >= 30;
        const kinds = sleeping();
        yield* tee.closeSession(session);
        return { loaded, result, slept, kinds };
      })(),
    );
  },
};

const text = (of: string): Uint8Array => new TextEncoder().encode(of);

/** Opens a socket of the TA to an address, sends and receives. */
function* echo(
  tee: TeecContext,
  session: TeecSession,
  command: number,
  server: string,
  port: number,
): Task<Data> {
  const handle = buffer(tee, 64);
  const opaque = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, handle);
  const error = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
  const opened = yield* tee.invokeCommand(session, command, [
    TeecParam.value(TEEC_PARAM.VALUE_INPUT, 1, port),
    TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, buffer(tee, text(`${server}\0`))),
    opaque,
    error,
  ]);
  if (opened.result !== 0) return { opened: opened.result, error: error.a };
  const socket = (): TeecParam => TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, handle, opaque.size);
  const timing = TeecParam.value(TEEC_PARAM.VALUE_INOUT, 1000);
  const sent = yield* tee.invokeCommand(session, SOCKET.SEND, [
    socket(),
    TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INPUT, buffer(tee, text("hello"))),
    timing,
  ]);
  const answer = buffer(tee, 32);
  const data = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, answer);
  const received = yield* tee.invokeCommand(session, SOCKET.RECV, [
    socket(),
    data,
    TeecParam.value(TEEC_PARAM.VALUE_INPUT, 1000),
  ]);
  return {
    opened: opened.result,
    sent: [sent.result, timing.b],
    received: [received.result, Buffer.from(answer.read(0, data.size)).toString()],
  };
}

/** A TA's sockets reach simulated peers; what it leaves open goes with its instance. */
export const sockets: Scenario = {
  conduits: ALL,
  clauses: ["MSG-3.SOCKET", "MSG-3.2.OPEN", "MSG-3.2.SEND", "MSG-3.2.RECV", "MSG-3.2.END"],
  run: (context) => {
    const tee = context.client();
    const { linux } = context.guest();
    linux.network.listen("tcp", "127.0.0.1", 9000, echoPeer(5));
    linux.network.listen("udp", "127.0.0.1", 9001, echoPeer(5));
    const open = (): number => linux.supplicant?.sockets.openSockets ?? -1;
    return context.execute(
      (function* (): Task<Data> {
        const session = yield* openSession(tee, SOCKET.uuid);
        const tcp = yield* echo(tee, session, SOCKET.TCP_OPEN, "127.0.0.1", 9000);
        const udp = yield* echo(tee, session, SOCKET.UDP_OPEN, "127.0.0.1", 9001);
        const refused = yield* echo(tee, session, SOCKET.TCP_OPEN, "127.0.0.1", 1);
        const unknown = yield* echo(tee, session, SOCKET.TCP_OPEN, "no.such.host", 1);
        const during = open();
        yield* tee.closeSession(session);
        return { tcp, udp, refused, unknown, during, after: open() };
      })(),
    );
  },
};

/** Logins of a user that is not root: client UUIDs of user and groups, and a group of others. */
export const userLogins: Scenario = {
  conduits: ALL,
  clauses: ["TEE-2.3.USER", "TEE-2.3.GROUP", "TEE-2.3.NAMESPACE", "MSG-1.3.LOGIN"],
  run: (context) => {
    const { linux } = context.guest();
    const process = linux.process("user", { euid: 1000, egid: 100, groups: [500] });
    return context.execute(
      (function* (): Task<Data> {
        const { context: tee } = yield* teecInitializeContext(process);
        if (!(tee instanceof Context)) return "no TEE";
        const seen: Data[] = [];
        for (const options of [
          { login: 1 },
          { login: 2, group: 100 },
          { login: 2, group: 500 },
          { login: 2, group: 0 },
        ]) {
          const opened = yield* tee.openSession(OS_TEST.uuid, options);
          if (opened.session === undefined) {
            seen.push({ result: opened.result, origin: opened.origin });
            continue;
          }
          const uuid = buffer(tee, 16);
          yield* tee.invokeCommand(opened.session, OS_TEST.CLIENT_IDENTITY, [
            TeecParam.value(TEEC_PARAM.VALUE_OUTPUT),
            TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_OUTPUT, uuid),
          ]);
          seen.push(uuidFromMemory(uuid.read()));
          yield* tee.closeSession(opened.session);
        }
        return seen;
      })(),
    );
  },
};

/** Runs `body`, and says whether the process was killed in it. */
function* killable(body: Task<unknown>): Task<boolean> {
  try {
    yield* body;
    return false;
  } catch (error) {
    if (error instanceof ProcessKilled) return true;
    throw error;
  }
}

const openCrypt = (context: ScenarioContext, tee: TeecContext): number =>
  context.execute(tee.openSession(CRYPT.uuid)).result;

/** A client that dies in the middle of a call, its session and its memory open. */
export const clientDeath: Scenario = {
  conduits: ALL,
  clauses: ["TEE-3.1.1", "TEE-3.1.4", "TEE-3.3.2"],
  run: (context) => {
    const tee = context.client();
    const { linux } = context.guest();
    const died = context.execute(
      (function* (): Task<boolean> {
        const session = yield* openSession(tee, OS_TEST.uuid);
        yield* tee.allocateSharedMemory(10_000, 3);
        const wait = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 500);
        const waiting = context.scheduler.spawn(
          "waiting",
          killable(tee.invokeCommand(session, OS_TEST.WAIT, [wait])),
        );
        yield* sleep(20);
        tee.process.kill();
        yield* tee.process.join();
        return yield* waiting.join();
      })(),
    );
    const device = linux.devices.get("/dev/tee0");
    const left = { contexts: device?.contexts, shm: device?.shmIds.length };
    return { died, left, next: openCrypt(context, context.client()) };
  },
};

/** The supplicant dies while nobody needs it; clients that do wait until another one comes. */
export const supplicantDeath: Scenario = {
  conduits: ALL,
  clauses: ["TEE-4.1", "TEE-4.7", "TEE-4.8"],
  run: (context) => {
    const tee = context.client();
    const { linux } = context.guest();
    return context.execute(
      (function* (): Task<Data> {
        yield* linux.supplicant?.process.exit() ?? sleep(0);
        const opening = context.scheduler.spawn("opening", tee.openSession(CRYPT.uuid));
        yield* sleep(50);
        const waited = !opening.finished;
        const started = yield* linux.startSupplicant();
        const { result } = yield* opening.join();
        const loads = linux.supplicant?.served.get(RPC_CMD.LOAD_TA) ?? 0;
        return { waited, started, result, loads };
      })(),
    );
  },
};
