import type { TraceRecord } from "../../run/index.ts";
import type { RecordSink } from "./recorder.ts";

/** Bytes set aside for one run; memory is taken only for what is written. */
const SIZE = 64 * 1024 * 1024;
const HEADER = 16;
/** Where the header has its 32-bit numbers. */
const LENGTH = 0;
const DROPPED = 1;
const MARK = 2;
const COUNT = 3;

/**
 * Records in memory that two threads share, so that the owner of a board has them up to the last one
 * when the thread that runs a scenario is in a call that never returns, or was ended in it.
 */
export class Journal implements RecordSink {
  readonly buffer: SharedArrayBuffer;
  readonly #header: Int32Array;
  readonly #bytes: Buffer;

  /** A journal of its own, or the one in `buffer` of another thread. */
  constructor(buffer = new SharedArrayBuffer(SIZE)) {
    this.buffer = buffer;
    this.#header = new Int32Array(buffer, 0, HEADER / 4);
    this.#bytes = Buffer.from(buffer, HEADER);
  }

  clear(): void {
    for (const field of [LENGTH, DROPPED, MARK, COUNT]) Atomics.store(this.#header, field, 0);
  }

  /** A number that the writer leaves for the reader, from 0 to 2^31 - 1. */
  get mark(): number {
    return Atomics.load(this.#header, MARK);
  }

  set mark(value: number) {
    Atomics.store(this.#header, MARK, value);
  }

  /** Records so far. */
  get count(): number {
    return Atomics.load(this.#header, COUNT);
  }

  get dropped(): number {
    return Atomics.load(this.#header, DROPPED);
  }

  add(record: TraceRecord): void {
    const length = Atomics.load(this.#header, LENGTH);
    const line = `${JSON.stringify(record)}\n`;
    // A UTF-16 unit takes at most three bytes.
    if (this.dropped > 0 || length + line.length * 3 > this.#bytes.length) {
      Atomics.add(this.#header, DROPPED, 1);
      return;
    }
    const written = this.#bytes.write(line, length);
    // The length goes last: a record is there when it is whole.
    Atomics.store(this.#header, LENGTH, length + written);
    Atomics.add(this.#header, COUNT, 1);
  }

  /** What was added so far, by whichever thread. */
  records(): TraceRecord[] {
    const length = Atomics.load(this.#header, LENGTH);
    const text = Buffer.from(this.#bytes.subarray(0, length)).toString("utf8");
    return text
      .split("\n")
      .slice(0, -1)
      .map((line) => JSON.parse(line) as TraceRecord);
  }
}
