import {
  ATTR,
  ATTR_TYPE,
  isOutputType,
  isRmemType,
  isTmemType,
  isValueType,
  messageSize,
  TEEC,
} from "../optee-abi/index.ts";
import { extractPages, reservedShm } from "./mapping.ts";
import type { SharedPages } from "./memory-object.ts";
import { TaParam, type TaParams } from "./param.ts";
import type { Partition } from "./partition.ts";
import type { RegisteredObject } from "./registered-shm.ts";
import type { SecureTask, Thread } from "./thread.ts";

const TWO_32 = 0x1_0000_0000;
export const MAX_TA_PARAMS = 4;

/** Parameters of a message as the TA gets them, with the objects that the call holds meanwhile. */
export interface Imported {
  readonly result: number;
  readonly params: TaParams;
  readonly held: readonly RegisteredObject[];
}

const TYPES: Readonly<Record<number, number>> = {
  [ATTR_TYPE.RMEM_INPUT]: 5,
  [ATTR_TYPE.RMEM_OUTPUT]: 6,
  [ATTR_TYPE.RMEM_INOUT]: 7,
  [ATTR_TYPE.TMEM_INPUT]: 5,
  [ATTR_TYPE.TMEM_OUTPUT]: 6,
  [ATTR_TYPE.TMEM_INOUT]: 7,
};

/** Imports `count` parameters from index `first` of a message (MSG-2.2). */
export function importParams(
  partition: Partition,
  arg: SharedPages,
  first: number,
  count: number,
): Imported {
  const params: TaParams = [new TaParam(), new TaParam(), new TaParam(), new TaParam()];
  const held: RegisteredObject[] = [];
  const imported = (result: number): Imported => ({ result, params, held });
  if (count > MAX_TA_PARAMS) return imported(TEEC.TEEC_ERROR_BAD_PARAMETERS);
  for (const [index, param] of params.entries()) {
    if (index >= count) break;
    const at = messageSize(first + index);
    const attr = arg.u32(at);
    const type = attr & ATTR.TYPE_MASK;
    if ((attr & ATTR.META) !== 0) return imported(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    if (type === ATTR_TYPE.NONE) continue;
    if (isValueType(type)) {
      param.type = type;
      param.give(arg.u32(at + 8), arg.u32(at + 16));
      continue;
    }
    if (!isRmemType(type) && !isTmemType(type)) return imported(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const address = arg.u32(at + 12) * TWO_32 + arg.u32(at + 8);
    const size = arg.u32(at + 20) * TWO_32 + arg.u32(at + 16);
    const cookieLow = arg.u32(at + 24);
    const cookieHigh = arg.u32(at + 28);
    param.type = TYPES[type] ?? 0;
    if (isRmemType(type)) {
      const object = partition.registered.find(cookieHigh, cookieLow);
      if (object === undefined) return imported(TEEC.TEEC_ERROR_BAD_PARAMETERS);
      object.users += 1;
      held.push(object);
      if (address + size > object.pages.size) return imported(TEEC.TEEC_ERROR_SECURITY);
      refer(param, object.pages, address, size);
    } else if (address !== 0) {
      const noncontig = (attr & ATTR.NONCONTIG) !== 0;
      const pages = noncontig
        ? extractPages(partition, address, size)
        : reservedShm(partition.core, address, Math.max(size, 1));
      if (pages === undefined) return imported(TEEC.TEEC_ERROR_BAD_PARAMETERS);
      if (noncontig) held.push(partition.enterGuarded(pages, cookieHigh, cookieLow));
      refer(param, pages, 0, size);
    }
  }
  return imported(TEEC.TEEC_SUCCESS);
}

function refer(param: TaParam, pages: SharedPages, offset: number, size: number): void {
  param.memory = pages;
  param.offset = offset;
  param.size = size;
  param.capacity = size;
}

/** Writes what the TA may have changed: sizes of output references, a and b of output values. */
export function exportParams(arg: SharedPages, first: number, params: TaParams): void {
  for (const [index, param] of params.entries()) {
    if (!isOutputType(param.type)) continue;
    const at = messageSize(first + index);
    if (param.isMemref) {
      arg.setU64(at + 16, Math.floor(param.size / TWO_32), param.size % TWO_32);
    } else {
      arg.setU64(at + 8, 0, param.a);
      arg.setU64(at + 16, 0, param.b);
    }
  }
}

/** Ends the call's hold on shared memory; temporary objects end with their last user. */
export function* releaseParams(thread: Thread, imported: Imported): SecureTask {
  for (const object of imported.held) yield* thread.partition.release(thread, object);
}
