import type { Partition } from "./partition.ts";
import type { RegisteredObject } from "./registered-shm.ts";
import type { RpcArgument, RpcPayload } from "./rpc.ts";

/** Code of the secure world that can leave it in the middle: each `yield` is an exit by RPC. */
export type SecureTask<T = void> = Generator<undefined, T, undefined>;

/**
 * The value where the secure world was not left on the way to it, else the task that will give it. The
 * calls that clients make most run as plain code: a generator for each function costs more than what
 * the function does.
 */
export type MaybeSecure<T> = T | SecureTask<T>;

export const isTask = <T extends object | number | boolean | undefined>(
  value: MaybeSecure<T>,
): value is SecureTask<T> => typeof value === "object" && value !== null && "next" in value;

export type ThreadState = "free" | "active" | "suspended";

/** One entry of the thread table (SMC-4.2). */
export class Thread {
  readonly index: number;
  readonly partition: Partition;
  state: ThreadState = "free";
  /** a7 of the call that started it, for releases that compare it on resume (SMC-4.2). */
  clientId = 0;
  body: SecureTask<number> | undefined;
  /** a0, a1 and a2 of the exit under way. */
  exitCode = 0;
  exitA1 = 0;
  exitA2 = 0;
  /** Whether the registers of the resume become the RPC's result; not after a foreign interrupt. */
  copyArgsOnReturn = false;
  /** a1, a2, a4 and a5 of the resume. */
  readonly reply = new Uint32Array(4);
  /** The RPC argument buffer that this thread allocated and keeps (SMC-5.2, SMC-6). */
  rpcArgument: RpcArgument | undefined;
  /** The RPC argument buffer that came with the call under way (SMC-4.1.8). */
  callRpcArgument: RpcArgument | undefined;
  /** The entry of the table for pages of messages, used again by the next call (MSG-2.3.2). */
  message: RegisteredObject | undefined;
  /** User TAs that it executes, one inside the other. */
  depth = 0;
  /** Payload buffers that are kept until the end of the call, by user (MSG-3.6). */
  readonly payloads = new Map<string, RpcPayload | undefined>();

  constructor(partition: Partition, index: number) {
    this.partition = partition;
    this.index = index;
  }

  /** Leaves the secure world with `code` in a0 and these words; ends when the thread is resumed. */
  *exit(code: number, a1: number, a2: number, copyArgs: boolean): SecureTask {
    this.exitCode = code;
    this.exitA1 = a1;
    this.exitA2 = a2;
    this.copyArgsOnReturn = copyArgs;
    yield undefined;
  }
}
