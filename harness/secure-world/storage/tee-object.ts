import { struct, type StructOf, TEEC, u32 } from "../../optee-abi/index.ts";
import type { StorageFile } from "./back-end.ts";
import { fail } from "./failure.ts";
import type { OpenObject } from "./object-table.ts";

/** TEE_HANDLE_FLAG_*, beside the flags that an object was opened with. */
export const TEE_HANDLE_FLAG = { PERSISTENT: 0x1_0000, INITIALIZED: 0x2_0000 } as const;
export const TEE_TYPE = { AES: 0xa000_0010, DATA: 0xa000_00bf } as const;
export const TEE_USAGE = { EXTRACTABLE: 0x1, DEFAULT: 0xffff_ffff } as const;
export const TEE_DATA_SEEK = { SET: 0, CUR: 1, END: 2 } as const;
export const TEE_DATA_MAX_POSITION = 0xffff_ffff;
export const TEE_HANDLE_NULL = 0;

/** What precedes attributes and data in the file of an object. */
export const OBJECT_HEAD = struct("tee_svc_storage_head", 24, {
  attrSize: u32(0),
  objectSize: u32(4),
  maxObjectSize: u32(8),
  objectUsage: u32(12),
  objectType: u32(16),
  haveAttrs: u32(20),
});
export type ObjectHead = StructOf<typeof OBJECT_HEAD>;

/** TEE_ObjectInfo: sizes of keys in bits, of data and positions in bytes. */
export interface ObjectInfo {
  readonly objectType: number;
  readonly objectSize: number;
  readonly maxObjectSize: number;
  readonly objectUsage: number;
  readonly dataSize: number;
  readonly dataPosition: number;
  readonly handleFlags: number;
}

/** What a handle of a TA stands for. */
export interface TeeObject {
  objectType: number;
  objectSize: number;
  maxObjectSize: number;
  /** TEE_USAGE_* of a transient object; a persistent one's are shared by its handles. */
  usage: number;
  dataSize: number;
  dataPosition: number;
  handleFlags: number;
  haveAttrs: number;
  /** A secret value, for AES the key; empty before it is set. */
  attribute: Uint8Array;
  persistent: OpenObject | undefined;
  file: StorageFile | undefined;
  /** Where the data begins in the file. */
  dataStart: number;
}

export const newObject = (handleFlags: number, persistent?: OpenObject): TeeObject => ({
  objectType: 0,
  objectSize: 0,
  maxObjectSize: 0,
  usage: 0,
  dataSize: 0,
  dataPosition: 0,
  handleFlags,
  haveAttrs: 0,
  attribute: new Uint8Array(0),
  persistent,
  file: undefined,
  dataStart: 0,
});

/** Gives an object its type: plain data, or an AES key of 128, 192 or 256 bits. */
export function setType(object: TeeObject, type: number, maxSize: number): void {
  const known =
    type === TEE_TYPE.DATA ? maxSize === 0 : type === TEE_TYPE.AES && isAesSize(maxSize);
  if (!known) fail(TEEC.TEEC_ERROR_NOT_SUPPORTED);
  object.objectType = type;
  object.maxObjectSize = maxSize;
  if (object.persistent === undefined) object.usage = TEE_USAGE.DEFAULT;
  else object.persistent.usage = TEE_USAGE.DEFAULT;
}

export const isAesSize = (bits: number): boolean => bits === 128 || bits === 192 || bits === 256;

/** Attributes as they are stored: the size in big-endian, then the secret. None for plain data. */
export function attributesOf({ objectType, attribute }: TeeObject): Uint8Array {
  if (objectType !== TEE_TYPE.AES) return new Uint8Array(0);
  const bytes = new Uint8Array(4 + attribute.length);
  new DataView(bytes.buffer).setUint32(0, attribute.length);
  bytes.set(attribute, 4);
  return bytes;
}

/** Takes stored attributes over. CORRUPT_OBJECT when they are not such. */
export function setAttributes(object: TeeObject, bytes: Uint8Array): void {
  if (object.objectType !== TEE_TYPE.AES) return;
  if (bytes.length < 4) fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
  const size = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
  if (4 + size > bytes.length) fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
  object.attribute = bytes.slice(4, 4 + size);
}

export const infoOf = (object: TeeObject): ObjectInfo => ({
  objectType: object.objectType,
  objectSize: object.objectSize,
  maxObjectSize: object.maxObjectSize,
  objectUsage: object.persistent?.usage ?? object.usage,
  dataSize: object.dataSize,
  dataPosition: object.dataPosition,
  handleFlags: object.handleFlags,
});
