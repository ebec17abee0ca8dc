import { TEEC } from "../../optee-abi/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail } from "./failure.ts";
import {
  attributesOf,
  OBJECT_HEAD,
  setAttributes,
  setType,
  TEE_TYPE,
  type TeeObject,
} from "./tee-object.ts";

/** Opens the file of a persistent object and takes over what its header says. */
export function* readHead(thread: Thread, object: TeeObject): SecureTask {
  const persistent = object.persistent ?? fail(TEEC.TEEC_ERROR_BAD_STATE);
  const { file, size } = yield* persistent.backEnd.open(thread, persistent.name);
  object.file = file;
  const bytes = yield* file.read(thread, 0, OBJECT_HEAD.size);
  if (bytes.length !== OBJECT_HEAD.size) fail(TEEC.TEEC_ERROR_BAD_FORMAT);
  const head = OBJECT_HEAD.read(bytes);
  const dataStart = OBJECT_HEAD.size + head.attrSize;
  if (dataStart > size) fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
  setType(object, head.objectType, head.maxObjectSize);
  object.dataStart = dataStart;
  if (head.attrSize > 0) {
    const attributes = yield* file.read(thread, OBJECT_HEAD.size, head.attrSize);
    if (attributes.length !== head.attrSize) fail(TEEC.TEEC_ERROR_CORRUPT_OBJECT);
    setAttributes(object, attributes);
  }
  object.dataSize = size - dataStart;
  object.objectSize = head.objectSize;
  object.haveAttrs = head.haveAttrs;
  persistent.usage = head.objectUsage;
}

/** Creates the file of a persistent object; `source` is what it takes type and attributes from. */
export function* initializeFile(
  thread: Thread,
  object: TeeObject,
  source: TeeObject | undefined,
  overwrite: boolean,
  data: Uint8Array,
): SecureTask {
  const persistent = object.persistent ?? fail(TEEC.TEEC_ERROR_BAD_STATE);
  if (source === undefined) {
    setType(object, TEE_TYPE.DATA, 0);
  } else if (source !== object) {
    setType(object, source.objectType, source.maxObjectSize);
    object.attribute = source.attribute.slice();
    object.haveAttrs = source.haveAttrs;
    object.objectSize = source.objectSize;
    persistent.usage = source.persistent?.usage ?? source.usage;
  }
  const attributes = attributesOf(object);
  const head = new Uint8Array(OBJECT_HEAD.size);
  OBJECT_HEAD.write(head, {
    attrSize: attributes.length,
    objectSize: object.objectSize,
    maxObjectSize: object.maxObjectSize,
    objectUsage: persistent.usage,
    objectType: object.objectType,
    haveAttrs: object.haveAttrs,
  });
  const { backEnd, name } = persistent;
  object.file = yield* backEnd.create(thread, name, overwrite, [head, attributes, data]);
  object.dataStart = head.length + attributes.length;
  object.dataSize = data.length;
}
