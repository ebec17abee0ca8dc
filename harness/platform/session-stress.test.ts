import { expect, test } from "@jest/globals";
import { Random } from "../base/index.ts";
import type { Task } from "../machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  type TeecMemory,
  TeecParam,
  type TeecSession,
} from "../normal-world/index.ts";
import { TEEC } from "../optee-abi/index.ts";
import {
  CONCURRENT_CMD,
  CONCURRENT_UUID,
  CRYPT_CMD,
  CRYPT_UUID,
  INVOKE_TESTS_UUID,
  OS_TEST_CMD,
  OS_TEST_UUID,
  SIMS_CMD,
  SIMS_UUID,
} from "../secure-world/index.ts";
import { createEmulated, EmulatedContext } from "./index.ts";

const UUIDS = [INVOKE_TESTS_UUID, CRYPT_UUID, OS_TEST_UUID, SIMS_UUID, CONCURRENT_UUID] as const;
const EXPECTED = new Set<number>([
  TEEC.TEEC_SUCCESS,
  TEEC.TEEC_ERROR_BAD_PARAMETERS,
  TEEC.TEEC_ERROR_OUT_OF_MEMORY,
  TEEC.TEEC_ERROR_TARGET_DEAD,
  TEEC.TEEC_ERROR_CANCEL,
  TEEC.TEEC_ERROR_SHORT_BUFFER,
  TEEC.TEEC_ERROR_OVERFLOW,
  TEEC.TEEC_ERROR_TIME_NOT_SET,
]);

/** A client that does whatever it likes with sessions and shared memory, and then cleans up. */
class RandomClient {
  readonly #tee: TeecContext;
  readonly #random: Random;
  readonly #sessions: TeecSession[] = [];
  readonly #memory: TeecMemory[] = [];
  calls = 0;
  readonly unexpected: number[] = [];

  constructor(tee: TeecContext, random: Random) {
    this.#tee = tee;
    this.#random = random;
  }

  *run(turns: number): Task {
    for (let turn = 0; turn < turns; turn += 1) {
      yield* this.#step();
      yield null;
    }
    for (const session of this.#sessions) yield* this.#tee.closeSession(session);
    for (const memory of this.#memory) yield* this.#release(memory);
    yield* this.#tee.finalize();
    yield* this.#tee.process.exit();
  }

  *#step(): Task {
    switch (this.#random.below(8)) {
      case 0:
      case 1:
        yield* this.#open();
        return;
      case 2: {
        const session = this.#take(this.#sessions);
        if (session !== undefined) yield* this.#tee.closeSession(session);
        return;
      }
      case 3: {
        const made = yield* this.#tee.allocateSharedMemory(1 + this.#random.below(20_000), 3);
        if (made.memory !== undefined) this.#memory.push(made.memory);
        return;
      }
      case 4: {
        const memory = this.#take(this.#memory);
        if (memory !== undefined) yield* this.#release(memory);
        return;
      }
      default:
        yield* this.#invoke();
    }
  }

  *#release(memory: TeecMemory): Task {
    yield* this.#tee.releaseSharedMemory(memory);
    this.#tee.process.memory.unmap(memory.buffer);
  }

  #take<T>(from: T[]): T | undefined {
    if (from.length === 0) return undefined;
    return from.splice(this.#random.below(from.length), 1)[0];
  }

  *#open(): Task {
    const uuid = UUIDS[this.#random.below(UUIDS.length)] ?? CRYPT_UUID;
    const opened = yield* this.#tee.openSession(uuid);
    this.calls += 1;
    if (!EXPECTED.has(opened.result)) this.unexpected.push(opened.result);
    if (opened.session !== undefined) this.#sessions.push(opened.session);
  }

  *#invoke(): Task {
    const session = this.#sessions[this.#random.below(Math.max(1, this.#sessions.length))];
    if (session === undefined) return;
    const commands = [
      CRYPT_CMD.SHA256,
      OS_TEST_CMD.PANIC,
      OS_TEST_CMD.WAIT,
      SIMS_CMD.GET_COUNTER,
      CONCURRENT_CMD.BUSY_LOOP,
      77,
    ];
    const params = Array.from({ length: this.#random.below(5) }, () => this.#param());
    const command = commands[this.#random.below(commands.length)] ?? 0;
    const done = yield* this.#tee.invokeCommand(session, command, params);
    this.calls += 1;
    if (!EXPECTED.has(done.result)) this.unexpected.push(done.result);
  }

  #param(): TeecParam {
    const memory = this.#memory[this.#random.below(Math.max(1, this.#memory.length))];
    if (memory === undefined || this.#random.below(3) === 0) {
      return TeecParam.value(1 + this.#random.below(3), this.#random.below(300), 5);
    }
    if (this.#random.below(4) === 0) {
      return TeecParam.temp(5 + this.#random.below(3), memory.buffer);
    }
    const offset = this.#random.below(memory.size);
    const size = this.#random.below(memory.size - offset + 2);
    return TeecParam.partial(
      TEEC_PARAM.MEMREF_PARTIAL_INPUT + this.#random.below(3),
      memory,
      offset,
      size,
    );
  }
}

for (const conduit of ["vm", "direct"] as const) {
  for (const seed of [1, 2, 3]) {
    test(`TEE-3.1.1, TEE-3.3.2: random clients on conduit ${conduit}, seed ${seed}, leave nothing behind`, () => {
      const platform = createEmulated({ conduit, seed, interrupts: 100 });
      const context = new EmulatedContext(platform);
      const guests = conduit === "vm" ? [0, 1] : [0];
      const kernels = guests.map((guest) => context.guest(guest).linux);
      const before = kernels.map((linux) => linux.kernel.pages.usedPages);
      const random = new Random(seed);
      const clients = guests.flatMap((guest) =>
        [0, 1, 2].map(() => new RandomClient(context.client(guest), new Random(random.u32()))),
      );
      const tasks = clients.map((client, index) =>
        context.scheduler.spawn(`client ${index}`, client.run(120)),
      );
      context.scheduler.runUntil(() => tasks.every((task) => task.finished));
      for (const task of tasks) task.result();
      expect(clients.flatMap(({ unexpected }) => unexpected)).toEqual([]);
      expect(clients.reduce((sum, client) => sum + client.calls, 0)).toBeGreaterThan(100);
      for (const [index, linux] of kernels.entries()) {
        expect(linux.driver?.callsRunning).toBe(0);
        for (const device of linux.devices.values()) expect(device.shmIds).toEqual([]);
        // Message buffers stay in the driver's cache; nothing else may.
        const kept = linux.kernel.pages.usedPages - (before[index] ?? 0);
        expect(kept).toBeLessThanOrEqual(12);
      }
      for (const partition of platform.secureWorld.partitions.all) {
        expect(partition.sessions).toEqual([]);
        expect(partition.threads.every(({ state }) => state === "free")).toBe(true);
        expect(partition.contexts.every((one) => one.isPseudo || one.references === 0)).toBe(true);
        for (const { pages } of partition.registered.objects()) expect(pages.size).toBe(4096);
      }
    });
  }
}

/** Every register of every SMC of two random clients in two VMs. */
function everySmc(seed: number): string {
  const context = new EmulatedContext(createEmulated({ conduit: "vm", seed, interrupts: 100 }));
  const seen: string[] = [];
  const clients = [0, 1].map((guest) => new RandomClient(context.client(guest), new Random(5)));
  context.observe(({ where, phase, registers }) => {
    seen.push(`${where} ${phase} ${registers.toArray().join(" ")}`);
  });
  const tasks = clients.map((client, index) =>
    context.scheduler.spawn(`client ${index}`, client.run(40)),
  );
  context.scheduler.runUntil(() => tasks.every((task) => task.finished));
  return seen.join("\n");
}

test("one seed repeats every SMC of a run", () => {
  expect(everySmc(4)).toBe(everySmc(4));
  expect(everySmc(4)).not.toBe(everySmc(6));
});
