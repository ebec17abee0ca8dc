import { TEEC } from "../../optee-abi/index.ts";
import { SecureMutex } from "../sync.ts";
import type { SecureTask, Thread } from "../thread.ts";
import type { BackEnd, ObjectName, OpenedFile, StorageDirectory, StorageFile } from "./back-end.ts";
import { DirFile } from "./dir-file.ts";
import { codeOf, fail, Failure, perhaps, unless } from "./failure.ts";
import { fsRemove } from "./fs-rpc.ts";
import { type DirectoryPlace, fileName, openReeFile, type ReeFile } from "./ree-file.ts";
import type { RootAnchor } from "./root-anchor.ts";
import type { StorageCore } from "./storage-core.ts";

const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;

/** What is done when an operation fails, after the directory was let go of. */
type Undo = () => SecureTask;

/**
 * Secure storage in files of the normal world: the directory `dirf.db` and a numbered file for each
 * object. The directory is open while an object of it is, or an operation is under way. What was
 * written is in force when the directory with the file's new root hash is.
 */
export class ReeFs implements BackEnd {
  readonly #core: StorageCore;
  readonly #anchor: RootAnchor | undefined;
  readonly #mutex = new SecureMutex();
  #directory: DirFile | undefined;
  #users = 0;

  /** With an anchor, the root hash of the directory is kept where it cannot be rolled back. */
  constructor(core: StorageCore, anchor: RootAnchor | undefined) {
    this.#core = core;
    this.#anchor = anchor;
  }

  open(thread: Thread, name: ObjectName): SecureTask<OpenedFile> {
    return this.#keeping(thread, (directory) => this.#open(thread, directory, name));
  }

  *#open(thread: Thread, directory: DirFile, { uuid, id }: ObjectName): SecureTask<OpenedFile> {
    const place = (yield* directory.find(thread, uuid, id)) ?? fail(NOT_FOUND);
    const options = { create: false, uuid, place, hash: place.hash };
    const opening = openReeFile(thread, this.#core, options);
    // A file that the directory knows and that is not there was taken away.
    const file = (yield* unless(NOT_FOUND, opening)) ?? fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
    return { file: this.#fileOf(file), size: file.tree.length };
  }

  *create(
    thread: Thread,
    name: ObjectName,
    overwrite: boolean,
    parts: readonly Uint8Array[],
  ): SecureTask<StorageFile> {
    const made: ReeFile[] = [];
    const file = yield* this.#keeping(
      thread,
      (directory) => this.#create(thread, directory, name, overwrite, parts, made),
      () => this.#discard(thread, made),
    );
    return this.#fileOf(file);
  }

  *#create(
    thread: Thread,
    directory: DirFile,
    name: ObjectName,
    overwrite: boolean,
    parts: readonly Uint8Array[],
    made: ReeFile[],
  ): SecureTask<ReeFile> {
    const fileNumber = directory.takeNumber();
    const place: DirectoryPlace = { index: undefined, fileNumber, hash: new Uint8Array(32) };
    const options = { create: true, uuid: name.uuid, place };
    const file = yield* openReeFile(thread, this.#core, options);
    made.push(file);
    let at = 0;
    for (const part of parts) {
      yield* file.write(thread, at, part);
      at += part.length;
    }
    yield* file.sync(thread);
    const old = yield* perhaps(directory.find(thread, name.uuid, name.id));
    if (old !== undefined && !overwrite) fail(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    place.index = old?.index;
    yield* directory.name(thread, name.uuid, name.id, place);
    yield* this.#commit(thread, directory);
    if (old !== undefined) yield* codeOf(fsRemove(thread, fileName(old.fileNumber)));
    return file;
  }

  *#discard(thread: Thread, made: readonly ReeFile[]): SecureTask {
    for (const file of made) {
      yield* file.close(thread);
      yield* codeOf(fsRemove(thread, fileName(file.place?.fileNumber)));
    }
  }

  rename(thread: Thread, from: ObjectName, to: ObjectName, overwrite: boolean): SecureTask {
    return this.#using(thread, (directory) => this.#rename(thread, directory, from, to, overwrite));
  }

  *#rename(
    thread: Thread,
    directory: DirFile,
    from: ObjectName,
    to: ObjectName,
    overwrite: boolean,
  ): SecureTask {
    const replaced = yield* perhaps(directory.find(thread, to.uuid, to.id));
    if (replaced !== undefined && !overwrite) fail(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    const place = (yield* directory.find(thread, from.uuid, from.id)) ?? fail(NOT_FOUND);
    yield* directory.name(thread, to.uuid, to.id, place);
    if (replaced !== undefined) yield* directory.remove(thread, replaced);
    yield* this.#commit(thread, directory);
    if (replaced !== undefined) yield* codeOf(fsRemove(thread, fileName(replaced.fileNumber)));
  }

  remove(thread: Thread, name: ObjectName): SecureTask {
    return this.#using(thread, (directory) => this.#remove(thread, directory, name));
  }

  *#remove(thread: Thread, directory: DirFile, { uuid, id }: ObjectName): SecureTask {
    const place = (yield* directory.find(thread, uuid, id)) ?? fail(NOT_FOUND);
    yield* directory.remove(thread, place);
    yield* this.#commit(thread, directory);
    yield* codeOf(fsRemove(thread, fileName(place.fileNumber)));
    // A debug build makes sure that it is gone (seen on Debian's 4.5.0).
    if (this.#core.build.coreDebug) yield* perhaps(directory.find(thread, uuid, id));
  }

  *openDirectory(thread: Thread, uuid: string): SecureTask<StorageDirectory> {
    yield* this.#mutex.hold(thread, this.#beginListing(thread, uuid));
    let from = 0;
    const next = function* (found: ReturnType<DirFile["next"]>): SecureTask<Uint8Array> {
      const { index, id } = yield* found;
      from = index + 1;
      return id;
    };
    return {
      next: (reader) =>
        this.#mutex.hold(
          reader,
          this.#list(reader, (directory) => next(directory.next(reader, uuid, from))),
        ),
      close: (closer) => this.#mutex.hold(closer, this.#endListing(closer)),
    };
  }

  /** One object of a listing. Before 4.11 the end of the list closes the directory as failures do. */
  *#list<T>(thread: Thread, task: (directory: DirFile) => SecureTask<T>): SecureTask<T> {
    const directory = yield* this.#get(thread);
    let found: T;
    try {
      found = yield* task(directory);
    } catch (error) {
      const atEnd = error instanceof Failure && error.code === NOT_FOUND;
      yield* this.#put(thread, !atEnd || !this.#core.since(4, 11));
      throw error;
    }
    yield* this.#put(thread, false);
    return found;
  }

  /** Before 4.11 a listing whose directory is closed by now stays one of its users for ever. */
  *#endListing(thread: Thread): SecureTask {
    if (this.#directory === undefined && !this.#core.since(4, 11)) return;
    yield* this.#put(thread, false);
  }

  /** Keeps the directory open if the TA has an object. */
  *#beginListing(thread: Thread, uuid: string): SecureTask {
    const directory = yield* this.#get(thread);
    try {
      yield* directory.next(thread, uuid, 0);
    } catch (error) {
      yield* this.#put(thread, false);
      throw error;
    }
  }

  /**
   * Runs an operation on the directory, one at a time, and leaves the directory open for its result.
   * A failure closes it for everybody, so that it is read again.
   */
  #keeping<T>(
    thread: Thread,
    task: (directory: DirFile) => SecureTask<T>,
    undo?: Undo,
  ): SecureTask<T> {
    return this.#mutex.hold(thread, this.#run(thread, task, undo));
  }

  /** As `#keeping`, but lets go of the directory afterwards. */
  *#using<T>(thread: Thread, task: (directory: DirFile) => SecureTask<T>): SecureTask<T> {
    return yield* this.#mutex.hold(thread, this.#runAndPut(thread, task));
  }

  *#runAndPut<T>(thread: Thread, task: (directory: DirFile) => SecureTask<T>): SecureTask<T> {
    const result = yield* this.#run(thread, task);
    yield* this.#put(thread, false);
    return result;
  }

  *#run<T>(
    thread: Thread,
    task: (directory: DirFile) => SecureTask<T>,
    undo?: Undo,
  ): SecureTask<T> {
    const directory = yield* this.#get(thread);
    try {
      return yield* task(directory);
    } catch (error) {
      yield* this.#put(thread, true);
      if (undo !== undefined) yield* undo();
      throw error;
    }
  }

  *#get(thread: Thread): SecureTask<DirFile> {
    this.#directory ??= yield* this.#openRoot(thread);
    this.#users += 1;
    return this.#directory;
  }

  *#put(thread: Thread, close: boolean): SecureTask {
    this.#users -= 1;
    const directory = this.#directory;
    if (directory === undefined || (this.#users > 0 && !close)) return;
    this.#directory = undefined;
    yield* directory.file.close(thread);
    this.#anchor?.close();
  }

  *#openRoot(thread: Thread): SecureTask<DirFile> {
    const anchor = this.#anchor;
    const hash = anchor === undefined ? undefined : yield* anchor.open(thread);
    const common = { uuid: undefined, place: undefined };
    try {
      const old = this.#openFile(thread, { ...common, hash, create: false });
      const found = yield* unless(NOT_FOUND, old);
      if (found !== undefined) return found;
      if (anchor !== undefined && hash !== undefined) {
        if (!this.#core.build.reeFsAllowReset) fail(TEEC.TEEC_ERROR_SECURITY);
        if ((yield* codeOf(anchor.clear(thread))) !== 0) fail(TEEC.TEEC_ERROR_SECURITY);
      }
      return yield* this.#openFile(thread, { ...common, create: true });
    } catch (error) {
      anchor?.close();
      throw error;
    }
  }

  *#openFile(thread: Thread, options: Parameters<typeof openReeFile>[2]): SecureTask<DirFile> {
    const file = yield* openReeFile(thread, this.#core, options);
    try {
      return yield* DirFile.open(thread, file);
    } catch (error) {
      yield* file.close(thread);
      throw error;
    }
  }

  *#commit(thread: Thread, directory: DirFile): SecureTask {
    const hash = yield* directory.file.sync(thread);
    if (this.#anchor !== undefined) yield* this.#anchor.store(thread, hash);
  }

  #fileOf(file: ReeFile): StorageFile {
    const changing = (thread: Thread, change: SecureTask): SecureTask =>
      this.#using(thread, (directory) => this.#change(thread, directory, file, change));
    return {
      read: (thread, at, length) => this.#mutex.hold(thread, file.read(thread, at, length)),
      write: (thread, at, bytes) => changing(thread, file.write(thread, at, bytes)),
      truncate: (thread, length) => changing(thread, file.truncate(thread, length)),
      close: (thread) => this.#mutex.hold(thread, this.#close(thread, file)),
    };
  }

  *#change(thread: Thread, directory: DirFile, file: ReeFile, change: SecureTask): SecureTask {
    yield* change;
    yield* file.sync(thread);
    if (file.place !== undefined) yield* directory.updateHash(thread, file.place);
    yield* this.#commit(thread, directory);
  }

  *#close(thread: Thread, file: ReeFile): SecureTask {
    yield* this.#put(thread, false);
    yield* file.close(thread);
  }
}
