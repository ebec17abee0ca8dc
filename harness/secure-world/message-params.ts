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
import type { MemoryObject, SharedPages } from "./memory-object.ts";
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
  /** Temporary objects, which stay when the call is over. */
  readonly temporary: readonly RegisteredObject[];
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
  const temporary: RegisteredObject[] = [];
  const result = importEach(partition, arg, { first, count }, params, held, temporary);
  return { result, params, held, temporary };
}

function importEach(
  partition: Partition,
  arg: SharedPages,
  { first, count }: { readonly first: number; readonly count: number },
  params: TaParams,
  held: RegisteredObject[],
  temporary: RegisteredObject[],
): number {
  if (count > MAX_TA_PARAMS) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
  for (let index = 0; index < count; index += 1) {
    const param = params[index];
    if (param === undefined) break;
    const at = messageSize(first + index);
    const attr = arg.u32(at);
    const type = attr & ATTR.TYPE_MASK;
    // Before 4.11 the end of the call looks at all 64 bits: with any beside the type it lets nothing go.
    const masked = partition.core.features.dropsTemporary;
    const released = masked || (attr === type && arg.u32(at + 4) === 0);
    if ((attr & ATTR.META) !== 0) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    if (type === ATTR_TYPE.NONE) continue;
    if (isValueType(type)) {
      param.type = type;
      param.give(arg.u32(at + 8), arg.u32(at + 16));
      continue;
    }
    if (!isRmemType(type) && !isTmemType(type)) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    const address = arg.u32(at + 12) * TWO_32 + arg.u32(at + 8);
    const size = arg.u32(at + 20) * TWO_32 + arg.u32(at + 16);
    const cookieLow = arg.u32(at + 24);
    const cookieHigh = arg.u32(at + 28);
    param.type = TYPES[type] ?? 0;
    if (isRmemType(type)) {
      const object = findObject(partition, cookieHigh, cookieLow);
      if (object === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
      object.users += 1;
      if (released) held.push(object);
      if (address + size > object.pages.size) return TEEC.TEEC_ERROR_SECURITY;
      param.isProtected = partition.lent.count > 0 && partition.lent.includes(object);
      refer(param, object.pages, address, size);
    } else if (address === 0 && partition.core.features.nullMemrefs) {
      continue;
    } else if ((attr & ATTR.NONCONTIG) !== 0) {
      const pages = extractPages(partition, address, size);
      if (pages === undefined) return TEEC.TEEC_ERROR_BAD_PARAMETERS;
      const object = partition.enterGuarded(pages, cookieHigh, cookieLow);
      // Before 4.11 never released, as NONCONTIG is no part of a type: it stays in the table (MSG-2.2).
      if (masked) held.push(object);
      else temporary.push(object);
      refer(param, pages, 0, size);
    } else if (!contiguous(partition, param, released ? held : [], address, size)) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
  }
  return TEEC.TEEC_SUCCESS;
}

/** Lent memory has cookies of the same kind. Without dynamic shared memory no cookie is known. */
const findObject = (
  partition: Partition,
  high: number,
  low: number,
): RegisteredObject | undefined =>
  partition.core.build.dynamicShm
    ? (partition.registered.find(high, low) ?? partition.lent.find(high, low))
    : undefined;

/** A reference by address: reserved shared memory, or protected memory. */
function contiguous(
  partition: Partition,
  param: TaParam,
  held: RegisteredObject[],
  address: number,
  size: number,
): boolean {
  const { core } = partition;
  const length = Math.max(size, 1);
  const pool = reservedShm(core, address, length);
  if (pool !== undefined) {
    refer(param, pool, 0, size);
    return true;
  }
  const region = core.protectedRegion;
  if (region !== undefined && address >= region.base) {
    const offset = address - region.base;
    if (offset + length <= region.memory.size) {
      param.isProtected = true;
      refer(param, region.memory, offset, size);
      return true;
    }
  }
  const lent = partition.lent.at(address, length);
  if (lent === undefined) return false;
  lent.users += 1;
  held.push(lent);
  param.isProtected = true;
  refer(param, lent.pages, address - lent.pa, size);
  return true;
}

function refer(param: TaParam, pages: MemoryObject, offset: number, size: number): void {
  param.memory = pages;
  param.offset = offset;
  param.size = size;
  param.capacity = size;
}

/** Writes what the TA may have changed: sizes of output references, a and b of output values. */
export function exportParams(arg: SharedPages, first: number, params: TaParams): void {
  for (let index = 0; index < params.length; index += 1) {
    const param = params[index];
    if (param === undefined || !isOutputType(param.type)) continue;
    const at = messageSize(first + index);
    if (param.isMemref) {
      arg.setU64(at + 16, Math.floor(param.size / TWO_32), param.size % TWO_32);
    } else {
      arg.setU64(at + 8, 0, param.a);
      arg.setU64(at + 16, 0, param.b);
    }
  }
}

/**
 * Ends the call's hold on shared memory. Undefined when that is all, else the task that lets threads
 * go on which wait to unregister it.
 */
export function releaseParams(
  thread: Thread,
  { held, temporary }: Imported,
): SecureTask | undefined {
  const { registered } = thread.partition;
  for (const object of temporary) object.left = true;
  for (let index = 0; index < held.length; index += 1) {
    const object = held[index];
    if (object !== undefined && registered.drop(object))
      return releaseRest(thread, held, index + 1);
  }
  return undefined;
}

function* releaseRest(thread: Thread, held: readonly RegisteredObject[], next: number): SecureTask {
  const { partition } = thread;
  yield* partition.registered.announce(thread) ?? [];
  for (let index = next; index < held.length; index += 1) {
    const object = held[index];
    if (object !== undefined) yield* partition.release(thread, object);
  }
}
