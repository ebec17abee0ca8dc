import type { MessagePort } from "node:worker_threads";
import type { SentError } from "./remote-errors.ts";
import type { MemoryWrite } from "./wire-machine.ts";

/** What a worker needs to reach a machine of the main thread. */
export interface RemoteLink {
  readonly port: MessagePort;
  /** One 32-bit word: how many answers there are. */
  readonly answers: SharedArrayBuffer;
  /** As `WireMachine` has it. */
  readonly granule: number;
  /** Longest time in milliseconds for one request, by the main thread's clock. */
  readonly limitMs: number;
}

export type RemoteRequest = { readonly number: number } & (
  | { readonly do: "read"; readonly at: number; readonly length: number }
  | {
      readonly do: "checksums";
      readonly at: number;
      readonly size: number;
      readonly count: number;
    }
  /** `writes`, and then the SMC where there is one. */
  | {
      readonly do: "call";
      readonly writes: readonly MemoryWrite[];
      readonly x?: BigUint64Array;
    }
);

export type RemoteAnswer = { readonly number: number } & (
  | { readonly bytes: Uint8Array }
  | { readonly checksums: readonly number[] }
  | { readonly x: BigUint64Array | undefined }
  | { readonly error: SentError }
);
