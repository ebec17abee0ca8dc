/** A row of a batch, or why there is none on that line. */
export interface BatchRecord {
  /** Line on which it begins, from 1. */
  readonly line: number;
  /** What is wrong with it; says nothing of its contents, among which are keys. */
  readonly fault?: string;
  /** Values in order; of a CSV file those of its columns, whose names are the first record. */
  readonly cells: readonly string[];
}

/** Most characters of a record: nobody has a quote left open for that long on purpose. */
export const MAX_RECORD = 65_536;
