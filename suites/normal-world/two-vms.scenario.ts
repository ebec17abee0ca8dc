import type { Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, type TeecContext, TeecParam } from "../../harness/normal-world/index.ts";
import type { Data, Scenario } from "../../harness/platform/index.ts";
import { buffer, openSession } from "../support/client.ts";
import { CRYPT, INVOKE_TESTS, OS_TEST, SIMS } from "../support/tas.ts";

/**
 * Opens, invokes, waits and closes many times; gives session ids and whether every answer was right.
 * While the TA waits, its call is suspended in an RPC and others run.
 */
function* work(tee: TeecContext, salt: number): Task<{ ids: number[]; right: boolean }> {
  const ids: number[] = [];
  let right = true;
  const waiting = yield* openSession(tee, OS_TEST.uuid);
  for (let turn = 0; turn < 20; turn += 1) {
    const pause = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 1);
    right &&= (yield* tee.invokeCommand(waiting, OS_TEST.WAIT, [pause])).result === 0;
    const session = yield* openSession(tee, INVOKE_TESTS.uuid);
    ids.push(session.id);
    const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, turn, salt);
    yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [value]);
    right &&= value.a === turn + salt;
    const bytes = new Uint8Array(5000).fill(turn);
    const memory = buffer(tee, bytes, salt);
    const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, memory);
    yield* tee.invokeCommand(session, INVOKE_TESTS.PARAMS, [memref]);
    right &&= memory.read(0, 1)[0] === ((5000 * turn) & 0xff);
    tee.process.memory.unmap(memory);
    yield* tee.closeSession(session);
  }
  yield* tee.closeSession(waiting);
  return { ids, right };
}

/** Two VMs at once, each with its own sessions: neither sees the other's. */
export const interleaved: Scenario = {
  conduits: ["vm"],
  vms: 2,
  clauses: ["MED-009", "MED-151", "SMC-8.1", "MSG-2.1.2"],
  interrupts: 200,
  // Who has a turn when depends on the interrupts.
  resultsOnly: true,
  run: (context) => {
    const clients = [context.client(0), context.client(1)];
    const owners = new Set<number>();
    const order: number[] = [];
    context.observe(({ where, phase, guest, registers }) => {
      if (where === "conduit" && phase === "enter" && guest !== undefined) order.push(guest);
      if (where === "port" && phase === "enter") owners.add(registers.get(7));
    });
    const tasks = clients.map((tee, index) =>
      context.scheduler.spawn(`vm ${index}`, work(tee, 100 * (index + 1))),
    );
    const results = context.execute(
      (function* (): Task<Data[]> {
        const all: Data[] = [];
        for (const task of tasks) all.push({ ...(yield* task.join()) });
        return all;
      })(),
    );
    const switches = order.filter((guest, index) => index > 0 && order[index - 1] !== guest);
    const ids = [...owners].toSorted((a, b) => a - b);
    // One VM after the other would be a single switch.
    return { results, clientIds: ids, interleaved: switches.length > 2 };
  },
};

/** A single-instance TA is one instance for each VM: what one VM stores the other does not find. */
export const ownInstances: Scenario = {
  conduits: ["vm"],
  vms: 2,
  clauses: ["SMC-8.2", "MSG-2.1.3"],
  run: (context) => {
    const [first, second] = [context.client(0), context.client(1)];
    return context.execute(
      (function* (): Task<Data> {
        const counters: number[] = [];
        for (const tee of [first, first, second]) {
          const session = yield* openSession(tee, SIMS.uuid);
          const value = TeecParam.value(TEEC_PARAM.VALUE_OUTPUT);
          yield* tee.invokeCommand(session, SIMS.GET_COUNTER, [value]);
          counters.push(value.a);
        }
        return counters;
      })(),
    );
  },
};

/** One VM ends in the middle of its work; the other does not notice, and a third finds room. */
export const deathOfOne: Scenario = {
  conduits: ["vm"],
  vms: 2,
  clauses: ["MED-160", "MED-164", "MED-167", "SMC-8.5"],
  interrupts: 200,
  // How far the one came that dies depends on the interrupts.
  resultsOnly: true,
  run: (context) => {
    const doomed = context.client(0);
    const other = context.client(1);
    const { scheduler } = context;
    const victim = scheduler.spawn("doomed", work(doomed, 7));
    const survivor = scheduler.spawn("survivor", work(other, 9));
    for (let turn = 0; turn < 25; turn += 1) scheduler.runUntil(once());
    victim.kill(new Error("the VM is gone"));
    context.guest(0).destroy();
    scheduler.runUntil(() => survivor.finished);
    const { right } = survivor.result();
    const third = context.client(2);
    const opened = context.execute(third.openSession(CRYPT.uuid));
    return { right, third: opened.result };
  },
};

/** A condition that lets the scheduler make one turn. */
function once(): () => boolean {
  let asked = 0;
  return () => (asked += 1) > 1;
}
