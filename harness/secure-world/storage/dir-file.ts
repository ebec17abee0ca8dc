import { octets, struct, type StructOf, TEEC, u32 } from "../../optee-abi/index.ts";
import { uuidFromMemory, uuidToMemory } from "../tas/uuid-memory.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { OBJECT_ID_MAX } from "./back-end.ts";
import { fail } from "./failure.ts";
import { HASH_SIZE } from "./htree-layout.ts";
import type { DirectoryPlace, ReeFile } from "./ree-file.ts";

/** An entry of the directory file: 120 bytes, the file is nothing but entries. */
export const DIRECTORY_ENTRY = struct("dirfile_entry", 120, {
  uuid: octets(0, 16),
  oid: octets(16, OBJECT_ID_MAX),
  oidlen: u32(80),
  hash: octets(84, HASH_SIZE),
  fileNumber: u32(116),
});
type Entry = StructOf<typeof DIRECTORY_ENTRY>;

/** First byte of an id of no bytes, which tells it from a free entry. */
const EMPTY_NAME = 1;

const FREE: Entry = DIRECTORY_ENTRY.read(new Uint8Array(DIRECTORY_ENTRY.size));
const isFree = ({ oid, oidlen }: Entry): boolean => oidlen === 0 && oid[0] === 0;
const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.from(a).equals(b);

/**
 * The directory of the REE-FS: which object of which TA is in which file, with which root hash. It
 * is read anew for every question, entry by entry, as the real one is.
 */
export class DirFile {
  readonly file: ReeFile;
  /** Numbers of files that exist or are being made. */
  readonly #numbers = new Set<number>();

  private constructor(file: ReeFile) {
    this.file = file;
  }

  /** Takes the open file over; entries with a number that an earlier one has are cleared. */
  static *open(thread: Thread, file: ReeFile): SecureTask<DirFile> {
    const directory = new DirFile(file);
    for (let index = 0; ; index += 1) {
      const entry = yield* directory.#read(thread, index);
      if (entry === undefined) return directory;
      if (isFree(entry)) continue;
      if (directory.#numbers.has(entry.fileNumber)) yield* directory.#write(thread, index, FREE);
      else directory.#numbers.add(entry.fileNumber);
    }
  }

  /** Takes the lowest number that no file has. */
  takeNumber(): number {
    let number = 0;
    while (this.#numbers.has(number)) number += 1;
    this.#numbers.add(number);
    return number;
  }

  *find(thread: Thread, uuid: string, id: Uint8Array): SecureTask<DirectoryPlace | undefined> {
    const owner = uuidToMemory(uuid);
    for (let index = 0; ; index += 1) {
      const entry = yield* this.#read(thread, index);
      if (entry === undefined) return undefined;
      if (isFree(entry) || entry.oidlen !== id.length) continue;
      if (same(entry.uuid, owner) && same(entry.oid.subarray(0, id.length), id)) {
        return { index, fileNumber: entry.fileNumber, hash: entry.hash };
      }
    }
  }

  /** Names the file of `place`, in its own entry, that of the same name, or a free one. */
  *name(thread: Thread, uuid: string, id: Uint8Array, place: DirectoryPlace): SecureTask {
    if (id.length > OBJECT_ID_MAX) fail(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const oid = new Uint8Array(OBJECT_ID_MAX);
    if (id.length === 0) oid[0] = EMPTY_NAME;
    else oid.set(id);
    place.index ??= (yield* this.find(thread, uuid, id))?.index ?? (yield* this.#freeIndex(thread));
    yield* this.#write(thread, place.index, {
      uuid: uuidToMemory(uuid),
      oid,
      oidlen: id.length,
      hash: place.hash,
      fileNumber: place.fileNumber,
    });
  }

  *remove(thread: Thread, { index, fileNumber }: DirectoryPlace): SecureTask {
    if (index === undefined) return;
    const entry = (yield* this.#read(thread, index)) ?? fail(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    if (isFree(entry)) return;
    yield* this.#write(thread, index, FREE);
    this.#numbers.delete(fileNumber);
  }

  /** Stores the root hash of `place` into its entry. */
  *updateHash(thread: Thread, { index, hash }: DirectoryPlace): SecureTask {
    if (index === undefined) return;
    const entry = (yield* this.#read(thread, index)) ?? fail(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
    yield* this.#write(thread, index, { ...entry, hash });
  }

  /** The first object of a TA at or after entry `from`; ITEM_NOT_FOUND when there is none. */
  *next(
    thread: Thread,
    uuid: string,
    from: number,
  ): SecureTask<{ readonly index: number; readonly id: Uint8Array }> {
    for (let index = from; ; index += 1) {
      const entry = yield* this.#read(thread, index);
      if (entry === undefined) return fail(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
      if (isFree(entry) || uuidFromMemory(entry.uuid) !== uuid) continue;
      return { index, id: entry.oid.slice(0, Math.min(entry.oidlen, OBJECT_ID_MAX)) };
    }
  }

  *#freeIndex(thread: Thread): SecureTask<number> {
    for (let index = 0; ; index += 1) {
      const entry = yield* this.#read(thread, index);
      if (entry === undefined || isFree(entry)) return index;
    }
  }

  *#read(thread: Thread, index: number): SecureTask<Entry | undefined> {
    const { size } = DIRECTORY_ENTRY;
    const bytes = yield* this.file.read(thread, size * index, size);
    return bytes.length === size ? DIRECTORY_ENTRY.read(bytes) : undefined;
  }

  *#write(thread: Thread, index: number, entry: Entry): SecureTask {
    const bytes = new Uint8Array(DIRECTORY_ENTRY.size);
    DIRECTORY_ENTRY.write(bytes, entry);
    yield* this.file.write(thread, DIRECTORY_ENTRY.size * index, bytes);
  }
}
