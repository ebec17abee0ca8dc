import type { Registers } from "../../machine/index.ts";
import type { TraceMessage, TraceRecord } from "../../run/index.ts";
import { MAX_DATA } from "./digest.ts";
import { hexRegisters } from "./words.ts";

/** Where records go. */
export interface RecordSink {
  add(record: TraceRecord): void;
  /** Records that found no room. From the first of them on, none is kept. */
  readonly dropped: number;
}

export interface RecorderOptions {
  /** Lines of the secure world's console that came since it was last asked. Called after every SMC. */
  readonly lines?: () => readonly string[];
  /** Bytes of a parameter that digests cover, at most 64 KiB; 0 for no digests. */
  readonly dataBytes?: number;
}

/** Longest console line that is kept, in characters. */
export const MAX_LINE = 4096;

/** Turns what happens during one run into records. */
export class Recorder {
  readonly dataBytes: number;
  /** Runs `look` without its accesses to memory being seen by what watches or disturbs the machine. */
  unobserved: <T>(look: () => T) => T = (look) => look();
  readonly #sink: RecordSink;
  readonly #options: RecorderOptions;

  constructor(sink: RecordSink, options: RecorderOptions = {}) {
    this.#sink = sink;
    this.#options = options;
    this.dataBytes = Math.min(options.dataBytes ?? MAX_DATA, MAX_DATA);
  }

  smc(
    where: "conduit" | "port",
    phase: "enter" | "leave",
    guest: number | undefined,
    registers: Registers,
    message: TraceMessage | undefined,
  ): void {
    this.#sink.add({
      type: "smc",
      where,
      phase,
      ...(guest === undefined ? {} : { guest }),
      registers: hexRegisters(registers),
      ...(message === undefined ? {} : { message }),
    });
  }

  guest(guest: number, what: "created" | "refused" | "destroyed"): void {
    this.#sink.add({ type: "guest", guest, what });
  }

  /** A line of the secure world's console. */
  console(line: string): void {
    this.#sink.add({ type: "console", text: line.slice(0, MAX_LINE) });
  }

  /** Records the lines that came since the last SMC. */
  poll(): void {
    for (const line of this.#options.lines?.() ?? []) this.console(line);
  }
}
