import type { TraceRecord } from "../../run/index.ts";
import type { RecordSink } from "./recorder.ts";

/** Records of one run that are kept in memory. */
const MAX_RECORDS = 100_000;

/** Records in memory, at most `max` of them. */
export class RecordList implements RecordSink {
  readonly records: TraceRecord[] = [];
  readonly #max: number;
  #dropped = 0;

  constructor(max = MAX_RECORDS) {
    this.#max = max;
  }

  get dropped(): number {
    return this.#dropped;
  }

  add(record: TraceRecord): void {
    if (this.records.length < this.#max) this.records.push(record);
    else this.#dropped += 1;
  }
}
