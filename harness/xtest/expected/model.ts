/** What is recorded of one xtest version: its cases, and what whole runs on known boards printed. */

export interface ExpectedCase {
  readonly id: string;
  readonly title: string;
  /** xtest's `-t` name: `regression`, `pkcs11`. */
  readonly suite: string;
}

/** Observations of whole runs on one board with one OP-TEE. */
export interface RunRecord {
  /** Version as OP-TEE prints it, without what follows the third number: `4.5.0`. */
  readonly optee: string;
  /** Name of the board file: `qemu-virt`. */
  readonly board: string;
  readonly level: number;
  /** As xtest prints it: `regression+pkcs11`. */
  readonly suite: string;
  /** What the record rests on. */
  readonly remark: string | undefined;
  /** Inclusive range of "subtests" over all recorded runs; scheduling moves it by a few. */
  readonly subtests: { readonly min: number; readonly max: number };
  /** Subcase ids by case, in print order. A case that is absent prints none. */
  readonly subcases: ReadonlyMap<string, readonly string[]>;
  /** Skip reason by case or subcase id. */
  readonly skips: ReadonlyMap<string, string>;
}

export interface ExpectedList {
  /** Version of xtest: `4.5.0`. */
  readonly xtest: string;
  /** In run order. */
  readonly cases: readonly ExpectedCase[];
  readonly records: readonly RunRecord[];
  /** The file, for messages. */
  readonly file: string;
}

/** `4.5.0` out of `4.5.0-13-gabcdef` or `4.5`; the text itself where it has no such form. */
export function plainVersion(text: string): string {
  return /^v?(\d+\.\d+(?:\.\d+)?)/.exec(text)?.[1] ?? text;
}

export function findRecord(
  list: ExpectedList,
  key: {
    readonly optee: string;
    readonly board: string;
    readonly level: number;
    readonly suite: string;
  },
): RunRecord | undefined {
  const optee = plainVersion(key.optee);
  return list.records.find(
    (record) =>
      record.optee === optee &&
      record.board === key.board &&
      record.level === key.level &&
      record.suite === key.suite,
  );
}
