import { createCipheriv } from "node:crypto";
import { TEEC } from "../../optee-abi/index.ts";
import { paramTypes, TEE_PARAM, type TaParam, type TaParams, typesOf } from "../param.ts";
import type { SecureTask } from "../thread.ts";
import { type EntryResult, TA_FLAG, type TaInstance, type TrustedApplication } from "./ta.ts";
import type { TeeApi } from "./tee-api.ts";
import {
  type ObjectId,
  type ObjectInfo,
  TEE_DATA_FLAG,
  TEE_HANDLE_NULL,
  TEE_STORAGE,
  TEE_TYPE,
} from "./tee-api-storage.ts";

export const STORAGE_UUID = "b689f2a7-8adf-477a-9f99-32e90c0ad0a2";
/** The same program as another TA, of which there is one instance for one session at a time. */
export const STORAGE2_UUID = "731e279e-aafb-4575-a771-38caa6f0cca6";

export const STORAGE_CMD = {
  OPEN: 0,
  CLOSE: 1,
  READ: 2,
  WRITE: 3,
  CREATE: 4,
  SEEK: 5,
  UNLINK: 6,
  RENAME: 7,
  TRUNC: 8,
  ALLOC_ENUM: 9,
  FREE_ENUM: 10,
  RESET_ENUM: 11,
  START_ENUM: 12,
  NEXT_ENUM: 13,
  CREATE_OVERWRITE: 14,
  KEY_IN_PERSISTENT: 15,
  LOOP: 16,
  RESTRICT_USAGE: 17,
  ALLOC_OBJ: 18,
  FREE_OBJ: 19,
  RESET_OBJ: 20,
  GET_OBJ_INFO: 21,
  OPEN_ID_IN_SHM: 22,
  CREATE_ID_IN_SHM: 23,
  CREATEOVER_ID_IN_SHM: 24,
  RENAME_ID_IN_SHM: 25,
  CLEAR_STORAGE: 26,
} as const;

const { NONE, MEMREF_INPUT, MEMREF_OUTPUT, VALUE_INPUT, VALUE_INOUT, VALUE_OUTPUT } = TEE_PARAM;
const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OK = TEEC.TEEC_SUCCESS;
const INFO_SIZE = 28;
const ID_SIZE = 64;
const CLEAR_IDS = [TEE_STORAGE.PRIVATE_REE, TEE_STORAGE.PRIVATE_RPMB];
const ALL_FLAGS =
  TEE_DATA_FLAG.ACCESS_READ |
  TEE_DATA_FLAG.ACCESS_WRITE |
  TEE_DATA_FLAG.ACCESS_WRITE_META |
  TEE_DATA_FLAG.SHARE_READ |
  TEE_DATA_FLAG.SHARE_WRITE;

/** TEE_ObjectInfo as a client gets it: seven unsigned words. */
function infoBytes(info: ObjectInfo): Uint8Array {
  const { objectType, objectSize, maxObjectSize, objectUsage } = info;
  const { dataSize, dataPosition, handleFlags } = info;
  const words = [objectType, objectSize, maxObjectSize, objectUsage, dataSize, dataPosition];
  const bytes = new Uint8Array(INFO_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of [...words, handleFlags].entries()) {
    view.setUint32(index * 4, word, true);
  }
  return bytes;
}

/** The size of TEE_ObjectInfo in a 64-bit TA, whose two sizes are of 64 bits. */
const ENUMERATED_SIZE = 40;

/** TEE_ObjectInfo as a 64-bit TA has it in memory, with zeros where it is padded. */
function enumeratedBytes({ dataSize, dataPosition, handleFlags, ...info }: ObjectInfo): Uint8Array {
  const { objectType, objectSize, maxObjectSize, objectUsage } = info;
  const bytes = new Uint8Array(ENUMERATED_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [index, word] of [objectType, objectSize, maxObjectSize, objectUsage].entries()) {
    view.setUint32(index * 4, word, true);
  }
  view.setUint32(16, dataSize, true);
  view.setUint32(24, dataPosition, true);
  view.setUint32(32, handleFlags, true);
  return bytes;
}

type Command = (tee: TeeApi, params: TaParams) => EntryResult;
/** An object id, copied from the client or left where the client can change it. */
type IdOf = (param: TaParam) => ObjectId;
const copied: IdOf = (param) => param.read(0, param.size);
const shared: IdOf = (param) => param;

const open = (idOf: IdOf): Command =>
  function* ({ storage }, [id, result, place]) {
    const { result: code, value } = yield* storage.open(place.a, idOf(id), result.a);
    result.b = value;
    return code;
  };

const create = (idOf: IdOf): Command =>
  function* ({ storage }, [id, result, place, data]) {
    const bytes = data.read(0, data.size);
    const made = yield* storage.create(place.b, idOf(id), result.a, place.a, bytes);
    result.b = made.value;
    return made.result;
  };

const createOverwrite = (idOf: IdOf): Command =>
  function* ({ storage }, [id, place]) {
    const flags = TEE_DATA_FLAG.OVERWRITE;
    const none = new Uint8Array(0);
    const made = yield* storage.create(place.a, idOf(id), flags, TEE_HANDLE_NULL, none);
    yield* storage.close(made.value);
    return made.result;
  };

const rename = (idOf: IdOf): Command =>
  function* ({ storage }, [object, id]) {
    return yield* storage.rename(object.a, idOf(id));
  };

function* read({ storage }: TeeApi, [data, object]: TaParams): SecureTask<number> {
  const { result, value } = yield* storage.read(object.a, data.size);
  object.b = value.length;
  if (result === OK) data.write(value);
  return result;
}

function* write({ storage }: TeeApi, [data, object]: TaParams): SecureTask<number> {
  return yield* storage.write(object.a, data.read(0, data.size));
}

function seek({ storage }: TeeApi, [object, place]: TaParams): number {
  const result = storage.seek(object.a, object.b | 0, place.a);
  if (result !== OK) return result;
  place.b = storage.info(object.a).dataPosition;
  return OK;
}

/** An enumerated object: its information where it is wanted, and its id. */
function* nextEnum({ storage }: TeeApi, params: TaParams): SecureTask<number> {
  const [enumerator, info, id, none] = params;
  if (enumerator.type !== VALUE_INPUT || id.type !== MEMREF_OUTPUT || none.type !== NONE) {
    return BAD;
  }
  if (id.size < ID_SIZE) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  if (info.type !== NONE && info.type !== MEMREF_OUTPUT) return BAD;
  if (info.type === MEMREF_OUTPUT) {
    const room = info.size;
    info.size = ENUMERATED_SIZE;
    if (room < ENUMERATED_SIZE) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  }
  const { result, value } = yield* storage.nextObject(enumerator.a);
  if (result !== OK || value === undefined) return result;
  id.write(value.id);
  id.size = value.id.length;
  if (info.type === MEMREF_OUTPUT) info.write(enumeratedBytes(value.info));
  return OK;
}

function objectInfo({ storage }: TeeApi, [object, into]: TaParams): number {
  if (into.size < INFO_SIZE) return TEEC.TEEC_ERROR_SHORT_BUFFER;
  into.size = INFO_SIZE;
  into.write(infoBytes(storage.info(object.a)));
  return OK;
}

/** A generated AES key: stored as a copy, then as itself, opened again and used. */
function* keyInPersistent({ storage }: TeeApi, [place]: TaParams): SecureTask<number> {
  const id = Uint8Array.of(1, 0, 0, 0);
  const none = new Uint8Array(0);
  const transient = storage.allocateTransient(TEE_TYPE.AES, 256);
  if (transient.result !== OK) return transient.result;
  const generated = storage.generateKey(transient.value, 256);
  if (generated !== OK) return generated;
  const before = storage.info(transient.value);
  const copy = yield* storage.create(place.a, id, ALL_FLAGS, transient.value, none);
  if (copy.result !== OK) return copy.result;
  const same = alike(storage.info(copy.value), before);
  yield* storage.closeAndDelete(copy.value);
  if (!same) return TEEC.TEEC_ERROR_GENERIC;
  const itself = yield* storage.create(place.a, id, ALL_FLAGS, transient.value, none, true);
  if (itself.result !== OK) return itself.result;
  if (!alike(storage.info(transient.value), before)) return TEEC.TEEC_ERROR_GENERIC;
  const secret = storage.secretOf(transient.value).slice();
  yield* storage.close(transient.value);
  const opened = yield* storage.open(place.a, id, ALL_FLAGS);
  if (opened.result !== OK) return opened.result;
  const usable =
    alike(storage.info(opened.value), before) &&
    Buffer.from(storage.secretOf(opened.value)).equals(secret);
  const key = storage.secretOf(opened.value);
  if (usable) createCipheriv("aes-256-cbc", key, new Uint8Array(16)).setAutoPadding(false);
  yield* storage.closeAndDelete(opened.value);
  return usable ? OK : TEEC.TEEC_ERROR_GENERIC;
}

const alike = (a: ObjectInfo, b: ObjectInfo): boolean =>
  a.objectType === b.objectType &&
  a.objectSize === b.objectSize &&
  a.maxObjectSize === b.maxObjectSize &&
  a.objectUsage === b.objectUsage;

function* loop({ storage }: TeeApi, [place]: TaParams): SecureTask<number> {
  const flags = TEE_DATA_FLAG.OVERWRITE | TEE_DATA_FLAG.ACCESS_WRITE_META;
  for (let turn = 0; turn < 20; turn += 1) {
    const id = Uint8Array.of(turn, 0, 0, 0);
    const none = new Uint8Array(0);
    const made = yield* storage.create(place.a, id, flags, TEE_HANDLE_NULL, none);
    if (made.result !== OK) return made.result;
    const deleted = yield* storage.closeAndDelete(made.value);
    if (deleted !== OK) return deleted;
  }
  return OK;
}

/** Deletes every object of this TA, in both kinds of storage. */
function* clear({ storage }: TeeApi): SecureTask<number> {
  for (const place of CLEAR_IDS) {
    const enumerator = storage.allocateEnumerator();
    let result = yield* storage.startEnumerator(enumerator, place);
    while (result === OK) {
      const next = yield* storage.nextObject(enumerator);
      result = next.result;
      if (next.value === undefined) break;
      const flags = TEE_DATA_FLAG.ACCESS_WRITE_META;
      const opened = yield* storage.open(place, next.value.id, flags);
      result = opened.result;
      if (result === OK) yield* storage.closeAndDelete(opened.value);
    }
    yield* storage.freeEnumerator(enumerator);
    if (result !== TEEC.TEEC_ERROR_ITEM_NOT_FOUND) return result;
  }
  return OK;
}

interface Entry {
  /** The type word that the parameters must have; undefined where the command looks itself. */
  readonly types: number | undefined;
  readonly run: Command;
}

const entry = (run: Command, ...types: readonly [number?, number?, number?, number?]): Entry => ({
  types: paramTypes(...types),
  run,
});
const anyTypes = (run: Command): Entry => ({ types: undefined, run });
const done = (task: (tee: TeeApi, params: TaParams) => SecureTask): Command =>
  function* (tee, params) {
    yield* task(tee, params);
    return OK;
  };

const OPEN_TYPES = [MEMREF_INPUT, VALUE_INOUT, VALUE_INPUT] as const;
const CREATE_TYPES = [MEMREF_INPUT, VALUE_INOUT, VALUE_INPUT, MEMREF_INPUT] as const;

const COMMANDS = new Map<number, Entry>([
  [STORAGE_CMD.OPEN, entry(open(copied), ...OPEN_TYPES)],
  [STORAGE_CMD.OPEN_ID_IN_SHM, entry(open(shared), ...OPEN_TYPES)],
  [STORAGE_CMD.CREATE, entry(create(copied), ...CREATE_TYPES)],
  [STORAGE_CMD.CREATE_ID_IN_SHM, entry(create(shared), ...CREATE_TYPES)],
  [STORAGE_CMD.CREATE_OVERWRITE, entry(createOverwrite(copied), MEMREF_INPUT, VALUE_INPUT)],
  [STORAGE_CMD.CREATEOVER_ID_IN_SHM, entry(createOverwrite(shared), MEMREF_INPUT, VALUE_INPUT)],
  [STORAGE_CMD.RENAME, entry(rename(copied), VALUE_INPUT, MEMREF_INPUT)],
  [STORAGE_CMD.RENAME_ID_IN_SHM, entry(rename(shared), VALUE_INPUT, MEMREF_INPUT)],
  [STORAGE_CMD.READ, entry(read, MEMREF_OUTPUT, VALUE_INOUT)],
  [STORAGE_CMD.WRITE, entry(write, MEMREF_INPUT, VALUE_INPUT)],
  [STORAGE_CMD.SEEK, entry(seek, VALUE_INPUT, VALUE_INOUT)],
  [STORAGE_CMD.NEXT_ENUM, anyTypes(nextEnum)],
  [STORAGE_CMD.GET_OBJ_INFO, entry(objectInfo, VALUE_INPUT, MEMREF_OUTPUT)],
  [STORAGE_CMD.KEY_IN_PERSISTENT, entry(keyInPersistent, VALUE_INPUT)],
  [STORAGE_CMD.LOOP, entry(loop, VALUE_INPUT)],
  [STORAGE_CMD.CLEAR_STORAGE, anyTypes(clear)],
  [
    STORAGE_CMD.CLOSE,
    entry(
      done(({ storage }, [object]) => storage.close(object.a)),
      VALUE_INPUT,
    ),
  ],
  [
    STORAGE_CMD.UNLINK,
    entry(({ storage }, [object]) => storage.closeAndDelete(object.a), VALUE_INPUT),
  ],
  [
    STORAGE_CMD.TRUNC,
    entry(({ storage }, [object]) => storage.truncate(object.a, object.b), VALUE_INPUT),
  ],
  [
    STORAGE_CMD.RESTRICT_USAGE,
    entry(({ storage }, [object]) => storage.restrictUsage(object.a, object.b), VALUE_INPUT),
  ],
  [
    STORAGE_CMD.ALLOC_ENUM,
    entry(({ storage }, [result]) => {
      result.a = storage.allocateEnumerator();
      return OK;
    }, VALUE_OUTPUT),
  ],
  [
    STORAGE_CMD.ALLOC_OBJ,
    entry(
      ({ storage }, [type, object]) => {
        const { result, value } = storage.allocateTransient(type.a, type.b);
        object.a = value;
        return result;
      },
      VALUE_INPUT,
      VALUE_OUTPUT,
    ),
  ],
  [
    STORAGE_CMD.FREE_OBJ,
    entry(({ storage }, [object]) => storage.freeTransient(object.a), VALUE_INPUT),
  ],
  [
    STORAGE_CMD.RESET_OBJ,
    entry(({ storage }, [object]) => storage.resetTransient(object.a), VALUE_INPUT),
  ],
  [
    STORAGE_CMD.FREE_ENUM,
    entry(
      done(({ storage }, [one]) => storage.freeEnumerator(one.a)),
      VALUE_INPUT,
    ),
  ],
  [
    STORAGE_CMD.RESET_ENUM,
    entry(
      done(({ storage }, [one]) => storage.resetEnumerator(one.a)),
      VALUE_INPUT,
    ),
  ],
  [
    STORAGE_CMD.START_ENUM,
    entry(({ storage }, [one]) => storage.startEnumerator(one.a, one.b), VALUE_INPUT),
  ],
]);

function* invoke(tee: TeeApi, command: number, params: TaParams): SecureTask<number> {
  const found = COMMANDS.get(command);
  if (found === undefined) return BAD;
  if (found.types !== undefined && found.types !== typesOf(params)) return BAD;
  const result = found.run(tee, params);
  return typeof result === "number" ? result : yield* result;
}

/** A TA for tests of secure storage: each command is one function of the internal API. */
export const storageTa: TrustedApplication = {
  name: "storage",
  uuid: STORAGE_UUID,
  flags: 0,
  stackSize: 2 * 1024,
  dataSize: 64 * 1024,
  imageSize: 121_768,
  instantiate: (): TaInstance => ({ invoke }),
};

export const storage2Ta: TrustedApplication = {
  ...storageTa,
  name: "storage2",
  uuid: STORAGE2_UUID,
  flags: TA_FLAG.SINGLE_INSTANCE,
  dataSize: 32 * 1024,
};
