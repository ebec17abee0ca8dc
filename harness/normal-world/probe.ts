import { type Ipa, PAGE_SIZE, Registers, type Task } from "../machine/index.ts";
import {
  API_REVISION,
  API_UID,
  IMAGE_LOAD_UID,
  NSEC_CAP,
  OPTEE_SMC,
  SEC_CAP,
  SHM_CACHED,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { ERRNO } from "../tee-uapi/index.ts";
import { CallQueue } from "./call-queue.ts";
import type { Kernel } from "./kernel.ts";

/** A range of memory in the kernel's addresses, in bytes. */
export interface MemoryRange {
  readonly base: number;
  readonly size: number;
}

/** What the driver learnt about the secure world (SMC-9). */
export interface SecureWorldFacts {
  readonly version: { readonly major: number; readonly minor: number };
  readonly capabilities: number;
  /** 0: unknown, rely on ETHREAD_LIMIT. */
  readonly threadCount: number;
  /** Parameters of an RPC argument that calls carry; 0 without that capability. */
  readonly rpcParamCount: number;
  readonly maxNotification: number;
  /** Only asked for when there is no dynamic shared memory. */
  readonly reservedShm: MemoryRange | undefined;
  /** Static protected memory; only asked for when it is announced. */
  readonly protectedMemory: MemoryRange | undefined;
}

/** Largest notification value without asynchronous notifications. */
const DEFAULT_MAX_NOTIFICATION = 255;

/** One fast call. */
export type Ask = (fid: number, ...args: number[]) => Registers;

export type Found =
  | { readonly ok: true; readonly facts: SecureWorldFacts; readonly queue: CallQueue }
  | { readonly ok: false; readonly errno: number };
const refused = (errno: number): Found => ({ ok: false, errno });

/** Fast calls of `kernel`, on its first CPU. */
export const fastCalls =
  (kernel: Kernel): Ask =>
  (...words) => {
    const registers = new Registers(words);
    kernel.smc(registers, 0);
    return registers;
  };

/** Asks the secure world what it is, in the order and with the abort rules of Linux (SMC-9). */
export function* probe(kernel: Kernel): Task<Found> {
  const ask = fastCalls(kernel);
  const loaded = loadImage(kernel, ask);
  if (loaded !== 0) return refused(loaded);
  if (!uidIs(ask, API_UID)) return refused(ERRNO.EINVAL);
  const revision = ask(OPTEE_SMC.CALLS_REVISION);
  if (revision.get(0) !== API_REVISION.major) return refused(ERRNO.EINVAL);
  const threads = ask(OPTEE_SMC.GET_THREAD_COUNT);
  const threadCount = threads.get(0) === SMC_RETURN.OK ? threads.get(1) : 0;
  const caps = ask(OPTEE_SMC.EXCHANGE_CAPABILITIES, kernel.cpus === 1 ? NSEC_CAP.UNIPROCESSOR : 0);
  if (caps.get(0) !== SMC_RETURN.OK) return refused(ERRNO.EINVAL);
  const capabilities = caps.get(1);
  const has = (bit: number): boolean => (capabilities & bit) !== 0;
  const rpcParamCount = has(SEC_CAP.RPC_ARG) ? caps.get(3) & 0xff : 0;
  const maxNotification = has(SEC_CAP.ASYNC_NOTIF) ? caps.get(2) : DEFAULT_MAX_NOTIFICATION;
  let reservedShm: MemoryRange | undefined;
  if (!has(SEC_CAP.DYNAMIC_SHM)) {
    if (!has(SEC_CAP.HAVE_RESERVED_SHM)) return refused(ERRNO.EINVAL);
    const config = ask(OPTEE_SMC.GET_SHM_CONFIG);
    if (config.get(0) !== SMC_RETURN.OK || config.get(3) !== SHM_CACHED) {
      return refused(ERRNO.EINVAL);
    }
    reservedShm = { base: config.get(1), size: config.get(2) };
  }
  const revisionOs = ask(OPTEE_SMC.GET_OS_REVISION);
  // Whatever it answers: an interrupt that never comes does no harm.
  const interrupt = kernel.conduit.notifications !== undefined;
  if (has(SEC_CAP.ASYNC_NOTIF) && interrupt) ask(OPTEE_SMC.ENABLE_ASYNC_NOTIF);
  const protectedMemory = has(SEC_CAP.PROTMEM) ? protectedRange(ask) : undefined;
  const queue = new CallQueue(threadCount);
  // Cookies may be pointers of the kernel before this one: they are not looked at.
  yield* emptyShmCache(ask, queue, () => undefined);
  if (rpcParamCount === 0) yield* enableShmCache(ask, queue);
  return {
    ok: true,
    queue,
    facts: {
      version: { major: revisionOs.get(0), minor: revisionOs.get(1) },
      capabilities,
      threadCount,
      rpcParamCount,
      maxNotification,
      reservedShm,
      protectedMemory,
    },
  };
}

const high = (value: number): number => Math.floor(value / 0x1_0000_0000);

function uidIs(ask: Ask, expected: readonly number[]): boolean {
  const uid = ask(OPTEE_SMC.CALLS_UID);
  return expected.every((word, index) => uid.get(index) === word);
}

/**
 * A kernel built for it hands OP-TEE's image to EL3 when EL3 still waits for one (SMC-9.P1). The call
 * is made even when there is no image, with zeros: EL3 must not take one later. 0 or an error.
 */
function loadImage(kernel: Kernel, ask: Ask): number {
  if (kernel.imageLoad === undefined || !uidIs(ask, IMAGE_LOAD_UID)) return 0;
  const { image } = kernel.imageLoad;
  const pages =
    image === undefined
      ? undefined
      : kernel.pages.allocateContiguous(Math.ceil(image.length / PAGE_SIZE));
  const size = pages === undefined ? 0 : (image?.length ?? 0);
  const at: number = pages?.[0] ?? 0;
  if (pages !== undefined && image !== undefined) kernel.conduit.memory.write(at as Ipa, image);
  const answer = ask(OPTEE_SMC.LOAD_IMAGE, high(size), size >>> 0, high(at), at >>> 0).get(0);
  if (pages !== undefined) {
    kernel.pages.drop(pages);
    return answer;
  }
  kernel.log("optee: image loading failed");
  return image === undefined ? ERRNO.ENOENT : ERRNO.ENOMEM;
}

/** Failing costs only the protected memory (SMC-9.P9). */
function protectedRange(ask: Ask): MemoryRange | undefined {
  const answer = ask(OPTEE_SMC.GET_PROTMEM_CONFIG);
  if (answer.get(0) !== SMC_RETURN.OK) return undefined;
  return { base: answer.high(1) * 0x1_0000_0000 + answer.get(1), size: answer.get(2) };
}

/** Calls DISABLE_SHM_CACHE until nothing is left; cookies go to `each` (SMC-6). */
export function* emptyShmCache(
  ask: Ask,
  queue: CallQueue,
  each: (high: number, low: number) => void,
): Task {
  yield* queue.begin();
  for (;;) {
    const answer = ask(OPTEE_SMC.DISABLE_SHM_CACHE);
    const status = answer.get(0);
    if (status === SMC_RETURN.ENOTAVAIL) break;
    if (status === SMC_RETURN.OK) each(answer.get(1), answer.get(2));
    else yield* queue.waitForCompletion();
  }
  queue.end();
}

function* enableShmCache(ask: Ask, queue: CallQueue): Task {
  yield* queue.begin();
  while (ask(OPTEE_SMC.ENABLE_SHM_CACHE).get(0) !== SMC_RETURN.OK) {
    yield* queue.waitForCompletion();
  }
  queue.end();
}
