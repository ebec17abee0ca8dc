import { MessageChannel } from "node:worker_threads";
import { Deadline } from "../base/index.ts";
import { type Pa, Registers } from "../machine/index.ts";
import { sendError } from "./remote-errors.ts";
import type { RemoteAnswer, RemoteLink, RemoteRequest } from "./remote-protocol.ts";
import type { MemoryWrite, WireMachine } from "./wire-machine.ts";

export interface MachineServer {
  /** For the worker, to go with `port` in its transfer list. */
  readonly link: RemoteLink;
  /** Answers nothing any more. */
  close(): void;
}

/**
 * Serves a machine of this thread to the `RemoteMachine` of one worker, one request after the other.
 * `limitMs` bounds each of them; `abort` ends the one under way with InterruptedError.
 */
export function serveMachine(
  machine: WireMachine,
  options: { readonly limitMs: number; readonly abort?: AbortSignal },
): MachineServer {
  const { limitMs, abort } = options;
  const { port1, port2 } = new MessageChannel();
  const answers = new SharedArrayBuffer(4);
  const count = new Int32Array(answers);
  let turn = Promise.resolve();

  const serve = async (request: RemoteRequest): Promise<void> => {
    const answer = await answerTo(machine, request, () =>
      Deadline.after(
        limitMs,
        `${request.do} over the bridge`,
        abort === undefined ? {} : { abort },
      ),
    );
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    port1.postMessage(answer);
    Atomics.add(count, 0, 1);
    Atomics.notify(count, 0);
  };
  port1.on("message", (request: RemoteRequest) => {
    turn = turn.then(async () => await serve(request));
  });
  return {
    link: { port: port2, answers, granule: machine.granule, limitMs },
    close: () => {
      port1.close();
    },
  };
}

async function answerTo(
  machine: WireMachine,
  request: RemoteRequest,
  limit: () => Deadline,
): Promise<RemoteAnswer> {
  const { number } = request;
  try {
    const deadline = limit();
    if (request.do === "read") {
      return { number, bytes: await machine.read(request.at as Pa, request.length, deadline) };
    }
    if (request.do === "checksums") {
      const { at, size, count } = request;
      return { number, checksums: await machine.checksums(at as Pa, size, count, deadline) };
    }
    const registers = request.x === undefined ? undefined : new Registers();
    for (const [index, word] of (request.x ?? []).entries()) registers?.set64(index, word);
    await call(machine, request.writes, registers, deadline);
    return { number, x: request.x?.map((_, index) => registers?.get64(index) ?? 0n) };
  } catch (error) {
    return { number, error: sendError(error) };
  }
}

async function call(
  machine: WireMachine,
  writes: readonly MemoryWrite[],
  registers: Registers | undefined,
  deadline: Deadline,
): Promise<void> {
  if (machine.call !== undefined) {
    await machine.call(writes, registers, deadline);
    return;
  }
  if (writes.length > 0) await machine.writeAll(writes, deadline);
  if (registers !== undefined) await machine.smc(registers, deadline);
}
