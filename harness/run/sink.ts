import type { CaseResult, FactsSheet, RunEventBody, RunTotals } from "./model.ts";

/**
 * Where the evidence of a run goes. The bundle writer is one; tests may use a collecting one.
 * All methods are synchronous hand-overs; `flush` waits until everything is on disk.
 */
export interface RunSink {
  event(event: RunEventBody): void;
  /** Appends raw bytes to a stream, registering it on first use. Masking happens inside. */
  raw(target: string, stream: string, bytes: Uint8Array): void;
  /** A case's final result. A second result for the same target and id is a defect and throws. */
  result(result: CaseResult): void;
  totals(totals: RunTotals): void;
  facts(facts: FactsSheet): void;
  problem(text: string): void;
  /** Resolves when all that was handed over is on disk; rejects when it cannot be (disk full). */
  flush(): Promise<void>;
}
