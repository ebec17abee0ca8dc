import { crc32 } from "node:zlib";
import { afterEach, expect, test } from "@jest/globals";
import {
  type Deadline,
  DeadlineError,
  InfrastructureError,
  InterruptedError,
  TargetCrashError,
} from "../base/index.ts";
import type { Registers } from "../machine/index.ts";
import { receiveError, sendError } from "./remote-errors.ts";
import { RemoteClient } from "./testing/remote-client.ts";
import type { MemoryWrite, WireMachine } from "./wire-machine.ts";

const BASE = 0x4800_0000;
const SIZE = 8 * 4096;

/** RAM and a secure world that adds 1 to every register. */
class FakeWireMachine implements WireMachine {
  readonly granule = 128;
  readonly ram = Buffer.alloc(SIZE);
  failure: Error | undefined;
  hang = false;
  onSmc: () => void = () => {};

  async read(at: number, length: number): Promise<Uint8Array> {
    await this.#turn();
    return this.ram.subarray(at - BASE, at - BASE + length);
  }

  async write(at: number, bytes: Uint8Array): Promise<void> {
    await this.writeAll([{ at, bytes }]);
  }

  async writeAll(writes: readonly MemoryWrite[]): Promise<void> {
    await this.#turn();
    for (const { at, bytes, length = bytes.length } of writes) {
      this.ram.fill(bytes, at - BASE, at - BASE + length);
    }
  }

  async checksums(at: number, size: number, count: number): Promise<readonly number[]> {
    await this.#turn();
    return Array.from({ length: count }, (_, index) =>
      crc32(this.ram.subarray(at - BASE + index * size, at - BASE + (index + 1) * size)),
    );
  }

  async smc(registers: Registers, deadline: Deadline): Promise<void> {
    await this.#turn();
    this.onSmc();
    if (this.hang) await deadline.race(new Promise(() => {}));
    for (let index = 0; index < 8; index += 1) {
      registers.set64(index, registers.get64(index) + 1n);
    }
  }

  async #turn(): Promise<void> {
    await new Promise(setImmediate);
    if (this.failure !== undefined) throw this.failure;
  }
}

let client: RemoteClient | undefined;
afterEach(async () => {
  await client?.close();
  client = undefined;
});

function connect(
  machine: WireMachine,
  options: { limitMs?: number; graceMs?: number; abort?: AbortSignal } = {},
): RemoteClient {
  client = new RemoteClient(machine, { base: BASE, size: SIZE }, { limitMs: 5000, ...options });
  return client;
}

const SMC = { do: "smc", x: [1n, 2n, 3n, 4n, 5n, 6n, 7n, 0xffff_ffff_ffffn] } as const;

test("a blocked worker has the memory and the SMCs of a machine that the main thread owns", async () => {
  const machine = new FakeWireMachine();
  const [, , called, seen, none] = await connect(machine).run(
    { do: "zero", at: BASE + 4096, length: 4096 },
    { do: "write", at: BASE + 5000, bytes: Uint8Array.of(1, 2, 3) },
    SMC,
    { do: "read", at: BASE + 4999, length: 5 },
    { do: "read", at: BASE + SIZE, length: 1 },
  );
  expect(called).toEqual({ x: [2n, 3n, 4n, 5n, 6n, 7n, 8n, 0x1_0000_0000_0000n] });
  expect(seen).toEqual({ bytes: Uint8Array.of(0, 1, 2, 3, 0) });
  expect(none).toMatchObject({ error: { name: "RangeError" } });
  expect([...machine.ram.subarray(5000, 5003)]).toEqual([1, 2, 3]);
});

test.each(
  [
    new TargetCrashError("gone", { seen: "a banner", next: "Power-cycle it." }),
    new InfrastructureError("noise", { expected: "none", where: "the cable" }),
    new DeadlineError("too late"),
    new InterruptedError("stopped"),
    new RangeError("out of it"),
    new TypeError("a mistake"),
  ].map((error) => [error.name, error] as const),
)("%s crosses the border as what it is", async (_, failure) => {
  const machine = new FakeWireMachine();
  const one = connect(machine);
  expect((await one.run(SMC))[0]).toHaveProperty("x");
  machine.failure = failure;
  const [after] = await one.run(SMC);
  if (after === undefined || !("error" in after)) throw new Error("it did not fail");
  const received = receiveError(after.error);
  expect(received).toMatchObject({ message: failure.message });
  expect(sendError(received)).toEqual({
    ...sendError(failure),
    name: failure instanceof TypeError ? "Error" : failure.name,
  });
  if (!(failure instanceof TypeError)) expect(received).toBeInstanceOf(failure.constructor);
});

test("a request that takes too long ends at the main thread's limit, and the next one is answered", async () => {
  const machine = new FakeWireMachine();
  machine.hang = true;
  const one = connect(machine, { limitMs: 50 });
  expect((await one.run(SMC))[0]).toMatchObject({ error: { name: "DeadlineError" } });
  machine.hang = false;
  expect((await one.run(SMC))[0]).toHaveProperty("x");
});

test("an interrupt ends the wait", async () => {
  const machine = new FakeWireMachine();
  machine.hang = true;
  const abort = new AbortController();
  const waiting = connect(machine, { abort: abort.signal }).run(SMC);
  setImmediate(() => abort.abort());
  expect((await waiting)[0]).toMatchObject({ error: { name: "InterruptedError" } });
});

test("a worker whose main thread stopped answering gives up", async () => {
  const machine = new FakeWireMachine();
  const one = connect(machine, { limitMs: 20, graceMs: 20 });
  one.server.close();
  expect((await one.run(SMC))[0]).toMatchObject({
    error: {
      name: "InfrastructureError",
      message: "the thread that owns the board does not answer",
    },
  });
});

test("a worker that is blocked can be ended", async () => {
  const machine = new FakeWireMachine();
  machine.hang = true;
  const one = connect(machine, { limitMs: 200 });
  const blocked = new Promise<void>((resolve) => {
    machine.onSmc = resolve;
  });
  const ended = new Promise((resolve) => one.worker.once("exit", resolve));
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  one.worker.postMessage([SMC]);
  await blocked;
  await one.worker.terminate();
  expect(await ended).toBe(1);
});
