import type { SecureTask, Thread } from "../thread.ts";

/** Longest object id, in bytes. */
export const OBJECT_ID_MAX = 64;

/** What names an object to a back end, whether it has been made or not. */
export interface ObjectName {
  /** The TA that it belongs to; the nil UUID for what is the core's own. */
  readonly uuid: string;
  readonly id: Uint8Array;
  /** It is made under a temporary name, which it loses when it is complete. */
  readonly temporary?: boolean;
}

/** An open file: header, attributes and data in one. All of it fails with `Failure`. */
export interface StorageFile {
  /** At most `length` bytes at `at`, fewer at the end. */
  read(thread: Thread, at: number, length: number): SecureTask<Uint8Array>;
  write(thread: Thread, at: number, bytes: Uint8Array): SecureTask;
  truncate(thread: Thread, length: number): SecureTask;
  close(thread: Thread): SecureTask;
}

export interface OpenedFile {
  readonly file: StorageFile;
  /** Bytes in the file. */
  readonly size: number;
}

/** The objects of one TA, one after the other. */
export interface StorageDirectory {
  /** The next object's id; ITEM_NOT_FOUND after the last. */
  next(thread: Thread): SecureTask<Uint8Array>;
  close(thread: Thread): SecureTask;
}

/** Where objects are kept. All of it fails with `Failure`; ITEM_NOT_FOUND for what is not there. */
export interface BackEnd {
  open(thread: Thread, name: ObjectName): SecureTask<OpenedFile>;
  /** Makes a file of these parts; ACCESS_CONFLICT when there is one, unless `overwrite`. */
  create(
    thread: Thread,
    name: ObjectName,
    overwrite: boolean,
    parts: readonly Uint8Array[],
  ): SecureTask<StorageFile>;
  rename(thread: Thread, from: ObjectName, to: ObjectName, overwrite: boolean): SecureTask;
  remove(thread: Thread, name: ObjectName): SecureTask;
  /** ITEM_NOT_FOUND when the TA has no object. */
  openDirectory(thread: Thread, uuid: string): SecureTask<StorageDirectory>;
}
