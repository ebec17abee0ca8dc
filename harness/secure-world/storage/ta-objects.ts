import { TargetCrashError } from "../../base/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import type { Partition } from "../partition.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { type BackEnd, OBJECT_ID_MAX, type StorageDirectory } from "./back-end.ts";
import { codeOf, fail, Failure } from "./failure.ts";
import { type OpenObject, TEE_DATA_FLAG } from "./object-table.ts";
import { initializeFile, readHead } from "./object-file.ts";
import type { SecureStorage } from "./secure-storage.ts";
import {
  infoOf,
  isAesSize,
  newObject,
  type ObjectInfo,
  OBJECT_HEAD,
  setType,
  TEE_DATA_MAX_POSITION,
  TEE_DATA_SEEK,
  TEE_HANDLE_FLAG,
  TEE_TYPE,
  TEE_USAGE,
  type TeeObject,
} from "./tee-object.ts";

const { TEEC_ERROR_BAD_PARAMETERS, TEEC_ERROR_BAD_STATE, TEEC_ERROR_CORRUPT_OBJECT } = TEEC;
const { TEEC_ERROR_ITEM_NOT_FOUND, TEEC_ERROR_ACCESS_CONFLICT } = TEEC;
const OPEN_FLAGS =
  TEE_DATA_FLAG.ACCESS_READ |
  TEE_DATA_FLAG.ACCESS_WRITE |
  TEE_DATA_FLAG.ACCESS_WRITE_META |
  TEE_DATA_FLAG.SHARE_READ |
  TEE_DATA_FLAG.SHARE_WRITE;
const CREATE_FLAGS = OPEN_FLAGS | TEE_DATA_FLAG.OVERWRITE;
/** Handles look like addresses in a TA, and none is ever given twice. */
const FIRST_HANDLE = 0x4000_1000;
const HANDLE_STEP = 0x60;
/** Where the usage lies in an object's file. */
const USAGE_OFFSET = OBJECT_HEAD.fields.objectUsage.offset;

interface Enumerator {
  directory: StorageDirectory | undefined;
  backEnd: BackEnd | undefined;
}

/**
 * The objects and enumerators of one TA instance, as the core's system calls treat them. All of it
 * fails with `Failure`; which results a TA survives its library decides.
 */
export class TaObjects {
  readonly #partition: Partition;
  readonly #uuid: string;
  readonly #objects = new Map<number, TeeObject>();
  readonly #enumerators = new Map<number, Enumerator>();
  #nextHandle = FIRST_HANDLE;

  constructor(partition: Partition, uuid: string) {
    this.#partition = partition;
    this.#uuid = uuid;
  }

  get #storage(): SecureStorage {
    return this.#partition.storage;
  }

  /** Handles of objects and enumerators that are not closed. */
  get count(): number {
    return this.#objects.size + this.#enumerators.size;
  }

  *open(thread: Thread, storageId: number, id: Uint8Array, flags: number): SecureTask<number> {
    if ((flags & ~OPEN_FLAGS) !== 0) fail(TEEC_ERROR_BAD_PARAMETERS);
    const backEnd = this.#storage.backEnd(storageId) ?? fail(TEEC_ERROR_ITEM_NOT_FOUND);
    if (id.length > OBJECT_ID_MAX) fail(TEEC_ERROR_BAD_PARAMETERS);
    const persistent = this.#storage.objects.get(this.#uuid, id, flags, "open", backEnd);
    const object = newObject(PERSISTENT | flags, persistent);
    const handle = this.#add(object);
    try {
      yield* readHead(thread, object);
    } catch (error) {
      if (error instanceof Failure && isCorrupt(error.code)) {
        yield* this.#removeCorrupt(thread, handle, object);
        fail(TEEC_ERROR_CORRUPT_OBJECT);
      }
      yield* this.#close(thread, handle, object);
      throw error;
    }
    return handle;
  }

  /**
   * Creates an object of `data`, with the type and attributes of another where `attributes` is not
   * NULL. Without `wantHandle` that other becomes the persistent object itself.
   */
  *create(
    thread: Thread,
    storageId: number,
    id: Uint8Array,
    flags: number,
    attributes: number,
    data: Uint8Array,
    wantHandle: boolean,
  ): SecureTask<number> {
    if ((flags & ~CREATE_FLAGS) !== 0) fail(TEEC_ERROR_BAD_PARAMETERS);
    const backEnd = this.#storage.backEnd(storageId) ?? fail(TEEC_ERROR_ITEM_NOT_FOUND);
    if (id.length > OBJECT_ID_MAX) fail(TEEC_ERROR_BAD_PARAMETERS);
    const table = this.#storage.objects;
    const persistent = table.get(this.#uuid, id, flags, "create", backEnd);
    const overwrite = (flags & TEE_DATA_FLAG.OVERWRITE) !== 0;
    try {
      const source = attributes === 0 ? undefined : this.#get(attributes);
      if (source !== undefined && (source.handleFlags & TEE_HANDLE_FLAG.INITIALIZED) === 0) {
        fail(TEEC_ERROR_BAD_PARAMETERS);
      }
      if (!wantHandle && source?.persistent === undefined && source !== undefined) {
        persistent.usage = source.usage;
        yield* this.#transform(thread, source, persistent, flags, overwrite, data);
        finishCreation(persistent);
        return attributes;
      }
      const object = newObject(PERSISTENT | flags, persistent);
      yield* initializeFile(thread, object, source, overwrite, data);
      finishCreation(persistent);
      const handle = this.#add(object);
      if (!wantHandle) yield* this.#close(thread, handle, object);
      return wantHandle ? handle : 0;
    } catch (error) {
      const code = error instanceof Failure ? error.code : 0;
      if (isCorrupt(code)) yield* codeOf(backEnd.remove(thread, persistent.name));
      table.release(persistent);
      if (isCorrupt(code)) fail(TEEC_ERROR_CORRUPT_OBJECT);
      throw error;
    }
  }

  *#transform(
    thread: Thread,
    object: TeeObject,
    persistent: OpenObject,
    flags: number,
    overwrite: boolean,
    data: Uint8Array,
  ): SecureTask {
    const before = object.handleFlags;
    Object.assign(object, { handleFlags: PERSISTENT | flags, persistent });
    try {
      yield* initializeFile(thread, object, object, overwrite, data);
    } catch (error) {
      Object.assign(object, { handleFlags: before, persistent: undefined });
      throw error;
    }
    object.usage = 0;
  }

  *close(thread: Thread, handle: number): SecureTask {
    yield* this.#close(thread, handle, this.#get(handle));
  }

  *closeAndDelete(thread: Thread, handle: number): SecureTask {
    const object = this.#get(handle);
    if ((object.handleFlags & TEE_DATA_FLAG.ACCESS_WRITE_META) === 0) {
      fail(TEEC_ERROR_ACCESS_CONFLICT);
    }
    const { backEnd, name } = object.persistent ?? fail(TEEC_ERROR_BAD_STATE);
    const result = yield* codeOf(backEnd.remove(thread, name));
    yield* this.#close(thread, handle, object);
    if (result !== TEEC.TEEC_SUCCESS) fail(result);
  }

  *rename(thread: Thread, handle: number, id: Uint8Array): SecureTask {
    if (id.length > OBJECT_ID_MAX) fail(TEEC_ERROR_BAD_PARAMETERS);
    const object = this.#get(handle);
    const persistent = object.persistent ?? fail(TEEC_ERROR_BAD_STATE);
    const mayRename = (object.handleFlags & TEE_DATA_FLAG.ACCESS_WRITE_META) !== 0;
    if (!mayRename) fail(TEEC_ERROR_BAD_STATE);
    const { backEnd } = persistent;
    const table = this.#storage.objects;
    const meta = TEE_DATA_FLAG.ACCESS_WRITE_META;
    const reserved = table.get(this.#uuid, id, meta, "rename", backEnd);
    try {
      yield* backEnd.rename(thread, persistent.name, reserved.name, false);
      if (persistent.references !== 1) fail(TEEC_ERROR_BAD_STATE);
      persistent.name = { ...persistent.name, id: reserved.name.id };
    } finally {
      table.release(reserved);
    }
  }

  /** At most `length` bytes from the object's position, which moves on. */
  *read(thread: Thread, handle: number, length: number): SecureTask<Uint8Array> {
    const object = this.#get(handle);
    const file = this.#accessed(object, TEE_DATA_FLAG.ACCESS_READ);
    const at = object.dataStart + object.dataPosition;
    const reading = file.read(thread, at, length);
    const bytes = yield* this.#orRemove(thread, handle, object, reading);
    object.dataPosition += bytes.length;
    return bytes;
  }

  *write(thread: Thread, handle: number, bytes: Uint8Array): SecureTask {
    const object = this.#get(handle);
    const file = this.#accessed(object, TEE_DATA_FLAG.ACCESS_WRITE);
    const at = object.dataStart + object.dataPosition;
    yield* this.#orRemove(thread, handle, object, file.write(thread, at, bytes));
    object.dataPosition += bytes.length;
    object.dataSize = Math.max(object.dataSize, object.dataPosition);
  }

  *truncate(thread: Thread, handle: number, size: number): SecureTask {
    const object = this.#get(handle);
    const file = this.#accessed(object, TEE_DATA_FLAG.ACCESS_WRITE);
    const change = file.truncate(thread, object.dataStart + size);
    const result = yield* codeOf(this.#orRemove(thread, handle, object, change));
    if (result === TEEC_ERROR_CORRUPT_OBJECT) fail(result);
    if (result !== TEEC.TEEC_SUCCESS) fail(TEEC.TEEC_ERROR_GENERIC);
    object.dataSize = size;
  }

  /** Moves the position; never before the start. `offset` is signed. */
  seek(handle: number, offset: number, whence: number): void {
    const object = this.#get(handle);
    if (object.persistent === undefined) fail(TEEC_ERROR_BAD_STATE);
    const bases = new Map([
      [TEE_DATA_SEEK.SET as number, 0],
      [TEE_DATA_SEEK.CUR, object.dataPosition],
      [TEE_DATA_SEEK.END, object.dataSize],
    ]);
    const position = (bases.get(whence) ?? fail(TEEC_ERROR_BAD_PARAMETERS)) + offset;
    if (position > TEE_DATA_MAX_POSITION) fail(TEEC_ERROR_BAD_PARAMETERS);
    object.dataPosition = Math.max(0, position);
  }

  info(handle: number): ObjectInfo {
    return infoOf(this.#get(handle));
  }

  /** Takes TEE_USAGE_* bits away; a persistent object's for good. */
  *restrictUsage(thread: Thread, handle: number, usage: number): SecureTask {
    const object = this.#get(handle);
    const { persistent, file } = object;
    if (persistent === undefined || file === undefined) {
      object.usage = (object.usage & usage) >>> 0;
      return;
    }
    const left = (persistent.usage & usage) >>> 0;
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, left, true);
    yield* file.write(thread, USAGE_OFFSET, bytes);
    persistent.usage = left;
  }

  allocateTransient(type: number, maxSize: number): number {
    const object = newObject(0);
    setType(object, type, maxSize);
    return this.#add(object);
  }

  /** Empties a transient object. */
  resetTransient(handle: number): void {
    const object = this.#transient(handle);
    object.attribute.fill(0);
    const empty = { attribute: new Uint8Array(0), haveAttrs: 0, objectSize: 0, handleFlags: 0 };
    Object.assign(object, { ...empty, usage: TEE_USAGE.DEFAULT });
  }

  freeTransient(handle: number): void {
    this.resetTransient(handle);
    this.#objects.delete(handle);
  }

  /** TEE_GenerateKey of an AES key of `bits`. */
  generateKey(handle: number, bits: number): void {
    const object = this.#transient(handle);
    const initialized = (object.handleFlags & TEE_HANDLE_FLAG.INITIALIZED) !== 0;
    if (initialized) fail(TEEC_ERROR_BAD_STATE);
    if (object.objectType !== TEE_TYPE.AES) fail(TEEC.TEEC_ERROR_NOT_SUPPORTED);
    if (!isAesSize(bits) || bits > object.maxObjectSize) fail(TEEC_ERROR_BAD_PARAMETERS);
    object.attribute = this.#storage.core.random(bits / 8);
    object.objectSize = bits;
    object.haveAttrs = 1;
    object.handleFlags |= TEE_HANDLE_FLAG.INITIALIZED;
  }

  /** The secret of a key, for the operations that use it. */
  secretOf(handle: number): Uint8Array {
    return this.#get(handle).attribute;
  }

  allocateEnumerator(): number {
    const handle = this.#takeHandle();
    this.#enumerators.set(handle, { directory: undefined, backEnd: undefined });
    return handle;
  }

  *freeEnumerator(thread: Thread, handle: number): SecureTask {
    yield* this.resetEnumerator(thread, handle);
    this.#enumerators.delete(handle);
  }

  *resetEnumerator(thread: Thread, handle: number): SecureTask {
    const enumerator = this.#enumerators.get(handle) ?? fail(TEEC_ERROR_BAD_PARAMETERS);
    yield* enumerator.directory?.close(thread) ?? [];
    Object.assign(enumerator, { directory: undefined, backEnd: undefined });
  }

  *startEnumerator(thread: Thread, handle: number, storageId: number): SecureTask {
    const enumerator = this.#enumerators.get(handle) ?? fail(TEEC_ERROR_BAD_PARAMETERS);
    yield* this.resetEnumerator(thread, handle);
    const backEnd = this.#storage.backEnd(storageId) ?? fail(TEEC_ERROR_ITEM_NOT_FOUND);
    // It stays where there is nothing to enumerate: see `nextObject`.
    enumerator.backEnd = backEnd;
    enumerator.directory = yield* backEnd.openDirectory(thread, this.#uuid);
  }

  /** Throws TargetCrashError after a start that failed, where OP-TEE reads from no directory. */
  *nextObject(
    thread: Thread,
    handle: number,
  ): SecureTask<{ readonly id: Uint8Array; readonly info: ObjectInfo }> {
    const enumerator = this.#enumerators.get(handle) ?? fail(TEEC_ERROR_BAD_PARAMETERS);
    const { directory, backEnd } = enumerator;
    if (backEnd === undefined) return fail(TEEC_ERROR_ITEM_NOT_FOUND);
    if (directory === undefined) {
      throw new TargetCrashError("OP-TEE panicked: the next object of an enumeration of nothing", {
        expected: "TEE_GetNextPersistentObject after a start that succeeded",
        seen: "the enumeration could not be started",
      });
    }
    const id = yield* directory.next(thread);
    const table = this.#storage.objects;
    const persistent = table.get(this.#uuid, id, 0, "enumerate", backEnd);
    const object = newObject(PERSISTENT | persistent.flags, persistent);
    try {
      yield* readHead(thread, object);
      return { id, info: infoOf(object) };
    } finally {
      yield* object.file?.close(thread) ?? [];
      table.release(persistent);
    }
  }

  /** Closes everything, as at the end of the instance. */
  *closeAll(thread: Thread): SecureTask {
    for (const [handle, object] of Array.from(this.#objects)) {
      yield* this.#close(thread, handle, object);
    }
    for (const handle of Array.from(this.#enumerators.keys())) {
      yield* this.freeEnumerator(thread, handle);
    }
  }

  #takeHandle(): number {
    const handle = this.#nextHandle;
    this.#nextHandle += HANDLE_STEP;
    return handle;
  }

  #add(object: TeeObject): number {
    const handle = this.#takeHandle();
    this.#objects.set(handle, object);
    return handle;
  }

  #get(handle: number): TeeObject {
    return this.#objects.get(handle) ?? fail(TEEC_ERROR_BAD_STATE);
  }

  #transient(handle: number): TeeObject {
    const object = this.#get(handle);
    return object.persistent === undefined ? object : fail(TEEC_ERROR_BAD_STATE);
  }

  #accessed(object: TeeObject, flag: number): NonNullable<TeeObject["file"]> {
    if (object.persistent === undefined) fail(TEEC_ERROR_BAD_STATE);
    if ((object.handleFlags & flag) === 0) fail(TEEC_ERROR_ACCESS_CONFLICT);
    return object.file ?? fail(TEEC_ERROR_BAD_STATE);
  }

  *#close(thread: Thread, handle: number, object: TeeObject): SecureTask {
    this.#objects.delete(handle);
    if (object.persistent === undefined) return;
    yield* object.file?.close(thread) ?? [];
    this.#storage.objects.release(object.persistent);
  }

  /** A corrupt object is removed and its handle closed. */
  *#orRemove<T>(
    thread: Thread,
    handle: number,
    object: TeeObject,
    task: SecureTask<T>,
  ): SecureTask<T> {
    try {
      return yield* task;
    } catch (error) {
      if (error instanceof Failure && error.code === TEEC_ERROR_CORRUPT_OBJECT) {
        yield* this.#removeCorrupt(thread, handle, object);
      }
      throw error;
    }
  }

  *#removeCorrupt(thread: Thread, handle: number, object: TeeObject): SecureTask {
    const { persistent } = object;
    if (persistent !== undefined) {
      yield* codeOf(persistent.backEnd.remove(thread, persistent.name));
    }
    yield* this.#close(thread, handle, object);
  }
}

const PERSISTENT = TEE_HANDLE_FLAG.PERSISTENT | TEE_HANDLE_FLAG.INITIALIZED;

const isCorrupt = (code: number): boolean =>
  code === TEEC_ERROR_CORRUPT_OBJECT ||
  code === TEEC.TEEC_ERROR_NO_DATA ||
  code === TEEC.TEEC_ERROR_BAD_FORMAT;

function finishCreation(object: OpenObject): void {
  object.creating = false;
  object.name = { ...object.name, temporary: false };
}
