import { expect, test } from "@jest/globals";
import { sleep, type SpawnedTask, type Task } from "../machine/index.ts";
import { ATTR_TYPE, RPC_CMD, SHM_TYPE, TEEC } from "../optee-abi/index.ts";
import { ERRNO, PARAM_ATTR } from "../tee-uapi/index.ts";
import type { Process } from "./process.ts";
import { type Caller, kernelCaller } from "./supplicant-queue.ts";
import { Bench } from "./testkit/boot.ts";
import { RawSupplicant } from "./testkit/raw-supplicant.ts";
import { inSecureWorld } from "./testkit/rpc.ts";
import type { RpcReply, RpcWords, Script } from "./testkit/scripted-world.ts";

const OK = TEEC.TEEC_SUCCESS;
const COMMUNICATION = TEEC.TEEC_ERROR_COMMUNICATION;
const { EINVAL, ENOENT, EBADF, EBUSY, ERESTARTSYS } = ERRNO;
/** The META slot of asynchronous mode. */
const META = 0x103;
const { VALUE_INPUT, VALUE_OUTPUT, VALUE_INOUT, MEMREF_OUTPUT } = PARAM_ATTR;

/** A driver, a supplicant that the test plays, and clients whose calls make requests. */
class Desk {
  readonly bench = new Bench().probed();
  readonly supplicant = new RawSupplicant(this.bench.linux.process("supplicant"));

  run<T>(task: Task<T>): T {
    return this.bench.run(task);
  }

  /** A client's call that makes one RPC with this command. */
  request(command: number, params: readonly RpcWords[], caller?: Caller): SpawnedTask<RpcReply> {
    return this.bench.scheduler.spawn(
      `request ${command}`,
      inSecureWorld(this.bench, (call) => call.rpc(command, ...params), caller),
    );
  }
}

/** Runs `body` with an open device. */
function desk(body: (desk: Desk, supplicant: RawSupplicant) => Task): void {
  const made = new Desk();
  made.run(
    (function* (): Task {
      yield* made.supplicant.open();
      yield* body(made, made.supplicant);
    })(),
  );
}

const ONE: readonly RpcWords[] = [{ attr: ATTR_TYPE.VALUE_INOUT, a: 1, b: 2, c: 3 }];

test("TEE-4.1: a second opener is turned away until the first one's context is gone", () => {
  desk(function* body({ bench }, supplicant) {
    const other = new RawSupplicant(bench.linux.process("other"));
    expect(yield* other.open()).toBe(-EBUSY);
    yield* supplicant.process.exit();
    expect(yield* other.open()).toBeGreaterThan(2);
  });
});

test("TEE-4.2: slots that are missing or not empty are EINVAL", () => {
  desk(function* body(_, supplicant) {
    expect((yield* supplicant.recv(0)).status).toBe(-EINVAL);
    for (const attr of [1, 0x101, 0x200]) {
      expect((yield* supplicant.recv(3, attr)).status).toBe(-EINVAL);
    }
    expect((yield* supplicant.recv(3, 0x100, 0x100)).status).toBe(-EINVAL);
  });
});

test("TEE-4.2: waiting for a request ends with a signal, and a killed supplicant does not come back", () => {
  desk(function* body({ bench }, supplicant) {
    const receive = bench.scheduler.spawn("recv", supplicant.recv(5));
    yield* sleep(1);
    supplicant.process.interrupt();
    expect((yield* receive.join()).status).toBe(-ERESTARTSYS);
    const again = bench.scheduler.spawn("recv", supplicant.recv(5));
    yield* sleep(1);
    yield* supplicant.process.exit();
    expect(() => again.result()).toThrow(/was killed/);
  });
});

test("TEE-4.2: a request with more parameters than slots is EINVAL and stays first in the queue", () => {
  desk(function* body(made, supplicant) {
    const waiting = made.request(13, [...ONE, ...ONE]);
    yield* sleep(1);
    expect((yield* supplicant.recv(2)).status).toBe(-EINVAL);
    expect((yield* supplicant.recv(1, 0)).status).toBe(-EINVAL);
    expect((yield* supplicant.recv(3)).func).toBe(13);
    yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT], [VALUE_INOUT]]);
    yield* waiting.join();
  });
});

test("TEE-4.3, TEE-4.RECV, TEE-4.OUTSTANDING, TEE-4.SEND: asynchronous mode has an id in slot 0 and many requests at once", () => {
  desk(function* body(made, supplicant) {
    const first = made.request(13, ONE);
    yield* sleep(1);
    const second = made.request(14, ONE);
    yield* sleep(1);
    const one = yield* supplicant.recv(5);
    const two = yield* supplicant.recv(5);
    expect([one.func, two.func]).toEqual([13, 14]);
    expect([one.params[0], two.params[0]]).toEqual([
      [259n, 1n, 0n, 0n],
      [259n, 2n, 0n, 0n],
    ]);
    expect(one.params[1]).toEqual([3n, 1n, 2n, 3n]);
    // Answers in any order; the id says which one is meant.
    expect(yield* supplicant.send(OK, [[VALUE_INOUT, 2], [VALUE_INOUT]])).toBe(-EINVAL);
    expect(
      yield* supplicant.send(7, [
        [META, 2],
        [VALUE_INOUT, 20, 21, 22],
      ]),
    ).toBe(0);
    expect(yield* second.join()).toMatchObject({ ret: 7, params: [{ a: 20n, b: 21n, c: 22n }] });
    expect(first.finished).toBe(false);
    expect(
      yield* supplicant.send(OK, [
        [META, 1],
        [VALUE_INOUT, 10],
      ]),
    ).toBe(0);
    expect((yield* first.join()).params[0]?.a).toBe(10n);
  });
});

test("TEE-4.3, TEE-4.RECV, TEE-4.OUTSTANDING, TEE-4.SEND: synchronous mode has one request and no id", () => {
  desk(function* body(made, supplicant) {
    const first = made.request(13, ONE);
    yield* sleep(1);
    const second = made.request(14, ONE);
    yield* sleep(1);
    const one = yield* supplicant.recv(4, 0);
    expect([one.func, one.params]).toEqual([13, [[3n, 1n, 2n, 3n]]]);
    expect((yield* supplicant.recv(4, 0)).status).toBe(-EINVAL);
    expect(yield* supplicant.send(OK, [])).toBe(-EINVAL);
    expect(yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT]])).toBe(-EINVAL);
    expect(yield* supplicant.send(OK, [[VALUE_INOUT, 10]])).toBe(0);
    expect((yield* first.join()).params[0]?.a).toBe(10n);
    expect((yield* supplicant.recv(4, 0)).func).toBe(14);
    yield* supplicant.send(OK, [[VALUE_INOUT, 10]]);
    yield* second.join();
  });
});

test("TEE-4.4: inputs come with values, memory as offset, size and id, outputs as zeros", () => {
  desk(function* body(made, supplicant) {
    const { bench } = made;
    const call = bench.scheduler.spawn(
      "memory",
      inSecureWorld(bench, function* memory(inside): Script<RpcReply> {
        const { cookie } = yield* inside.allocate(SHM_TYPE.APPL, 4096);
        const all = { a: 11, b: 12, c: 13 };
        return yield* inside.rpc(
          13,
          { attr: ATTR_TYPE.VALUE_INPUT, ...all },
          { attr: ATTR_TYPE.VALUE_OUTPUT, ...all },
          { attr: ATTR_TYPE.RMEM_OUTPUT, a: 100, b: 200, c: cookie },
          { attr: ATTR_TYPE.TMEM_OUTPUT },
        );
      }),
    );
    yield* sleep(1);
    yield* supplicant.recv(5);
    const { id } = yield* supplicant.alloc(4096);
    yield* supplicant.send(OK, [
      [META, 1],
      [VALUE_INOUT, 0, 4096, id],
    ]);
    const { params } = yield* supplicant.recv(5);
    expect(params.slice(1)).toEqual([
      [BigInt(VALUE_INPUT), 11n, 12n, 13n],
      [BigInt(VALUE_OUTPUT), 0n, 0n, 0n],
      [BigInt(MEMREF_OUTPUT), 100n, 200n, BigInt(id)],
      [BigInt(MEMREF_OUTPUT), 0n, 0n, 0xffff_ffff_ffff_ffffn],
    ]);
    // TEE-4.5: of memory only the size is taken, and types that are sent back are not compared.
    yield* supplicant.send(OK, [
      [META, 1],
      [VALUE_OUTPUT, 1, 1, 1],
      [0, 21, 22, 23],
      [VALUE_INPUT, 31, 32, 33],
      [MEMREF_OUTPUT, 0, 44, 0],
    ]);
    const reply = yield* call.join();
    const words = reply.params.map(({ a, b, c }) => [a, b, c]);
    expect([words[0], words[1]]).toEqual([
      [11n, 12n, 13n],
      [21n, 22n, 23n],
    ]);
    expect([words[2]?.slice(0, 2), words[3]?.slice(0, 2)]).toEqual([
      [100n, 32n],
      [0n, 44n],
    ]);
  });
});

test("TEE-4.5: unknown ids are ENOENT; a wrong count is EINVAL and leaves the request", () => {
  desk(function* body(made, supplicant) {
    const call = made.request(13, ONE);
    yield* sleep(1);
    yield* supplicant.recv(5);
    const answer = [VALUE_INOUT, 5] as const;
    expect(yield* supplicant.send(OK, [[META, 9], answer])).toBe(-ENOENT);
    expect(yield* supplicant.send(OK, [[META, 2n ** 40n + 1n], answer])).toBe(-ENOENT);
    expect(yield* supplicant.send(OK, [[META, 1]])).toBe(-EINVAL);
    expect(yield* supplicant.send(OK, [[META, 1], answer, answer])).toBe(-EINVAL);
    expect(call.finished).toBe(false);
    expect(yield* supplicant.send(OK, [[META, 1], answer])).toBe(0);
    expect((yield* call.join()).params[0]?.a).toBe(5n);
    expect(yield* supplicant.send(OK, [[META, 1], answer])).toBe(-ENOENT);
  });
});

test("TEE-4.6: requests are first in, first out, and the lowest free id from 1 is given", () => {
  desk(function* body(made, supplicant) {
    const calls: SpawnedTask<RpcReply>[] = [];
    for (const command of [13, 14, 15]) {
      calls.push(made.request(command, ONE));
      yield* sleep(1);
    }
    const taken = [yield* supplicant.recv(5), yield* supplicant.recv(5)];
    expect(taken.map(({ func, params }) => [func, params[0]?.[1]])).toEqual([
      [13, 1n],
      [14, 2n],
    ]);
    yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT]]);
    const third = yield* supplicant.recv(5);
    expect([third.func, third.params[0]?.[1]]).toEqual([15, 1n]);
    for (const id of [1, 2]) yield* supplicant.send(OK, [[META, id], [VALUE_INOUT]]);
    for (const call of calls) yield* call.join();
  });
});

/** A client whose RPC is under way, and what it got. */
function* client(made: Desk): Task<{ process: Process; reply: SpawnedTask<RpcReply> }> {
  const process = made.bench.linux.process("client");
  const reply = made.request(13, ONE, process);
  yield* sleep(1);
  return { process, reply };
}

test("TEE-4.7: a requester that is killed before pick-up takes its request away", () => {
  desk(function* body(made, supplicant) {
    const { process, reply } = yield* client(made);
    process.kill();
    expect((yield* reply.join()).ret).toBe(COMMUNICATION);
    expect(made.bench.driver.supplicant.outstanding).toBe(0);
    const next = made.request(14, ONE);
    const received = yield* supplicant.recv(5);
    expect([received.func, received.params[0]?.[1]]).toEqual([14, 1n]);
    yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT]]);
    yield* next.join();
  });
});

test("TEE-4.7, TEE-4.5: killed after pick-up it returns at once, and its id is taken until the answer, which is EBADF", () => {
  desk(function* body(made, supplicant) {
    const { process, reply } = yield* client(made);
    yield* supplicant.recv(5);
    process.kill();
    expect((yield* reply.join()).ret).toBe(COMMUNICATION);
    const next = made.request(14, ONE);
    yield* sleep(1);
    expect((yield* supplicant.recv(5)).params[0]?.[1]).toBe(2n);
    expect(yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT]])).toBe(-EBADF);
    expect(yield* supplicant.send(OK, [[META, 1], [VALUE_INOUT]])).toBe(-ENOENT);
    yield* supplicant.send(OK, [[META, 2], [VALUE_INOUT]]);
    yield* next.join();
  });
});

test("TEE-4.7: without a supplicant clients of user space wait for one, those of the kernel do not", () => {
  const made = new Desk();
  made.run(
    (function* (): Task {
      const { reply } = yield* client(made);
      const kernel = made.request(14, ONE, kernelCaller());
      expect((yield* kernel.join()).ret).toBe(COMMUNICATION);
      yield* sleep(1_000_000);
      expect(reply.finished).toBe(false);
      yield* made.supplicant.open();
      expect((yield* made.supplicant.recv(5)).func).toBe(13);
      yield* made.supplicant.send(OK, [
        [META, 1],
        [VALUE_INOUT, 9],
      ]);
      expect((yield* reply.join()).params[0]?.a).toBe(9n);
    })(),
  );
});

test("TEE-4.8: when the supplicant's context goes every request is aborted, taken or not", () => {
  desk(function* body(made, supplicant) {
    const taken = yield* client(made);
    yield* supplicant.recv(5);
    const queued = yield* client(made);
    yield* supplicant.process.exit();
    expect((yield* taken.reply.join()).ret).toBe(COMMUNICATION);
    expect((yield* queued.reply.join()).ret).toBe(COMMUNICATION);
    expect(made.bench.driver.supplicant.outstanding).toBe(0);
  });
});

test("TEE-4.8, TEE-3.1.1: memory that the secure world holds keeps a dead supplicant's context, and the next one out", () => {
  desk(function* body(made, supplicant) {
    const { bench } = made;
    const process = bench.linux.process("client");
    const call = bench.scheduler.spawn(
      "holder",
      inSecureWorld(
        bench,
        function* holds(inside): Script<number[]> {
          const { cookie } = yield* inside.allocate(SHM_TYPE.APPL, 4096);
          const lost = yield* inside.rpc(13, ...ONE);
          const words = { attr: ATTR_TYPE.VALUE_INPUT, a: SHM_TYPE.APPL, b: cookie };
          const freed = yield* inside.rpc(RPC_CMD.SHM_FREE, words);
          return [lost.ret, freed.ret];
        },
        process,
      ),
    );
    yield* sleep(1);
    yield* supplicant.recv(5);
    const { id } = yield* supplicant.alloc(4096);
    yield* supplicant.send(OK, [
      [META, 1],
      [VALUE_INOUT, 0, 4096, id],
    ]);
    yield* supplicant.recv(5);
    yield* supplicant.process.exit();
    yield* sleep(1_000_000);
    // The client waits on, and nobody else can become the supplicant.
    expect(call.finished).toBe(false);
    const next = new RawSupplicant(bench.linux.process("next"));
    expect(yield* next.open()).toBe(-EBUSY);
    process.kill();
    expect(yield* call.join()).toEqual([COMMUNICATION, OK]);
    expect(yield* next.open()).toBeGreaterThan(2);
    expect(bench.linux.kernel.pages.usedPages).toBe(1);
  });
});

test("TEE-4.9, MSG-3.4.ALLOC, MSG-3.SHM_FREE: the kernel asks for memory and for its end, and drops its own reference first", () => {
  desk(function* body(made, supplicant) {
    const { bench } = made;
    const call = bench.scheduler.spawn(
      "memory",
      inSecureWorld(bench, function* memory(inside): Script {
        const { reply, cookie } = yield* inside.allocate(SHM_TYPE.APPL, 5000);
        expect(reply.ret).toBe(OK);
        const words = { attr: ATTR_TYPE.VALUE_INPUT, a: SHM_TYPE.APPL, b: cookie };
        return (yield* inside.rpc(RPC_CMD.SHM_FREE, words)).ret;
      }),
    );
    yield* sleep(1);
    const asked = yield* supplicant.recv(5);
    expect([asked.func, asked.params[1]]).toEqual([RPC_CMD.SHM_ALLOC, [3n, 0n, 5000n, 0n]]);
    const { id, fd } = yield* supplicant.alloc(5000);
    yield* supplicant.send(OK, [
      [META, 1],
      [VALUE_INOUT, 0, 5000, id],
    ]);
    const freed = yield* supplicant.recv(5);
    expect([freed.func, freed.params[1]]).toEqual([RPC_CMD.SHM_FREE, [3n, 0n, BigInt(id), 0n]]);
    // Only the supplicant's descriptor keeps it now.
    const device = bench.linux.devices.get("/dev/teepriv0");
    expect(device?.shmIds).toEqual([id]);
    yield* supplicant.process.close(fd);
    expect(device?.shmIds).toEqual([]);
    yield* supplicant.send(TEEC.TEEC_ERROR_BAD_PARAMETERS, [[META, 1], [VALUE_INOUT]]);
    expect(yield* call.join()).toBe(OK);
  });
});

test("TEE-4.9: an id that is not the supplicant's gives the secure world no memory", () => {
  desk(function* body(made, supplicant) {
    const { bench } = made;
    const call = bench.scheduler.spawn(
      "memory",
      inSecureWorld(bench, function* memory(inside): Script {
        return (yield* inside.allocate(SHM_TYPE.APPL, 4096)).reply.ret;
      }),
    );
    yield* sleep(1);
    yield* supplicant.recv(5);
    yield* supplicant.send(OK, [
      [META, 1],
      [VALUE_INOUT, 0, 4096, 77],
    ]);
    expect(yield* call.join()).toBe(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  });
});
