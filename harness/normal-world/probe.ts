import { Registers, type Task, WaitQueue } from "../machine/index.ts";
import {
  API_REVISION,
  API_UID,
  NSEC_CAP,
  OPTEE_SMC,
  SEC_CAP,
  SHM_CACHED,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { ERRNO } from "../tee-uapi/index.ts";
import type { Kernel } from "./kernel.ts";

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
  readonly reservedShm: { readonly base: number; readonly size: number } | undefined;
}

/** Largest notification value without asynchronous notifications. */
const DEFAULT_MAX_NOTIFICATION = 255;

type Found =
  | { readonly ok: true; readonly facts: SecureWorldFacts }
  | { readonly ok: false; readonly errno: number };
const refused = (errno: number): Found => ({ ok: false, errno });

/** Asks the secure world what it is, in the order and with the abort rules of Linux (SMC-9). */
export function* probe(kernel: Kernel): Task<Found> {
  const ask = (fid: number, a1 = 0): Registers => {
    const registers = new Registers([fid, a1]);
    kernel.smc(registers, 0);
    return registers;
  };
  const uid = ask(OPTEE_SMC.CALLS_UID);
  if (API_UID.some((word, index) => uid.get(index) !== word)) return refused(ERRNO.EINVAL);
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
  let reservedShm: SecureWorldFacts["reservedShm"];
  if (!has(SEC_CAP.DYNAMIC_SHM)) {
    if (!has(SEC_CAP.HAVE_RESERVED_SHM)) return refused(ERRNO.EINVAL);
    const config = ask(OPTEE_SMC.GET_SHM_CONFIG);
    if (config.get(0) !== SMC_RETURN.OK || config.get(3) !== SHM_CACHED) {
      return refused(ERRNO.EINVAL);
    }
    reservedShm = { base: config.get(1), size: config.get(2) };
  }
  const revisionOs = ask(OPTEE_SMC.GET_OS_REVISION);
  if (has(SEC_CAP.ASYNC_NOTIF)) ask(OPTEE_SMC.ENABLE_ASYNC_NOTIF);
  if (has(SEC_CAP.PROTMEM)) ask(OPTEE_SMC.GET_PROTMEM_CONFIG);
  yield* emptyShmCache(ask, () => undefined);
  if (rpcParamCount === 0) yield* enableShmCache(ask);
  return {
    ok: true,
    facts: {
      version: { major: revisionOs.get(0), minor: revisionOs.get(1) },
      capabilities,
      threadCount,
      rpcParamCount,
      maxNotification,
      reservedShm,
    },
  };
}

/** Calls DISABLE_SHM_CACHE until nothing is left; cookies go to `each` (SMC-6). */
export function* emptyShmCache(
  ask: (fid: number) => Registers,
  each: (high: number, low: number) => void,
): Task {
  for (;;) {
    const answer = ask(OPTEE_SMC.DISABLE_SHM_CACHE);
    switch (answer.get(0)) {
      case SMC_RETURN.OK:
        each(answer.get(1), answer.get(2));
        break;
      case SMC_RETURN.EBUSY:
        yield retryLater();
        break;
      default:
        return;
    }
  }
}

function* enableShmCache(ask: (fid: number) => Registers): Task {
  while (ask(OPTEE_SMC.ENABLE_SHM_CACHE).get(0) === SMC_RETURN.EBUSY) yield retryLater();
}

const retryLater = (): { queue: WaitQueue; timeoutMs: number } => ({
  queue: new WaitQueue("shm cache busy"),
  timeoutMs: 1,
});
