import { statSync } from "node:fs";
import { setTimeout } from "node:timers/promises";
import type { TraceRecord } from "../../run/index.ts";
import { endRecord, type RunEnd } from "./end.ts";
import { Journal } from "./journal.ts";
import { LogTail } from "./log-tail.ts";
import { MAX_LINE, Recorder } from "./recorder.ts";

/** What the thread of a scenario is told, for its run to be recorded. */
export interface SharedRecording {
  readonly journal: SharedArrayBuffer;
  /** QEMU's log of the secure console; the journal's mark says from which byte on. */
  readonly secureLog: string | undefined;
}

/** The recorder of a scenario's thread, and what is to be done at the end. */
export function openRecording({ journal: buffer, secureLog }: SharedRecording): {
  readonly recorder: Recorder;
  readonly close: () => void;
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

/** Silence, in milliseconds, after which a secure world that panicked has said all; and its longest wait. */
const QUIET_MS = 100;
const MAX_DYING_MS = 2000;
/** Console lines of one run that are kept here. */
const MAX_PRINTED = 100_000;

/** The recording of a run in another thread, as the owner of the board has it. One run after the other. */
export class SharedRun {
  readonly #journal = new Journal();
  #secureLog: string | undefined;
  /** Console lines that the thread does not know of, each with the number of records before it. */
  #printed: { readonly after: number; readonly text: string }[] = [];
  /** The beginning of a line that is still to end. */
  #rest = "";

  /** Forgets the run before. */
  clear(): void {
    this.#journal.clear();
    this.#printed = [];
    this.#rest = "";
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

  /** Waits until the secure world prints no more: the line that tells of a panic is the first of several. */
  async quiet(): Promise<void> {
    const limit = performance.now() + MAX_DYING_MS;
    for (let before = -1, now = this.#size(); now !== before && performance.now() < limit;) {
      await setTimeout(QUIET_MS);
      before = now;
      now = this.#size();
    }
  }

  /** What was printed so far, in whatever unit. */
  #size(): number {
    const log = this.#secureLog;
    if (log === undefined) return this.#printed.length + this.#rest.length;
    return statSync(log, { throwIfNoEntry: false })?.size ?? 0;
  }

  /**
   * Takes what the secure world has printed since the thread last looked. To be called when the run is
   * over and before the board is touched: what comes then belongs to nobody.
   */
  collect(): void {
    if (this.#rest !== "") this.#print(this.#rest);
    this.#rest = "";
    if (this.#secureLog === undefined) return;
    const log = new LogTail(this.#secureLog, this.#journal.mark);
    this.#secureLog = undefined;
    for (const text of log.lines(true)) this.#print(text);
    log.close();
  }

  /** Bytes of the secure console where there is no log of it: recorded with the SMC that is under way. */
  arrived(bytes: Uint8Array): void {
    const lines = `${this.#rest}${Buffer.from(bytes).toString("latin1")}`.split("\n");
    this.#rest = (lines.pop() ?? "").slice(0, MAX_LINE);
    for (const line of lines) this.#print(line.replace(/\r+$/, ""));
  }

  records(end: RunEnd): TraceRecord[] {
    const records: TraceRecord[] = [];
    const printed = this.#printed.values();
    let next = printed.next().value;
    for (const [index, record] of this.#journal.records().entries()) {
      for (; next !== undefined && next.after <= index; next = printed.next().value) {
        records.push({ type: "console", text: next.text });
      }
      records.push(record);
    }
    for (; next !== undefined; next = printed.next().value) {
      records.push({ type: "console", text: next.text });
    }
    return [...records, endRecord(end, this.#journal)];
  }

  #print(text: string): void {
    if (this.#printed.length >= MAX_PRINTED) return;
    this.#printed.push({ after: this.#journal.count, text: text.slice(0, MAX_LINE) });
  }
}
