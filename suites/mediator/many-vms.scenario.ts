import type { SpawnedTask, Task } from "../../harness/machine/index.ts";
import { TEEC_PARAM, type TeecContext, TeecParam } from "../../harness/normal-world/index.ts";
import { RPC_FUNC, SMC_RETURN, isRpcReturn, rpcFunction } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";
import { allocateMemory, buffer, openSession, registerMemory } from "../support/client.ts";
import { vmOf } from "../support/vm.ts";
import { CRYPT, INVOKE_TESTS, SIMS } from "../support/tas.ts";

/** Clients of each VM: more than the secure world has threads for it. */
const CLIENTS = 3;

/**
 * One client: a TA that is loaded for it, memory of every kind, and a pseudo-TA in between. What it
 * saw depends on `salt` alone, whoever else is there.
 */
function* client(tee: TeecContext, salt: number): Task<Data> {
  const seen: Data[] = [];
  const text = Uint8Array.from({ length: 5000 }, (_, index) => (index * salt) & 0xff);
  const pseudo = yield* openSession(tee, INVOKE_TESTS.uuid);
  const value = TeecParam.value(TEEC_PARAM.VALUE_INOUT, salt, 1000);
  yield* tee.invokeCommand(pseudo, INVOKE_TESTS.PARAMS, [value]);
  seen.push(value.a);

  const ta = yield* openSession(tee, CRYPT.uuid);
  const input = yield* registerMemory(tee, buffer(tee, text, salt % 4096), 1);
  const output = yield* allocateMemory(tee, 32, 2);
  const { result } = yield* tee.invokeCommand(ta, CRYPT.SHA256, [
    TeecParam.whole(input),
    TeecParam.whole(output),
  ]);
  seen.push(result, Buffer.from(output.buffer.read(0, 32)).toString("hex"));
  yield* tee.releaseSharedMemory(input);

  const temporary = buffer(tee, text, 4096 - (salt % 4096));
  const memref = TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, temporary);
  yield* tee.invokeCommand(pseudo, INVOKE_TESTS.PARAMS, [memref]);
  seen.push(temporary.read(0, 1)[0] ?? -1);
  tee.process.memory.unmap(temporary);
  yield* tee.closeSession(ta);
  yield* tee.closeSession(pseudo);
  return seen;
}

/** One client of the VM's own single-instance TA: what it reads was written in this VM. */
function* storing(tee: TeecContext, salt: number): Task<Data> {
  const session = yield* openSession(tee, SIMS.uuid);
  const written = yield* allocateMemory(tee, 32, 1);
  written.buffer.write(new Uint8Array(32).fill(salt));
  const slot = TeecParam.value(TEEC_PARAM.VALUE_INPUT, 0);
  yield* tee.invokeCommand(session, SIMS.WRITE, [slot, TeecParam.whole(written)]);
  yield null;
  const read = yield* allocateMemory(tee, 32, 2);
  yield* tee.invokeCommand(session, SIMS.READ, [slot, TeecParam.whole(read)]);
  const seen = read.buffer.read(0, 1)[0] ?? -1;
  yield* tee.closeSession(session);
  return seen;
}

/** Boots guest `index` and connects its clients; what comes back starts them. */
function prepareVm(context: ScenarioContext, index: number): () => SpawnedTask<Data>[] {
  const salts = Array.from({ length: CLIENTS }, (_, number) => 100 * (index + 1) + number);
  const tees = salts.map(() => context.client(index));
  const last = context.client(index);
  const guest = context.guest(index);
  return () => [
    ...tees.map((tee, number) => guest.spawn(`client ${number}`, client(tee, salts[number] ?? 0))),
    guest.spawn("storing client", storing(last, salts[0] ?? 0)),
  ];
}

const startVm = (context: ScenarioContext, index: number): SpawnedTask<Data>[] =>
  prepareVm(context, index)();

/** What every task gave, when all have ended. */
function* resultsOf(tasks: readonly SpawnedTask<Data>[]): Task<Data[]> {
  const results: Data[] = [];
  for (const task of tasks) results.push(yield* task.join());
  return results;
}

/** How often what happened at the conduits, and who spoke at the port. */
function watch(context: ScenarioContext): {
  readonly order: number[];
  readonly clients: Set<number>;
  readonly counts: { threadLimit: number; interrupts: number; rpcs: number };
} {
  const seen = {
    order: [] as number[],
    clients: new Set<number>(),
    counts: { threadLimit: 0, interrupts: 0, rpcs: 0 },
  };
  context.observe(({ where, phase, guest, registers }) => {
    if (where === "port" && phase === "enter") seen.clients.add(registers.get(7));
    if (where !== "conduit" || guest === undefined) return;
    if (phase === "enter") {
      seen.order.push(guest);
      return;
    }
    const a0 = registers.get(0);
    if (a0 === SMC_RETURN.ETHREAD_LIMIT) seen.counts.threadLimit += 1;
    if (!isRpcReturn(a0)) return;
    if (rpcFunction(a0) === RPC_FUNC.FOREIGN_INTR) seen.counts.interrupts += 1;
    else seen.counts.rpcs += 1;
  });
  return seen;
}

const VMS = [0, 1, 2, 3] as const;

/**
 * Four VMs, each with more clients than threads, interrupted at every turn: every client sees what it
 * would see alone.
 */
export const busy: Scenario = {
  conduits: ["vm"],
  clauses: ["MED-009", "MED-040", "MED-150", "MED-151"],
  vms: VMS.length,
  interrupts: 900,
  parallel: 100,
  run: (context) => {
    const starts = VMS.map((index) => prepareVm(context, index));
    const { order, clients, counts } = watch(context);
    const results = context.execute(resultsOf(starts.flatMap((start) => start())));
    const switches = order.filter((guest, at) => at > 0 && order[at - 1] !== guest).length;
    return { results, clients: [...clients].toSorted((a, b) => a - b), switches, ...counts };
  },
};

/** One VM alone with the same clients: what `busy` is held against. */
export const alone: Scenario = {
  conduits: ["vm"],
  clauses: [],
  vms: VMS.length,
  run: (context) =>
    VMS.map((index) => {
      const results = context.execute(resultsOf(startVm(context, index)));
      context.guest(index).destroy();
      return results;
    }),
};

/** Turns of the scheduler before a VM dies, spread over its life. */
const DEATHS = [1, 5, 20, 60, 150, 300, 450, 600] as const;

/**
 * VMs die one after the other, each later in its life; one lives on, and a new one comes each time.
 * The one that lives sees what it would see alone, and what the dead held is nobody's.
 */
export const deaths: Scenario = {
  conduits: ["vm"],
  clauses: ["MED-160", "MED-161", "MED-162", "MED-163", "MED-164", "MED-165", "MED-167", "SMC-8.3"],
  vms: 3,
  interrupts: 300,
  parallel: 100,
  run: (context) => {
    const survivor = startVm(context, 0);
    const left: number[] = [];
    for (const [index, turns] of DEATHS.entries()) {
      const doomed = context.guest(index + 1);
      const tasks = startVm(context, index + 1);
      let turn = 0;
      context.scheduler.runUntil(
        () => (turn += 1) > turns || tasks.every(({ finished }) => finished),
      );
      const { frames, owner } = vmOf(context, index + 1).space;
      doomed.destroy();
      left.push(frames.records(owner).length);
    }
    return { left, results: context.execute(resultsOf(survivor)) };
  },
};
