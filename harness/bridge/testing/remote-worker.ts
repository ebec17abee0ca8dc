import { parentPort, workerData } from "node:worker_threads";
import { Registers } from "../../machine/index.ts";
import { createBridgedPort } from "../bridged-port.ts";
import { type SentError, sendError } from "../remote-errors.ts";
import { RemoteMachine } from "../remote-machine.ts";
import type { RemoteLink } from "../remote-protocol.ts";
import type { FreeRam } from "../ram-window.ts";

/** What the worker is to do with its machine, one after the other. */
export type Task =
  | { readonly do: "smc"; readonly x: readonly bigint[] }
  | { readonly do: "read"; readonly at: number; readonly length: number }
  | { readonly do: "write"; readonly at: number; readonly bytes: Uint8Array }
  | { readonly do: "zero"; readonly at: number; readonly length: number };

export interface RemoteWorkerData {
  readonly link: RemoteLink;
  readonly window: FreeRam;
  readonly graceMs?: number;
}

export type TaskResult =
  | { readonly x: readonly bigint[] }
  | { readonly bytes: Uint8Array }
  | { readonly error: SentError }
  | undefined;

const { link, window, graceMs } = workerData as RemoteWorkerData;
const port = createBridgedPort(new RemoteMachine(link, graceMs), window);

function run(task: Task): TaskResult {
  try {
    if (task.do === "smc") {
      const registers = new Registers();
      for (const [index, word] of task.x.entries()) registers.set64(index, word);
      port.smc(registers);
      return { x: Array.from({ length: 8 }, (_, index) => registers.get64(index)) };
    }
    const at = task.at as Parameters<typeof port.memory.read>[0];
    if (task.do === "read") return { bytes: port.memory.read(at, task.length) };
    if (task.do === "write") port.memory.write(at, task.bytes);
    else port.memory.zero?.(at, task.length);
    return undefined;
  } catch (error) {
    return { error: sendError(error) };
  }
}

parentPort?.on("message", (tasks: readonly Task[]) => {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  parentPort?.postMessage(tasks.map(run));
});
