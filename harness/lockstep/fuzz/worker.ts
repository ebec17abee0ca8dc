import { parentPort, workerData } from "node:worker_threads";
import { messageOf } from "../../base/index.ts";
import { generator } from "./arbitrary.ts";
import { runBatch } from "./batch.ts";
import type { FromWorker, ToWorker, WorkerSetup } from "./crew.ts";
import { PROGRAM } from "./program.ts";

// One worker thread of a campaign: runs the programs that it is told to and sends what they did.

const port = parentPort;
const { rules, seed, progress } = workerData as WorkerSetup;
const current = new Int32Array(progress);

if (port !== null) {
  const send = (message: FromWorker): void => port.postMessage(message);
  const generate = await generator(PROGRAM);
  const started = (index: number): void => void Atomics.store(current, 0, index);
  port.on("message", ({ from, to }: ToWorker) => {
    try {
      send({ kind: "batch", batch: runBatch({ rules, seed, generate, started }, from, to) });
    } catch (error) {
      const stack = error instanceof Error && error.cause instanceof Error ? error.cause.stack : "";
      send({ kind: "bug", text: messageOf(error), stack: stack ?? "" });
    }
  });
  send({ kind: "ready" });
}
