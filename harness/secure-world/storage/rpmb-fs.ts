import { TEEC } from "../../optee-abi/index.ts";
import { BLOCK_SIZE } from "../../rpmb/index.ts";
import { NIL_UUID } from "../../base/index.ts";
import { SecureMutex } from "../sync.ts";
import { uuidToMemory } from "../tas/uuid-memory.ts";
import type { SecureTask, Thread } from "../thread.ts";
import {
  type BackEnd,
  OBJECT_ID_MAX,
  type ObjectName,
  type OpenedFile,
  type StorageDirectory,
  type StorageFile,
} from "./back-end.ts";
import { BlockPool } from "./block-pool.ts";
import { codeOf, fail } from "./failure.ts";
import { FEK_SIZE } from "./keys.ts";
import { Fat, type FatHandle } from "./rpmb-fat.ts";
import { emptyFatEntry, FAT_FLAG, nameField, nameIn } from "./rpmb-layout.ts";
import { RpmbBytes } from "./rpmb-bytes.ts";
import type { StorageCore } from "./storage-core.ts";

/** Data that is moved to another place goes through a buffer of this size. */
const MOVE_SIZE = 4096;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex").toUpperCase();
const folderOf = (uuid: string): string => `/${hexOf(uuidToMemory(uuid))}/`;
const pathOf = (name: ObjectName, temporary: boolean): string =>
  `${folderOf(name.uuid)}${temporary ? "." : ""}${hexOf(name.id)}`;

/**
 * Secure storage in the RPMB partition: a FAT from byte 512 upwards, files of whole blocks from the
 * top downwards (RPMB-5.6). A file that grows or changes in more than one block is written anew
 * elsewhere and its entry, one block, brings it into force.
 */
export class RpmbFs implements BackEnd {
  readonly #core: StorageCore;
  readonly #bytes: RpmbBytes;
  readonly #fat: Fat;
  readonly #mutex = new SecureMutex();

  constructor(core: StorageCore) {
    this.#core = core;
    this.#bytes = new RpmbBytes(core);
    this.#fat = new Fat(core, this.#bytes);
  }

  /** See `RpmbPartition.reinit`. */
  reinit(thread: Thread): SecureTask {
    return this.#mutex.hold(thread, this.#bytes.partition.reinit(thread));
  }

  open(thread: Thread, name: ObjectName): SecureTask<OpenedFile> {
    const handle = this.#handle(pathOf(name, name.temporary ?? false), name.uuid);
    return this.#mutex.hold(thread, this.#openHandle(thread, handle));
  }

  *#openHandle(thread: Thread, handle: FatHandle): SecureTask<OpenedFile> {
    yield* this.#fat.setup(thread);
    yield* this.#fat.find(thread, handle);
    return { file: this.#fileOf(handle), size: handle.entry.size };
  }

  /** A file of the core itself, by its whole name. */
  *openRaw(thread: Thread, path: string, create: boolean): SecureTask<StorageFile> {
    const handle = this.#handle(path, NIL_UUID);
    if (create) yield* this.#mutex.hold(thread, this.#createRaw(thread, handle));
    else yield* this.#mutex.hold(thread, this.#openHandle(thread, handle));
    return this.#fileOf(handle);
  }

  *#createRaw(thread: Thread, handle: FatHandle): SecureTask {
    try {
      yield* this.#createEntry(thread, handle);
    } catch (error) {
      yield* codeOf(this.#removeHandle(thread, handle));
      throw error;
    }
  }

  create(
    thread: Thread,
    name: ObjectName,
    overwrite: boolean,
    parts: readonly Uint8Array[],
  ): SecureTask<StorageFile> {
    return this.#mutex.hold(thread, this.#create(thread, name, overwrite, parts));
  }

  *#create(
    thread: Thread,
    name: ObjectName,
    overwrite: boolean,
    parts: readonly Uint8Array[],
  ): SecureTask<StorageFile> {
    const temporary = name.temporary ?? false;
    const handle = this.#handle(pathOf(name, temporary), name.uuid);
    try {
      yield* this.#createEntry(thread, handle);
      let at = 0;
      for (const part of parts) {
        yield* this.#write(thread, handle, at, part);
        at += part.length;
      }
      if (temporary) {
        const path = pathOf(name, false);
        yield* this.#move(thread, handle.path, path, name.uuid, overwrite);
        handle.path = path;
      }
      return this.#fileOf(handle);
    } catch (error) {
      yield* codeOf(this.#removeHandle(thread, handle));
      throw error;
    }
  }

  rename(thread: Thread, from: ObjectName, to: ObjectName, overwrite: boolean): SecureTask {
    const oldPath = pathOf(from, from.temporary ?? false);
    const newPath = pathOf(to, to.temporary ?? false);
    return this.#mutex.hold(thread, this.#move(thread, oldPath, newPath, from.uuid, overwrite));
  }

  *#move(thread: Thread, from: string, to: string, uuid: string, overwrite: boolean): SecureTask {
    const source = this.#handle(from, uuid);
    const target = this.#handle(to, uuid);
    yield* this.#fat.find(thread, source);
    const replaced = yield* codeOf(this.#fat.find(thread, target));
    if (replaced === TEEC.TEEC_SUCCESS) {
      if (!overwrite) fail(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
      target.entry = emptyFatEntry();
      yield* this.#fat.write(thread, target);
    }
    source.entry = { ...source.entry, filename: nameField(to) };
    yield* this.#fat.write(thread, source);
  }

  remove(thread: Thread, name: ObjectName): SecureTask {
    const handle = this.#handle(pathOf(name, name.temporary ?? false), name.uuid);
    return this.#mutex.hold(thread, this.#removeHandle(thread, handle));
  }

  *#removeHandle(thread: Thread, handle: FatHandle): SecureTask {
    yield* this.#fat.find(thread, handle);
    handle.entry = emptyFatEntry();
    yield* this.#fat.write(thread, handle);
  }

  *openDirectory(thread: Thread, uuid: string): SecureTask<StorageDirectory> {
    const listing = this.#list(thread, folderOf(uuid));
    const ids = yield* this.#mutex.hold(thread, listing);
    if (ids.length === 0) fail(NOT_FOUND);
    let at = 0;
    // oxlint-disable-next-line require-yield -- the listing was made at the start, as a whole
    const next = function* (): SecureTask<Uint8Array> {
      const id = ids[at] ?? fail(NOT_FOUND);
      at += 1;
      return id;
    };
    return { next, close: function* () {} };
  }

  *#list(thread: Thread, folder: string): SecureTask<Uint8Array[]> {
    yield* this.#fat.setup(thread);
    const ids: Uint8Array[] = [];
    yield* this.#fat.each(thread, (entry) => {
      const name = nameIn(entry);
      if ((entry.flags & FAT_FLAG.ACTIVE) === 0 || !name.startsWith(folder)) return true;
      const text = name.slice(folder.length);
      // What is half made has a name with a dot, which is no object id.
      if (/^(?:[0-9A-F]{2})+$/.test(text) && text.length <= 2 * OBJECT_ID_MAX) {
        ids.push(Uint8Array.from(Buffer.from(text, "hex")));
      }
      return true;
    });
    return ids;
  }

  #handle(path: string, uuid: string): FatHandle {
    return { path, uuid, address: 0, entry: emptyFatEntry() };
  }

  /** Finds or makes the entry of a file that is to be written. */
  *#createEntry(thread: Thread, handle: FatHandle): SecureTask {
    yield* this.#fat.setup(thread);
    yield* this.#fat.findForWriting(thread, handle);
    if ((handle.entry.flags & FAT_FLAG.ACTIVE) !== 0) return;
    const fek = this.#core.keys.wrap(handle.uuid, this.#core.random(FEK_SIZE));
    const filename = nameField(handle.path);
    handle.entry = { ...emptyFatEntry(FAT_FLAG.ACTIVE), filename, fek };
    yield* this.#fat.write(thread, handle);
  }

  *#read(thread: Thread, handle: FatHandle, at: number, length: number): SecureTask<Uint8Array> {
    if (length === 0) return new Uint8Array(0);
    yield* this.#fat.find(thread, handle);
    const { start, size } = handle.entry;
    if (at >= size) return new Uint8Array(0);
    const cipher = this.#bytes.cipherOf(handle);
    return yield* this.#bytes.read(thread, start + at, Math.min(length, size - at), cipher);
  }

  *#write(thread: Thread, handle: FatHandle, at: number, bytes: Uint8Array): SecureTask {
    if (bytes.length === 0) return;
    const pool = yield* this.#fat.findForWriting(thread, handle);
    const { start, size } = handle.entry;
    const end = at + bytes.length;
    const cipher = this.#bytes.cipherOf(handle);
    const oneBlock = ((start + at) % BLOCK_SIZE) + bytes.length <= BLOCK_SIZE;
    if (end <= size && oneBlock) {
      yield* this.#bytes.write(thread, start + at, bytes, cipher);
      return;
    }
    const newSize = Math.max(end, size);
    const block =
      pool.allocate(Math.ceil(newSize / BLOCK_SIZE)) ?? fail(TEEC.TEEC_ERROR_STORAGE_NO_SPACE);
    const newStart = block * BLOCK_SIZE;
    const { mempool } = thread.partition;
    yield* mempool.hold(thread, this.#rewrite(thread, handle, at, bytes, newStart, newSize));
    handle.entry = { ...handle.entry, start: newStart, size: newSize };
    yield* this.#fat.write(thread, handle);
  }

  /** Writes the file with its change to another place, piece by piece. */
  *#rewrite(
    thread: Thread,
    handle: FatHandle,
    at: number,
    bytes: Uint8Array,
    newStart: number,
    newSize: number,
  ): SecureTask {
    const { start, size } = handle.entry;
    const cipher = this.#bytes.cipherOf(handle);
    for (let offset = 0; offset < newSize; offset += MOVE_SIZE) {
      const piece = new Uint8Array(Math.min(MOVE_SIZE, newSize - offset));
      // Versions before 4.10 did not read the piece again that the change begins before.
      if (offset < size && (offset < at || this.#core.since(4, 10))) {
        const length = Math.min(piece.length, size - offset);
        piece.set(yield* this.#bytes.read(thread, start + offset, length, cipher));
      }
      const from = Math.max(at, offset);
      const to = Math.min(at + bytes.length, offset + piece.length);
      if (from < to) piece.set(bytes.subarray(from - at, to - at), from - offset);
      yield* this.#bytes.write(thread, newStart + offset, piece, cipher);
    }
  }

  *#truncate(thread: Thread, handle: FatHandle, length: number): SecureTask {
    if (length > 0x7fff_ffff) fail(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    yield* this.#fat.find(thread, handle);
    let { start } = handle.entry;
    if (length > handle.entry.size) {
      const pool: BlockPool = yield* this.#fat.findForWriting(thread, handle);
      const block =
        pool.allocate(Math.ceil(length / BLOCK_SIZE)) ?? fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
      const cipher = this.#bytes.cipherOf(handle);
      const data = new Uint8Array(length);
      const { size } = handle.entry;
      if (size > 0) data.set(yield* this.#bytes.read(thread, start, size, cipher));
      start = block * BLOCK_SIZE;
      yield* this.#bytes.write(thread, start, data, cipher);
    }
    handle.entry = { ...handle.entry, size: length, start };
    yield* this.#fat.write(thread, handle);
  }

  #fileOf(handle: FatHandle): StorageFile {
    const held = <T>(thread: Thread, task: SecureTask<T>): SecureTask<T> =>
      this.#mutex.hold(thread, task);
    return {
      read: (thread, at, length) => held(thread, this.#read(thread, handle, at, length)),
      write: (thread, at, bytes) => held(thread, this.#write(thread, handle, at, bytes)),
      truncate: (thread, length) => held(thread, this.#truncate(thread, handle, length)),
      close: function* () {},
    };
  }
}
