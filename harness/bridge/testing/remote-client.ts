import { once } from "node:events";
import { Worker } from "node:worker_threads";
import { type MachineServer, serveMachine } from "../remote-server.ts";
import type { FreeRam } from "../ram-window.ts";
import type { WireMachine } from "../wire-machine.ts";
import type { RemoteWorkerData, Task, TaskResult } from "./remote-worker.ts";

/** A worker with a model's view of a machine that this thread owns. */
export class RemoteClient {
  readonly worker: Worker;
  readonly server: MachineServer;

  constructor(
    machine: WireMachine,
    window: FreeRam,
    options: {
      readonly limitMs: number;
      readonly graceMs?: number;
      readonly abort?: AbortSignal;
    },
  ) {
    this.server = serveMachine(machine, options);
    const { link } = this.server;
    const { graceMs } = options;
    const workerData: RemoteWorkerData = {
      link,
      window,
      ...(graceMs === undefined ? {} : { graceMs }),
    };
    this.worker = new Worker(new URL("./remote-worker.js", import.meta.url), {
      workerData,
      transferList: [link.port],
    });
  }

  /** Has the worker do `tasks`, blocking at each; one result a task. */
  async run(...tasks: readonly Task[]): Promise<readonly TaskResult[]> {
    const answer = once(this.worker, "message");
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    this.worker.postMessage(tasks);
    const [results] = (await answer) as [readonly TaskResult[]];
    return results;
  }

  async close(): Promise<void> {
    await this.worker.terminate();
    this.server.close();
  }
}
