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

/** Most bytes that a repeated write makes at a time where the machine cannot repeat them itself. */
const FILL_CHUNK = 64 * 1024;

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
    await writeAll(machine, request.writes, deadline);
    if (request.x === undefined) return { number, x: undefined };
    const registers = new Registers();
    for (const [index, word] of request.x.entries()) registers.set64(index, word);
    await machine.smc(registers, deadline);
    return { number, x: request.x.map((_, index) => registers.get64(index)) };
  } catch (error) {
    return { number, error: sendError(error) };
  }
}

async function writeAll(
  machine: WireMachine,
  writes: readonly MemoryWrite[],
  deadline: Deadline,
): Promise<void> {
  if (writes.length === 0) return;
  if (machine.writeAll !== undefined) {
    await machine.writeAll(writes, deadline);
    return;
  }
  for (const { at, bytes, length = bytes.length } of writes) {
    const chunk = Math.max(1, Math.floor(FILL_CHUNK / bytes.length)) * bytes.length;
    for (let done = 0; done < length; done += chunk) {
      const part = new Uint8Array(Math.min(chunk, length - done));
      for (let to = 0; to < part.length; to += bytes.length) part.set(bytes, to);
      await machine.write((at + done) as Pa, part, deadline);
    }
  }
}
