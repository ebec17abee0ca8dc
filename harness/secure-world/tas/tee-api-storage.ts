import { TEEC } from "../../optee-abi/index.ts";
import { PrivateMemory } from "../memory-object.ts";
import { TaParam } from "../param.ts";
import { fail, Failure } from "../storage/failure.ts";
import type { TaObjects } from "../storage/ta-objects.ts";
import {
  type ObjectInfo,
  TEE_DATA_MAX_POSITION,
  TEE_DATA_SEEK,
  TEE_HANDLE_NULL,
} from "../storage/tee-object.ts";
import type { SecureTask, Thread } from "../thread.ts";

export { TEE_DATA_FLAG } from "../storage/object-table.ts";
export { TEE_STORAGE } from "../storage/secure-storage.ts";
export {
  type ObjectInfo,
  TEE_DATA_MAX_POSITION,
  TEE_DATA_SEEK,
  TEE_HANDLE_FLAG,
  TEE_HANDLE_NULL,
  TEE_TYPE,
  TEE_USAGE,
} from "../storage/tee-object.ts";

/** An object id in the TA's own memory, or where a client's parameter lies. */
export type ObjectId = Uint8Array | TaParam;

/** What storage needs of the TA that calls it. */
interface Caller {
  readonly thread: Thread;
  panic(code: number): never;
}

const CORRUPT = TEEC.TEEC_ERROR_CORRUPT_OBJECT;
const NOT_AVAILABLE = TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE;
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
const CONFLICT = TEEC.TEEC_ERROR_ACCESS_CONFLICT;
const NO_MEMORY = TEEC.TEEC_ERROR_OUT_OF_MEMORY;
const NO_SPACE = TEEC.TEEC_ERROR_STORAGE_NO_SPACE;

/** Results that a TA gets to see; with any other it panics. */
const SEEN = {
  open: [NOT_FOUND, CONFLICT, NO_MEMORY, CORRUPT, NOT_AVAILABLE],
  create: [NOT_FOUND, CONFLICT, NO_MEMORY, NO_SPACE, CORRUPT, NOT_AVAILABLE],
  delete: [NOT_AVAILABLE],
  rename: [CONFLICT, CORRUPT, NOT_AVAILABLE],
  read: [CORRUPT, NOT_AVAILABLE],
  write: [NO_SPACE, TEEC.TEEC_ERROR_OVERFLOW, CORRUPT, NOT_AVAILABLE],
  truncate: [NO_SPACE, CORRUPT, NOT_AVAILABLE],
  seek: [TEEC.TEEC_ERROR_OVERFLOW, CORRUPT, NOT_AVAILABLE],
  info: [CORRUPT, NOT_AVAILABLE],
  enumerate: [NOT_FOUND, CORRUPT, NOT_AVAILABLE],
  transient: [NO_MEMORY, TEEC.TEEC_ERROR_NOT_SUPPORTED],
  generate: [TEEC.TEEC_ERROR_BAD_PARAMETERS],
  never: [],
} as const satisfies Readonly<Record<string, readonly number[]>>;

interface Answer<T> {
  readonly result: number;
  readonly value: T;
}

/**
 * The storage functions of the GP Internal API for one session of a TA. As in the real library, a TA
 * panics with every result that the function may not give.
 */
export class TeeStorage {
  readonly #caller: Caller;
  readonly #objects: TaObjects;

  constructor(caller: Caller, objects: TaObjects) {
    this.#caller = caller;
    this.#objects = objects;
  }

  /** TEE_OpenPersistentObject; the value is the handle. */
  *open(storageId: number, id: ObjectId, flags: number): SecureTask<Answer<number>> {
    const { thread } = this.#caller;
    const opening = (): SecureTask<number> =>
      this.#objects.open(thread, storageId, privateId(id), flags);
    return yield* this.#guard(SEEN.open, TEE_HANDLE_NULL, opening);
  }

  /**
   * TEE_CreatePersistentObject; the value is the handle. With `keepHandle` the handle `attributes`,
   * of a transient object, becomes that of the persistent one.
   */
  *create(
    storageId: number,
    id: ObjectId,
    flags: number,
    attributes: number,
    data: Uint8Array,
    keepHandle = false,
  ): SecureTask<Answer<number>> {
    const { thread } = this.#caller;
    const creating = (): SecureTask<number> =>
      this.#objects.create(thread, storageId, privateId(id), flags, attributes, data, !keepHandle);
    return yield* this.#guard(SEEN.create, TEE_HANDLE_NULL, creating);
  }

  /** TEE_CloseObject. */
  *close(object: number): SecureTask {
    if (object === TEE_HANDLE_NULL) return;
    const { thread } = this.#caller;
    yield* this.#guard(SEEN.never, undefined, () => this.#objects.close(thread, object));
  }

  /** TEE_CloseAndDeletePersistentObject1. */
  *closeAndDelete(object: number): SecureTask<number> {
    if (object === TEE_HANDLE_NULL) return TEEC.TEEC_SUCCESS;
    const { thread } = this.#caller;
    const deleting = (): SecureTask => this.#objects.closeAndDelete(thread, object);
    return (yield* this.#guard(SEEN.delete, undefined, deleting)).result;
  }

  /** TEE_RenamePersistentObject. */
  *rename(object: number, id: ObjectId): SecureTask<number> {
    if (object === TEE_HANDLE_NULL) return this.#caller.panic(NOT_FOUND);
    const { thread } = this.#caller;
    const renaming = (): SecureTask => this.#objects.rename(thread, object, privateId(id));
    return (yield* this.#guard(SEEN.rename, undefined, renaming)).result;
  }

  /** TEE_ReadObjectData; the value is what was there, at most `length` bytes. */
  *read(object: number, length: number): SecureTask<Answer<Uint8Array>> {
    const { thread } = this.#caller;
    const nothing: Uint8Array = new Uint8Array(0);
    if (object === TEE_HANDLE_NULL) return this.#caller.panic(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    return yield* this.#guard(SEEN.read, nothing, () => this.#objects.read(thread, object, length));
  }

  /** TEE_WriteObjectData. */
  *write(object: number, bytes: Uint8Array): SecureTask<number> {
    const { thread } = this.#caller;
    if (object === TEE_HANDLE_NULL) return this.#caller.panic(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const writing = (): SecureTask => this.#objects.write(thread, object, bytes);
    return (yield* this.#guard(SEEN.write, undefined, writing)).result;
  }

  /** TEE_TruncateObjectData. */
  *truncate(object: number, size: number): SecureTask<number> {
    const { thread } = this.#caller;
    if (object === TEE_HANDLE_NULL) return this.#caller.panic(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const change = (): SecureTask => this.#objects.truncate(thread, object, size);
    return (yield* this.#guard(SEEN.truncate, undefined, change)).result;
  }

  /** TEE_SeekObjectData; `offset` is signed. */
  seek(object: number, offset: number, whence: number): number {
    if (object === TEE_HANDLE_NULL) return this.#caller.panic(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    return this.#try(SEEN.seek, undefined, () => {
      const { dataPosition, dataSize } = this.#objects.info(object);
      if (whence > TEE_DATA_SEEK.END) fail(NOT_FOUND);
      const relative = whence === TEE_DATA_SEEK.CUR ? dataPosition : dataSize;
      const base = whence === TEE_DATA_SEEK.SET ? 0 : relative;
      if (offset > 0 && base + offset > TEE_DATA_MAX_POSITION) fail(TEEC.TEEC_ERROR_OVERFLOW);
      this.#objects.seek(object, offset, whence);
    }).result;
  }

  /** TEE_GetObjectInfo1. */
  info(object: number): ObjectInfo {
    const read = (): ObjectInfo => this.#objects.info(object);
    return this.#try(SEEN.info, undefined, read).value ?? this.#caller.panic(CORRUPT);
  }

  /** TEE_RestrictObjectUsage1. */
  *restrictUsage(object: number, usage: number): SecureTask<number> {
    const { thread } = this.#caller;
    const restricting = (): SecureTask => this.#objects.restrictUsage(thread, object, usage);
    return (yield* this.#guard(SEEN.info, undefined, restricting)).result;
  }

  /** TEE_AllocatePersistentObjectEnumerator. */
  allocateEnumerator(): number {
    return this.#objects.allocateEnumerator();
  }

  /** TEE_FreePersistentObjectEnumerator. */
  *freeEnumerator(enumerator: number): SecureTask {
    if (enumerator === TEE_HANDLE_NULL) return;
    const { thread } = this.#caller;
    const freeing = (): SecureTask => this.#objects.freeEnumerator(thread, enumerator);
    yield* this.#guard(SEEN.never, undefined, freeing);
  }

  /** TEE_ResetPersistentObjectEnumerator. */
  *resetEnumerator(enumerator: number): SecureTask {
    if (enumerator === TEE_HANDLE_NULL) return;
    const { thread } = this.#caller;
    const resetting = (): SecureTask => this.#objects.resetEnumerator(thread, enumerator);
    yield* this.#guard(SEEN.never, undefined, resetting);
  }

  /** TEE_StartPersistentObjectEnumerator. */
  *startEnumerator(enumerator: number, storageId: number): SecureTask<number> {
    const { thread } = this.#caller;
    const starting = (): SecureTask => this.#objects.startEnumerator(thread, enumerator, storageId);
    return (yield* this.#guard(SEEN.enumerate, undefined, starting)).result;
  }

  /** TEE_GetNextPersistentObject. */
  *nextObject(
    enumerator: number,
  ): SecureTask<Answer<{ readonly id: Uint8Array; readonly info: ObjectInfo } | undefined>> {
    const { thread } = this.#caller;
    return yield* this.#guard(SEEN.enumerate, undefined, () =>
      this.#objects.nextObject(thread, enumerator),
    );
  }

  /** TEE_AllocateTransientObject: `size` in bits; the value is the handle. */
  allocateTransient(type: number, size: number): Answer<number> {
    return this.#try(SEEN.transient, TEE_HANDLE_NULL, () =>
      this.#objects.allocateTransient(type, size),
    );
  }

  /** TEE_FreeTransientObject; SUCCESS, or a panic. */
  freeTransient(object: number): number {
    if (object === TEE_HANDLE_NULL) return TEEC.TEEC_SUCCESS;
    return this.#try(SEEN.never, undefined, () => this.#objects.freeTransient(object)).result;
  }

  /** TEE_ResetTransientObject; SUCCESS, or a panic. */
  resetTransient(object: number): number {
    if (object === TEE_HANDLE_NULL) return TEEC.TEEC_SUCCESS;
    return this.#try(SEEN.never, undefined, () => this.#objects.resetTransient(object)).result;
  }

  /** TEE_GenerateKey: `size` in bits. */
  generateKey(object: number, size: number): number {
    return this.#try(SEEN.generate, undefined, () => this.#objects.generateKey(object, size))
      .result;
  }

  /** The secret value of a key object, as TEE_SetOperationKey takes it. */
  secretOf(object: number): Uint8Array {
    const read = (): Uint8Array => this.#objects.secretOf(object);
    return this.#try(SEEN.never, new Uint8Array(0), read).value;
  }

  *#guard<T, E>(
    seen: readonly number[],
    failed: E,
    task: () => SecureTask<T>,
  ): SecureTask<Answer<T | E>> {
    try {
      return { result: TEEC.TEEC_SUCCESS, value: yield* task() };
    } catch (error) {
      return this.#failed(error, seen, failed);
    }
  }

  #try<T, E>(seen: readonly number[], failed: E, task: () => T): Answer<T | E> {
    try {
      return { result: TEEC.TEEC_SUCCESS, value: task() };
    } catch (error) {
      return this.#failed(error, seen, failed);
    }
  }

  #failed<E>(error: unknown, seen: readonly number[], failed: E): Answer<E> {
    if (!(error instanceof Failure)) throw error;
    if (!seen.includes(error.code)) this.#caller.panic(error.code);
    return { result: error.code, value: failed };
  }
}

/** An object id has to be in memory that only the TA can write. */
function privateId(id: ObjectId): Uint8Array {
  if (!(id instanceof TaParam)) return id;
  if (id.isNull || id.memory instanceof PrivateMemory) return id.read();
  return fail(TEEC.TEEC_ERROR_ACCESS_DENIED);
}
