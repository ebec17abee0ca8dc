import { statSync } from "node:fs";
import type { TraceRecord } from "../../run/index.ts";
import { endRecord, type RunEnd } from "./end.ts";
import { Journal } from "./journal.ts";
import { LogTail } from "./log-tail.ts";
import { Recorder } from "./recorder.ts";

/** What the thread of a scenario is told, for its run to be recorded. */
export interface SharedRecording {
  readonly journal: SharedArrayBuffer;
  /** QEMU's log of the secure console; the journal's mark says from which byte on. */
  readonly secureLog: string | undefined;
}

/** The recorder of a scenario's thread, and what is to be done at the end. */
export function openRecording({ journal: buffer, secureLog }: SharedRecording): {
  readonly recorder: Recorder;
  close(): void;
} {
  const journal = new Journal(buffer);
  if (secureLog === undefined) return { recorder: new Recorder(journal), close: () => {} };
  const log = new LogTail(secureLog, journal.mark);
  const lines = (): string[] => {
    const found = log.lines();
    journal.mark = log.offset;
    return found;
  };
  return { recorder: new Recorder(journal, { lines }), close: () => log.close() };
}

/** The recording of a run in another thread, as the owner of the board has it. One run after the other. */
export class SharedRun {
  readonly #journal = new Journal();
  #secureLog: string | undefined;
  #lines: readonly string[] = [];

  /** Forgets the run before. */
  clear(): void {
    this.#journal.clear();
    this.#lines = [];
    this.#secureLog = undefined;
  }

  /** For the thread; `secureLog` is QEMU's log of the secure console, as far as there is one. */
  begin(secureLog: string | undefined): SharedRecording {
    this.clear();
    const size = secureLog && statSync(secureLog, { throwIfNoEntry: false })?.size;
    this.#secureLog = typeof size === "number" ? secureLog : undefined;
    if (typeof size === "number") this.#journal.mark = size;
    return { journal: this.#journal.buffer, secureLog: this.#secureLog };
  }

  /**
   * Takes what the secure world has printed since the thread last looked. To be called when the run is
   * over and before the board is touched: what comes then belongs to nobody.
   */
  collect(): void {
    if (this.#secureLog === undefined) return;
    const log = new LogTail(this.#secureLog, this.#journal.mark);
    this.#secureLog = undefined;
    this.#lines = log.lines(true);
    log.close();
  }

  records(end: RunEnd): TraceRecord[] {
    const printed = this.#lines.map((text): TraceRecord => ({ type: "console", text }));
    return [...this.#journal.records(), ...printed, endRecord(end, this.#journal)];
  }
}
