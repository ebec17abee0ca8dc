import { Worker } from "node:worker_threads";
import { InternalError } from "../../base/index.ts";
import type { RuleSetName } from "../../mediator/index.ts";
import { type Batch, EMPTY_BATCH } from "./batch.ts";

export interface WorkerSetup {
  readonly rules: RuleSetName;
  readonly seed: number;
  /** Number of the program under way, for whoever watches that it ends. */
  readonly progress: SharedArrayBuffer;
}

export interface ToWorker {
  readonly from: number;
  readonly to: number;
}

export type FromWorker =
  | { readonly kind: "ready" }
  | { readonly kind: "batch"; readonly batch: Batch }
  | { readonly kind: "bug"; readonly text: string; readonly stack: string };

/** Programs that one message to a worker asks for. */
const CHUNK = 16;
/** A program takes milliseconds; one that takes this long does not end. */
const HANG_MS = 60_000;
const LOOK_MS = 2_000;

export interface CrewOptions {
  readonly rules: RuleSetName;
  readonly seed: number;
  readonly jobs: number;
  /** The first program that is not run; Infinity to go on until `stop`. */
  readonly end: number;
  /** No further programs once it is true. */
  readonly stop: () => boolean;
  readonly onBatch: (batch: Batch) => void;
}

/**
 * Runs the programs of a campaign in worker threads. Which worker runs which program makes no
 * difference to what is found. Throws InternalError for a bug of the fuzzer.
 */
export async function runInWorkers(options: CrewOptions): Promise<void> {
  let next = 0;
  const take = (): ToWorker | undefined => {
    if (options.stop() || next >= options.end) return undefined;
    const from = next;
    next = Math.min(options.end, from + CHUNK);
    return { from, to: next };
  };
  const failed = { stopped: false };
  await Promise.all(
    Array.from({ length: options.jobs }, async () => {
      try {
        await hand(options, () => (failed.stopped ? undefined : take()));
      } catch (error) {
        failed.stopped = true;
        throw error;
      }
    }),
  );
}

/** One worker thread after another: a program that hangs costs the thread that it hangs in. */
async function hand(options: CrewOptions, take: () => ToWorker | undefined): Promise<void> {
  const rest: ToWorker[] = [];
  for (;;) {
    const hung = await oneWorker(options, () => rest.shift() ?? take());
    if (hung === undefined) return;
    options.onBatch({ ...EMPTY_BATCH, programs: 1, findings: [hungAt(hung.at)] });
    // What the chunk had done before is lost with the thread.
    if (hung.from < hung.at) rest.push({ from: hung.from, to: hung.at });
    if (hung.at + 1 < hung.to) rest.push({ from: hung.at + 1, to: hung.to });
  }
}

const hungAt = (program: number): Batch["findings"][number] => ({
  invariant: "never-hangs",
  program,
  step: 0,
  seen: `no end after ${HANG_MS / 1000} seconds`,
  count: 1,
});

/** Runs chunks until there are none; the program that hung and the end of its chunk, if one did. */
function oneWorker(
  { rules, seed, onBatch }: CrewOptions,
  take: () => ToWorker | undefined,
): Promise<(ToWorker & { readonly at: number }) | undefined> {
  const progress = new SharedArrayBuffer(4);
  const current = new Int32Array(progress);
  const worker = new Worker(new URL("./worker.js", import.meta.url), {
    workerData: { rules, seed, progress } satisfies WorkerSetup,
  });
  return new Promise((resolve, reject) => {
    let chunk: ToWorker | undefined;
    let seen = { at: -1, since: performance.now() };
    const end = (settle: () => void): void => {
      clearInterval(timer);
      void worker.terminate().then(settle, settle);
    };
    const timer = setInterval(() => {
      const at = Atomics.load(current, 0);
      const now = performance.now();
      if (chunk === undefined || at !== seen.at) seen = { at, since: now };
      else if (now - seen.since > HANG_MS) {
        const { from, to } = chunk;
        chunk = undefined;
        end(() => resolve({ from, at: Math.max(at, from), to }));
      }
    }, LOOK_MS);
    worker.on("error", (error) => end(() => reject(bugOf(error.message, error.stack ?? ""))));
    worker.on("message", (message: FromWorker) => {
      if (message.kind === "bug") {
        end(() => reject(bugOf(message.text, message.stack)));
        return;
      }
      if (message.kind === "batch") onBatch(message.batch);
      chunk = take();
      if (chunk === undefined) end(() => resolve(undefined));
      // eslint-disable-next-line unicorn/require-post-message-target-origin -- a thread, no window
      else worker.postMessage(chunk);
    });
  });
}

function bugOf(text: string, stack: string): InternalError {
  const cause = new Error(text);
  cause.stack = stack;
  return new InternalError(`the fuzzer itself failed: ${text}`, {
    cause,
    next: "Run again with --debug and report the output.",
  });
}
