import { ADDRESS_LIMIT, PAGE_SIZE, type Pa } from "../machine/index.ts";
import {
  ATTR_TYPE,
  messageSize,
  MSG_CMD,
  PROTMEM_USE_CASE,
  SMC_RETURN,
  TEEC,
  TEEC_ORIGIN,
} from "../optee-abi/index.ts";
import type { Core } from "./core.ts";
import { isNonSecureRam } from "./mapping.ts";
import { SharedPages } from "./memory-object.ts";
import { exportParams, importParams, releaseParams } from "./message-params.ts";
import { TEE_PARAM } from "./param.ts";
import type { RegisteredObject, RegisteredObjects } from "./registered-shm.ts";
import type { SecureTask, Thread } from "./thread.ts";

const TWO_32 = 0x1_0000_0000;
const AT = { ret: 20, retOrigin: 24 } as const;
const { TEEC_SUCCESS, TEEC_ERROR_BAD_PARAMETERS } = TEEC;
/** What an OP-TEE without a platform of its own demands of lent memory, in bytes. */
const MIN_SIZE = 1024 * 1024;
const PA_WIDTH = 64;

/** Memory that the normal world lent to be protected from itself (MSG-2, commands 8 to 10). */
export interface LentObject extends RegisteredObject {
  readonly pa: number;
  readonly size: number;
  readonly useCase: number;
}

/** What one guest has lent; newest first. */
export class LentMemory {
  readonly #lent: LentObject[] = [];

  get count(): number {
    return this.#lent.length;
  }

  find(cookieHigh: number, cookieLow: number): LentObject | undefined {
    return this.#lent.find((one) => one.cookieLow === cookieLow && one.cookieHigh === cookieHigh);
  }

  /** The object that `size` bytes at `pa` lie in, unless it is being reclaimed. */
  at(pa: number, size: number): LentObject | undefined {
    const found = this.#lent.find((one) => pa >= one.pa && pa + size <= one.pa + one.size);
    return found?.releasing === true ? undefined : found;
  }

  /** Whether the page at `pa` is lent: then it cannot be shared too. */
  holds(pa: number): boolean {
    return this.#lent.some((one) => pa < one.pa + one.size && pa + PAGE_SIZE > one.pa);
  }

  includes(object: RegisteredObject): boolean {
    return this.#lent.some((one) => one === object);
  }

  add(object: LentObject): void {
    this.#lent.unshift(object);
  }

  remove(object: LentObject): void {
    this.#lent.splice(this.#lent.indexOf(object), 1);
  }
}

/** Carries out a command for protected memory; gives a0 of the call. EBADCMD unless it can be lent. */
export function* lentMemoryMessage(
  thread: Thread,
  command: number,
  arg: SharedPages,
  count: number,
): SecureTask<number> {
  if (thread.partition.core.features.protectedMemory !== "lent") return SMC_RETURN.EBADCMD;
  switch (command) {
    case MSG_CMD.LEND_PROTMEM:
      arg.setU32(AT.ret, lend(thread, arg, count));
      return SMC_RETURN.OK;
    case MSG_CMD.RECLAIM_PROTMEM:
      yield* reclaim(thread, arg, count);
      return SMC_RETURN.OK;
    case MSG_CMD.GET_PROTMEM_CONFIG:
      yield* config(thread, arg, count);
      return SMC_RETURN.OK;
    default:
      // ASSIGN_PROTMEM exists with FF-A only.
      return SMC_RETURN.EBADCMD;
  }
}

const hasAttr = (arg: SharedPages, index: number, attr: number): boolean =>
  arg.u32(messageSize(index)) === attr && arg.u32(messageSize(index) + 4) === 0;

function lend(thread: Thread, arg: SharedPages, count: number): number {
  const { partition } = thread;
  const shaped =
    count === 2 && hasAttr(arg, 0, ATTR_TYPE.VALUE_INPUT) && hasAttr(arg, 1, ATTR_TYPE.TMEM_INPUT);
  if (!shaped) return TEEC_ERROR_BAD_PARAMETERS;
  const [first, second] = [messageSize(0), messageSize(1)];
  const useCase = arg.u32(first + 12) === 0 ? arg.u32(first + 8) : 0;
  const known =
    useCase === PROTMEM_USE_CASE.SECURE_VIDEO_PLAY || useCase === PROTMEM_USE_CASE.TRUSTED_UI;
  if (!known) return TEEC_ERROR_BAD_PARAMETERS;
  const cookieLow = arg.u32(second + 24);
  const cookieHigh = arg.u32(second + 28);
  const pa = arg.u32(second + 12) * TWO_32 + arg.u32(second + 8);
  const size = arg.u32(second + 20) * TWO_32 + arg.u32(second + 16);
  const pages = wholePages(partition.core, pa, size);
  if (pages === undefined || isShared(partition.registered, pa, size)) {
    return TEEC_ERROR_BAD_PARAMETERS;
  }
  partition.lent.add({
    pages: new SharedPages(partition.core.memory, pages, 0, size),
    pa,
    size,
    useCase,
    cookieHigh,
    cookieLow,
    heap: 0,
    guarded: false,
    users: 0,
    releasing: false,
    older: undefined,
  });
  return TEEC_SUCCESS;
}

/** The pages of a page-aligned range that is wholly non-secure RAM and not empty. */
function wholePages(core: Core, pa: number, size: number): readonly Pa[] | undefined {
  if (size === 0 || pa + size > ADDRESS_LIMIT) return undefined;
  if (pa % PAGE_SIZE !== 0 || size % PAGE_SIZE !== 0) return undefined;
  const pages: Pa[] = [];
  for (let at = pa; at < pa + size; at += PAGE_SIZE) {
    if (!isNonSecureRam(core, at)) return undefined;
    pages.push(at as Pa);
  }
  return pages;
}

/** Whether a registered object, the running message included, has a page in the range. */
function isShared(registered: RegisteredObjects, pa: number, size: number): boolean {
  for (const { pages } of registered.objects()) {
    if (pages.pages.some((page) => page >= pa && page < pa + size)) return true;
  }
  return false;
}

/** Waits for users as UNREGISTER_SHM does; origin is written for a wrong shape only. */
function* reclaim(thread: Thread, arg: SharedPages, count: number): SecureTask {
  const { lent, registered } = thread.partition;
  if (count !== 1 || !hasAttr(arg, 0, ATTR_TYPE.RMEM_INPUT)) {
    arg.setU32(AT.ret, TEEC_ERROR_BAD_PARAMETERS);
    arg.setU32(AT.retOrigin, TEEC_ORIGIN.TEEC_ORIGIN_TEE);
    return;
  }
  const at = messageSize(0);
  const object = lent.find(arg.u32(at + 28), arg.u32(at + 24));
  if (object === undefined || object.releasing) {
    arg.setU32(AT.ret, TEEC_ERROR_BAD_PARAMETERS);
    return;
  }
  object.releasing = true;
  yield* registered.untilUnused(thread, object);
  lent.remove(object);
  arg.setU32(AT.ret, TEEC_SUCCESS);
}

function* config(thread: Thread, arg: SharedPages, count: number): SecureTask {
  arg.setU32(AT.retOrigin, TEEC_ORIGIN.TEEC_ORIGIN_TEE);
  if (count !== 2) {
    arg.setU32(AT.ret, TEEC_ERROR_BAD_PARAMETERS);
    return;
  }
  const imported = importParams(thread.partition, arg, 0, count);
  let { result } = imported;
  const [useCase, buffer] = imported.params;
  if (result === TEEC_SUCCESS) {
    const shaped =
      useCase.type === TEE_PARAM.VALUE_INOUT && buffer.type === TEE_PARAM.MEMREF_OUTPUT;
    result =
      shaped && useCase.a === PROTMEM_USE_CASE.SECURE_VIDEO_PLAY
        ? TEEC_SUCCESS
        : TEEC_ERROR_BAD_PARAMETERS;
    if (result === TEEC_SUCCESS) useCase.give(MIN_SIZE, PAGE_SIZE);
    if (shaped) {
      exportParams(arg, 0, imported.params);
      arg.setU64(messageSize(0) + 24, 0, PA_WIDTH);
    }
  }
  yield* releaseParams(thread, imported) ?? [];
  arg.setU32(AT.ret, result);
}
