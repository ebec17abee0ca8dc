import { InternalError } from "../base/index.ts";
import type { Task } from "../machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecSession,
  type UserBuffer,
} from "../normal-world/index.ts";
import { resultName, TEEC, TEEC_ORIGIN } from "../optee-abi/index.ts";
import { OS_TEST_UUID } from "../secure-world/index.ts";
import { createEmulated } from "./emulated.ts";
import { EmulatedContext } from "./emulated-context.ts";

/** How fast one kind of invocation is. */
export interface InvokeRate {
  readonly callsPerSecond: number;
  /** 99th percentile of the time of one call, in microseconds. */
  readonly p99Us: number;
}

/** `registered`: 1 yielding call each. `temporary`: 5, as each buffer is registered for the call. */
export type MemoryUse = "registered" | "temporary";

const SIZE = 64 * 1024;
const INOUT = 3;
const NO_COMMAND = 0x1_0000;

/**
 * A client of the emulated platform (conduit `vm`, rules `strict`) that invokes a command of a TA
 * with two non-contiguous references to 64 KiB, from the client API to the TA and back. The TA is
 * given both and refuses the command itself, as it has none of that number: the way there and back
 * and nothing else.
 */
export class InvokeBench {
  readonly #context: EmulatedContext;
  readonly #client: TeecContext;
  readonly #session: TeecSession;
  readonly #params: Readonly<Record<MemoryUse, readonly TeecParam[]>>;

  constructor() {
    const context = new EmulatedContext(createEmulated({ conduit: "vm", seed: 1 }));
    const client = context.client();
    const opened = context.execute(client.openSession(OS_TEST_UUID));
    this.#context = context;
    this.#client = client;
    this.#session = needed(opened.session, "session");
    const buffers = [0, 1].map(() => needed(client.process.memory.allocate(SIZE), "buffer"));
    const register = (buffer: UserBuffer): TeecParam => {
      const made = context.execute(client.registerSharedMemory(buffer, INOUT));
      return TeecParam.partial(
        TEEC_PARAM.MEMREF_PARTIAL_INOUT,
        needed(made.memory, "registered memory"),
        0,
        SIZE,
      );
    };
    this.#params = {
      registered: buffers.map(register),
      temporary: buffers.map((buffer) => TeecParam.temp(TEEC_PARAM.MEMREF_TEMP_INOUT, buffer)),
    };
  }

  /** Makes `calls` invocations; the whole time in milliseconds. */
  run(use: MemoryUse, calls: number): number {
    const start = performance.now();
    this.#context.execute(this.#invoke(use, calls, undefined));
    return performance.now() - start;
  }

  /** The time of each of `calls` invocations in microseconds, ascending. */
  times(use: MemoryUse, calls: number): Float64Array {
    const times = new Float64Array(calls);
    this.#context.execute(this.#invoke(use, calls, times));
    return times.toSorted();
  }

  *#invoke(use: MemoryUse, calls: number, times: Float64Array | undefined): Task {
    const params = this.#params[use];
    let before = times === undefined ? 0 : performance.now();
    for (let call = 0; call < calls; call += 1) {
      const { result, origin } = yield* this.#client.invokeCommand(
        this.#session,
        NO_COMMAND,
        params,
      );
      if (
        result !== TEEC.TEEC_ERROR_BAD_PARAMETERS ||
        origin !== TEEC_ORIGIN.TEEC_ORIGIN_TRUSTED_APP
      ) {
        throw new InternalError(`the invocation ended with ${resultName(result)} of ${origin}`);
      }
      if (times === undefined) continue;
      const now = performance.now();
      times[call] = (now - before) * 1000;
      before = now;
    }
  }
}

/** Calls of one batch: some tens of milliseconds. */
const BATCH = { registered: 8000, temporary: 1500 } as const;
const BATCHES = 12;

/**
 * Rates of the emulated platform after a warm-up: the fastest batch of all turns, and the smallest
 * 99th percentile of a turn. `between` runs before each turn, for a peer that is measured in turns.
 */
export async function benchInvoke(
  turns = 7,
  between?: () => Promise<void>,
): Promise<Readonly<Record<MemoryUse, InvokeRate>>> {
  const bench = new InvokeBench();
  bench.run("registered", BATCH.registered * BATCHES);
  bench.run("temporary", BATCH.temporary * BATCHES);
  const best = { registered: Infinity, temporary: Infinity };
  const p99 = { registered: Infinity, temporary: Infinity };
  for (let turn = 0; turn < turns; turn += 1) {
    await between?.();
    for (const use of ["registered", "temporary"] as const) {
      const calls = BATCH[use];
      for (let batch = 0; batch < BATCHES; batch += 1) {
        best[use] = Math.min(best[use], bench.run(use, calls) / calls);
      }
      p99[use] = Math.min(p99[use], bench.times(use, calls)[Math.floor(calls * 0.99)] ?? Infinity);
    }
  }
  const rate = (use: MemoryUse): InvokeRate => ({
    callsPerSecond: Math.round(1000 / best[use]),
    p99Us: p99[use],
  });
  return { registered: rate("registered"), temporary: rate("temporary") };
}

function needed<T>(value: T | undefined, what: string): T {
  if (value === undefined) throw new InternalError(`the benchmark got no ${what}`);
  return value;
}
