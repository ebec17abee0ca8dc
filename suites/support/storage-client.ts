import type { Task } from "../../harness/machine/index.ts";
import {
  TEEC_PARAM,
  type TeecContext,
  TeecParam,
  type TeecResult,
  type TeecSession,
  type UserBuffer,
} from "../../harness/normal-world/index.ts";
import { buffer, openSession } from "./client.ts";
import { STORAGE } from "./tas.ts";

/** TEE_DATA_FLAG_* of the GP Internal API. */
export const DATA_FLAG = {
  ACCESS_READ: 0x1,
  ACCESS_WRITE: 0x2,
  ACCESS_WRITE_META: 0x4,
  SHARE_READ: 0x10,
  SHARE_WRITE: 0x20,
  OVERWRITE: 0x400,
} as const;
export const SEEK = { SET: 0, CUR: 1, END: 2 } as const;
/** TEE_STORAGE_PRIVATE, and OP-TEE's ids for one back end. */
export const STORAGE_ID = {
  PRIVATE: 0x0000_0001,
  REE: 0x8000_0000,
  RPMB: 0x8000_0100,
} as const;
export const TYPE_AES = 0xa000_0010;
/** Bytes of the object information that the TA gives: seven words. */
export const INFO_SIZE = 28;

const { VALUE_INPUT, VALUE_OUTPUT, VALUE_INOUT, MEMREF_TEMP_INPUT, MEMREF_TEMP_OUTPUT } =
  TEEC_PARAM;

type Outcome<T> = TeecResult & T;

export interface ClientObjectInfo {
  readonly objectUsage: number;
  readonly dataSize: number;
  readonly dataPosition: number;
}

/** A session with xtest's storage TA, its commands as functions. */
export class StorageClient {
  readonly tee: TeecContext;
  readonly session: TeecSession;

  private constructor(tee: TeecContext, session: TeecSession) {
    this.tee = tee;
    this.session = session;
  }

  /** Throws StepFailed unless the session can be opened. */
  static *open(tee: TeecContext, uuid: string = STORAGE.uuid): Task<StorageClient> {
    return new StorageClient(tee, yield* openSession(tee, uuid));
  }

  /** On a session that is open. */
  static with(tee: TeecContext, session: TeecSession): StorageClient {
    return new StorageClient(tee, session);
  }

  *end(): Task {
    yield* this.tee.closeSession(this.session);
  }

  /** The command, with temporary memory freed afterwards. */
  *#invoke(
    command: number,
    params: readonly TeecParam[],
    memory: readonly (UserBuffer | null)[] = [],
  ): Task<TeecResult> {
    const done = yield* this.tee.invokeCommand(this.session, command, params);
    for (const one of memory) if (one !== null) this.tee.process.memory.unmap(one);
    return done;
  }

  #buffer(bytes: Uint8Array | null): UserBuffer | null {
    return bytes === null ? null : buffer(this.tee, bytes.length === 0 ? 1 : bytes);
  }

  /** Creates an object; the id may be NULL, its bytes left in shared memory with `idInShm`. */
  *create(
    place: number,
    id: Uint8Array | null,
    flags: number,
    data: Uint8Array | null,
    idInShm = false,
  ): Task<Outcome<{ readonly object: number }>> {
    const handle = TeecParam.value(VALUE_INOUT, flags);
    const memory = [this.#buffer(id), this.#buffer(data)] as const;
    const done = yield* this.#invoke(
      idInShm ? STORAGE.CREATE_ID_IN_SHM : STORAGE.CREATE,
      [
        TeecParam.temp(MEMREF_TEMP_INPUT, memory[0], id?.length ?? 0),
        handle,
        TeecParam.value(VALUE_INPUT, 0, place),
        TeecParam.temp(MEMREF_TEMP_INPUT, memory[1], data?.length ?? 0),
      ],
      memory,
    );
    return { ...done, object: handle.b };
  }

  *createOverwrite(place: number, id: Uint8Array, idInShm = false): Task<TeecResult> {
    const memory = this.#buffer(id);
    const command = idInShm ? STORAGE.CREATEOVER_ID_IN_SHM : STORAGE.CREATE_OVERWRITE;
    const params = [
      TeecParam.temp(MEMREF_TEMP_INPUT, memory, id.length),
      TeecParam.value(VALUE_INPUT, place),
    ];
    return yield* this.#invoke(command, params, [memory]);
  }

  *openObject(
    place: number,
    id: Uint8Array | null,
    flags: number,
    idInShm = false,
  ): Task<Outcome<{ readonly object: number }>> {
    const handle = TeecParam.value(VALUE_INOUT, flags);
    const memory = this.#buffer(id);
    const done = yield* this.#invoke(
      idInShm ? STORAGE.OPEN_ID_IN_SHM : STORAGE.OPEN,
      [
        TeecParam.temp(MEMREF_TEMP_INPUT, memory, id?.length ?? 0),
        handle,
        TeecParam.value(VALUE_INPUT, place),
      ],
      [memory],
    );
    return { ...done, object: handle.b };
  }

  *read(object: number, length: number): Task<Outcome<{ readonly bytes: Uint8Array }>> {
    const into = buffer(this.tee, length);
    const count = TeecParam.value(VALUE_INOUT, object);
    const params = [TeecParam.temp(MEMREF_TEMP_OUTPUT, into), count];
    const done = yield* this.tee.invokeCommand(this.session, STORAGE.READ, params);
    const bytes = into.read(0, Math.min(count.b, length));
    this.tee.process.memory.unmap(into);
    return { ...done, bytes };
  }

  *write(object: number, bytes: Uint8Array): Task<TeecResult> {
    const from = this.#buffer(bytes);
    const params = [
      TeecParam.temp(MEMREF_TEMP_INPUT, from, bytes.length),
      TeecParam.value(VALUE_INPUT, object),
    ];
    return yield* this.#invoke(STORAGE.WRITE, params, [from]);
  }

  *rename(object: number, id: Uint8Array | null, idInShm = false): Task<TeecResult> {
    const memory = this.#buffer(id);
    const command = idInShm ? STORAGE.RENAME_ID_IN_SHM : STORAGE.RENAME;
    const params = [
      TeecParam.value(VALUE_INPUT, object),
      TeecParam.temp(MEMREF_TEMP_INPUT, memory, id?.length ?? 0),
    ];
    return yield* this.#invoke(command, params, [memory]);
  }

  /** `offset` is signed; gives the new position. */
  *seek(object: number, offset: number, whence: number): Task<Outcome<{ readonly at: number }>> {
    const place = TeecParam.value(VALUE_INOUT, whence);
    const params = [TeecParam.value(VALUE_INPUT, object, offset >>> 0), place];
    return { ...(yield* this.#invoke(STORAGE.SEEK, params)), at: place.b };
  }

  *info(object: number): Task<Outcome<{ readonly info: ClientObjectInfo }>> {
    const into = buffer(this.tee, INFO_SIZE);
    const params = [TeecParam.value(VALUE_INPUT, object), TeecParam.temp(MEMREF_TEMP_OUTPUT, into)];
    const done = yield* this.tee.invokeCommand(this.session, STORAGE.GET_OBJ_INFO, params);
    const view = new DataView(Uint8Array.from(into.read(0, INFO_SIZE)).buffer);
    this.tee.process.memory.unmap(into);
    const [objectUsage = 0, dataSize = 0, dataPosition = 0] = [12, 16, 20].map((at) =>
      view.getUint32(at, true),
    );
    return { ...done, info: { objectUsage, dataSize, dataPosition } };
  }

  /** The id of the next object, with `withInfo` asked for its information too. */
  *nextEnum(enumerator: number, withInfo: boolean): Task<Outcome<{ readonly id: Uint8Array }>> {
    const into = buffer(this.tee, 200);
    const name = buffer(this.tee, 200);
    const target = TeecParam.temp(MEMREF_TEMP_OUTPUT, name);
    const info = withInfo
      ? TeecParam.temp(MEMREF_TEMP_OUTPUT, into)
      : TeecParam.value(TEEC_PARAM.NONE);
    const params = [TeecParam.value(VALUE_INPUT, enumerator), info, target];
    const done = yield* this.tee.invokeCommand(this.session, STORAGE.NEXT_ENUM, params);
    const id = name.read(0, Math.min(target.size, 200));
    for (const one of [into, name]) this.tee.process.memory.unmap(one);
    return { ...done, id };
  }

  /** A command whose one parameter is a value that goes in. */
  *value(command: number, a: number, b = 0): Task<TeecResult> {
    return yield* this.#invoke(command, [TeecParam.value(VALUE_INPUT, a, b)]);
  }

  *allocateEnumerator(): Task<Outcome<{ readonly enumerator: number }>> {
    const handle = TeecParam.value(VALUE_OUTPUT);
    return { ...(yield* this.#invoke(STORAGE.ALLOC_ENUM, [handle])), enumerator: handle.a };
  }

  *allocateTransient(type: number, bits: number): Task<Outcome<{ readonly object: number }>> {
    const handle = TeecParam.value(VALUE_OUTPUT);
    const params = [TeecParam.value(VALUE_INPUT, type, bits), handle];
    return { ...(yield* this.#invoke(STORAGE.ALLOC_OBJ, params)), object: handle.a };
  }

  close(object: number): Task<TeecResult> {
    return this.value(STORAGE.CLOSE, object);
  }

  unlink(object: number): Task<TeecResult> {
    return this.value(STORAGE.UNLINK, object);
  }
}
