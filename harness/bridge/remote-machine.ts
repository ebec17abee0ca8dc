import { receiveMessageOnPort } from "node:worker_threads";
import { InfrastructureError, InternalError } from "../base/index.ts";
import type { Registers } from "../machine/index.ts";
import type { SynchronousMachine } from "./bridged-port.ts";
import { receiveError } from "./remote-errors.ts";
import type { RemoteAnswer, RemoteLink, RemoteRequest } from "./remote-protocol.ts";
import type { MemoryWrite } from "./wire-machine.ts";

/** A request that misses the main thread's own limit by this much will not be answered any more. */
const GRACE_MS = 15_000;
/** Answers in a row that belong to an earlier request. */
const MAX_STALE = 16;
const REGISTERS = 8;

type Ask = RemoteRequest extends infer R
  ? R extends RemoteRequest
    ? Omit<R, "number">
    : never
  : never;

/**
 * A machine that the main thread owns, for a worker: every method blocks the worker until the main
 * thread has the answer. Errors arrive as they were thrown there. When no answer comes in the time that
 * the main thread gives itself, and some more, it throws InfrastructureError.
 */
export class RemoteMachine implements SynchronousMachine {
  readonly granule: number;
  readonly #link: RemoteLink;
  readonly #answers: Int32Array;
  readonly #graceMs: number;
  #number = 0;

  constructor(link: RemoteLink, graceMs: number = GRACE_MS) {
    this.#link = link;
    this.#answers = new Int32Array(link.answers);
    this.#graceMs = graceMs;
    this.granule = link.granule;
  }

  read(at: number, target: Uint8Array): void {
    const answer = this.#ask({ do: "read", at, length: target.length });
    if (!("bytes" in answer)) throw misplaced();
    target.set(answer.bytes);
  }

  write(at: number, bytes: Uint8Array): void {
    this.call([{ at, bytes }]);
  }

  smc(registers: Registers): void {
    this.call([], registers);
  }

  /** The CRC-32 of each of `count` blocks of `size` bytes from `at` on. */
  checksums(at: number, size: number, count: number): readonly number[] {
    const answer = this.#ask({ do: "checksums", at, size, count });
    if (!("checksums" in answer) || answer.checksums.length !== count) throw misplaced();
    return answer.checksums;
  }

  /** `writes`, which do not overlap, and then one SMC where there is one: one request. */
  call(writes: readonly MemoryWrite[], registers?: Registers): void {
    const x =
      registers === undefined
        ? undefined
        : BigUint64Array.from({ length: REGISTERS }, (_, index) => registers.get64(index));
    const answer = this.#ask({ do: "call", writes, ...(x === undefined ? {} : { x }) });
    if (!("x" in answer)) throw misplaced();
    for (const [index, word] of (answer.x ?? []).entries()) registers?.set64(index, word);
  }

  #ask(ask: Ask): RemoteAnswer {
    this.#number += 1;
    const request: RemoteRequest = { ...ask, number: this.#number };
    const { port, limitMs } = this.#link;
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    port.postMessage(request);
    const limit = performance.now() + limitMs + this.#graceMs;
    for (let stale = 0; stale < MAX_STALE;) {
      const before = Atomics.load(this.#answers, 0);
      const received = receiveMessageOnPort(port);
      if (received === undefined) {
        const left = limit - performance.now();
        if (left <= 0) throw unanswered(ask.do, limitMs);
        Atomics.wait(this.#answers, 0, before, left);
        continue;
      }
      const answer = received.message as RemoteAnswer;
      if (answer.number !== this.#number) {
        stale += 1;
        continue;
      }
      if ("error" in answer) throw receiveError(answer.error);
      return answer;
    }
    throw new InternalError("the thread that owns the board answers other questions");
  }
}

const misplaced = (): InternalError =>
  new InternalError("the thread that owns the board gave another kind of answer");

const unanswered = (what: string, limitMs: number): InfrastructureError =>
  new InfrastructureError("the thread that owns the board does not answer", {
    expected: `an answer to ${what} within ${limitMs / 1000} s`,
    seen: "none",
  });
