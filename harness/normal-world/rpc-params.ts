import { TargetCrashError } from "../base/index.ts";
import {
  ATTR_TYPE,
  isRmemType,
  isTmemType,
  isValueType,
  type MessageView,
  WORD,
} from "../optee-abi/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { Kernel } from "./kernel.ts";
import { shmAddress, type TeeShm } from "./shm.ts";
import type { SupplicantParam } from "./supplicant-queue.ts";

/** The kernel does not check pointers from the secure world: a wrong one crashes it (SMC-9.5). */
export function shmByPointer(kernel: Kernel, high: number, low: number, what: string): TeeShm {
  const shm = kernel.shmPointers.find(high, low);
  if (shm !== undefined) return shm;
  throw new TargetCrashError(`Linux crashed: ${what} with a pointer to no shared memory`, {
    seen: `0x${high.toString(16)}${low.toString(16).padStart(8, "0")}`,
  });
}

/** The parameters of an RPC as Linux's drivers see them; undefined for a type that does not exist. */
export function fromRpcParams(kernel: Kernel, view: MessageView): SupplicantParam[] | undefined {
  const params: SupplicantParam[] = [];
  for (let index = 0; index < view.numParams; index += 1) {
    const param = fromRpcParam(kernel, view, index);
    if (param === undefined) return undefined;
    params.push(param);
  }
  return params;
}

function fromRpcParam(
  kernel: Kernel,
  view: MessageView,
  index: number,
): SupplicantParam | undefined {
  const type = view.type(index);
  if (type === ATTR_TYPE.NONE) return { attr: 0, a: 0n, b: 0n, c: 0n, shm: undefined };
  const words = { a: view.big(index, WORD.a), b: view.big(index, WORD.b), c: 0n };
  if (isValueType(type)) {
    return { ...words, attr: type, c: view.big(index, WORD.c), shm: undefined };
  }
  if (!isRmemType(type) && !isTmemType(type)) return undefined;
  const attr = PARAM_ATTR.MEMREF_INPUT + ((type - 1) & 3);
  const high = view.high(index, WORD.shm_ref);
  const low = view.low(index, WORD.shm_ref);
  // No pointer is no memory, whatever else the parameter says.
  if (high === 0 && low === 0) return { ...words, attr, a: 0n, shm: undefined };
  const shm = shmByPointer(kernel, high, low, "a memory reference");
  if (isRmemType(type)) return { ...words, attr, shm };
  return { ...words, attr, a: words.a - BigInt(shmAddress(shm)), shm };
}

/** Writes results into the request: values and sizes of outputs, which is all that OP-TEE reads. */
export function toRpcParams(view: MessageView, params: readonly SupplicantParam[]): void {
  for (const [index, param] of params.entries()) {
    switch (param.attr) {
      case PARAM_ATTR.VALUE_OUTPUT:
      case PARAM_ATTR.VALUE_INOUT:
        view.setBig(index, WORD.a, param.a);
        view.setBig(index, WORD.b, param.b);
        view.setBig(index, WORD.c, param.c);
        break;
      case PARAM_ATTR.MEMREF_OUTPUT:
      case PARAM_ATTR.MEMREF_INOUT:
        view.setBig(index, WORD.size, param.b);
        break;
      default:
    }
  }
}

/** Whether the parameters have exactly these types. */
export const paramsAre = (params: readonly SupplicantParam[], ...attrs: number[]): boolean =>
  params.length === attrs.length && params.every(({ attr }, index) => attr === attrs[index]);
