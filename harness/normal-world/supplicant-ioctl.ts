import type { Task } from "../machine/index.ts";
import {
  ERRNO,
  PARAM,
  PARAM_ATTR,
  PARAM_ATTR_META,
  SUPP_RECV_ARG,
  SUPP_SEND_ARG,
} from "../tee-uapi/index.ts";
import { type IoctlCall, variableBuffer } from "./ioctl-call.ts";
import type { SupplicantParam, SupplicantRequest } from "./supplicant-queue.ts";

/** Slot 0 of an asynchronous RECV and SEND: VALUE_INOUT with META (TEE-4.3). */
const META_SLOT = PARAM_ATTR.VALUE_INOUT | PARAM_ATTR_META;
const ALL_ONES = 0xffff_ffff_ffff_ffffn;

/** Waits for a request and hands it to the supplicant (TEE-4.2 to 4.4). */
export function* supplicantRecv(call: IoctlCall): Task<number> {
  const view = variableBuffer(call, SUPP_RECV_ARG.size);
  if (view === undefined) return -ERRNO.EINVAL;
  const slots = view.getUint32(SUPP_RECV_ARG.numParams, true);
  if (SUPP_RECV_ARG.size + slots * PARAM.size !== view.byteLength) return -ERRNO.EINVAL;
  const asynchronous = slotsAreEmpty(view, slots);
  if (asynchronous === undefined) return -ERRNO.EINVAL;
  const queue = call.context.device.driver.supplicant;
  if (!asynchronous && queue.synchronous !== undefined) return -ERRNO.EINVAL;
  const { process } = call;
  process.waitsOn.add(queue.arrived);
  while (queue.first === undefined && !process.killed && !process.interrupted) yield queue.arrived;
  process.waitsOn.delete(queue.arrived);
  if (process.killed || queue.first === undefined) {
    // The request that woke it is another thread's to take.
    if (queue.first !== undefined) queue.arrived.wake();
    return -ERRNO.ERESTARTSYS;
  }
  const shift = asynchronous ? 1 : 0;
  if (queue.first.params.length + shift > slots) return -ERRNO.EINVAL;
  const request = queue.take();
  if (request === undefined) return -ERRNO.ERESTARTSYS;
  if (!asynchronous) queue.synchronous = request;
  view.setUint32(SUPP_RECV_ARG.func, request.func, true);
  view.setUint32(SUPP_RECV_ARG.numParams, request.params.length + shift, true);
  if (asynchronous) putParam(view, 0, META_SLOT, BigInt(request.id), 0n, 0n);
  for (const [index, param] of request.params.entries()) giveParam(view, index + shift, param);
  return 0;
}

/** Whether slot 0 asks for asynchronous mode; undefined for slots that are not empty (TEE-4.2). */
function slotsAreEmpty(view: DataView, slots: number): boolean | undefined {
  if (slots < 1) return undefined;
  for (let index = 0; index < slots; index += 1) {
    const attr = view.getBigUint64(SUPP_RECV_ARG.size + index * PARAM.size, true);
    if (attr !== 0n && !(index === 0 && attr === BigInt(PARAM_ATTR_META))) return undefined;
  }
  return view.getUint32(SUPP_RECV_ARG.size, true) === PARAM_ATTR_META;
}

function giveParam(view: DataView, index: number, param: SupplicantParam): void {
  const input = param.attr !== PARAM_ATTR.VALUE_OUTPUT;
  if (param.attr >= PARAM_ATTR.MEMREF_INPUT) {
    const id = param.shm === undefined ? ALL_ONES : BigInt(param.shm.id);
    putParam(view, index, param.attr, param.a, param.b, id);
  } else if (input) {
    putParam(view, index, param.attr, param.a, param.b, param.c);
  } else {
    putParam(view, index, param.attr, 0n, 0n, 0n);
  }
}

function putParam(view: DataView, index: number, attr: number, ...words: bigint[]): void {
  const at = SUPP_RECV_ARG.size + index * PARAM.size;
  view.setBigUint64(at, BigInt(attr), true);
  for (const [word, value] of words.entries()) view.setBigUint64(at + 8 + word * 8, value, true);
}

/** Takes the supplicant's answer (TEE-4.5). */
export function supplicantSend(call: IoctlCall): number {
  const view = variableBuffer(call, SUPP_SEND_ARG.size);
  if (view === undefined) return -ERRNO.EINVAL;
  const count = view.getUint32(SUPP_SEND_ARG.numParams, true);
  if (SUPP_SEND_ARG.size + count * PARAM.size > view.byteLength) return -ERRNO.EINVAL;
  const queue = call.context.device.driver.supplicant;
  let request: SupplicantRequest | undefined = queue.synchronous;
  const shift = request === undefined ? 1 : 0;
  if (request === undefined) {
    if (count < 1 || view.getBigUint64(SUPP_SEND_ARG.size, true) !== BigInt(META_SLOT)) {
      return -ERRNO.EINVAL;
    }
    const id = view.getBigUint64(SUPP_SEND_ARG.size + PARAM.a, true);
    request = id <= 0x7fff_ffffn ? queue.find(Number(id)) : undefined;
    if (request === undefined) return -ERRNO.ENOENT;
  }
  if (request.state === "abandoned") {
    queue.forget(request);
    queue.synchronous = undefined;
    return -ERRNO.EBADF;
  }
  if (count - shift !== request.params.length) return -ERRNO.EINVAL;
  for (const [index, param] of request.params.entries()) {
    takeParam(view, SUPP_SEND_ARG.size + (index + shift) * PARAM.size, param);
  }
  queue.synchronous = undefined;
  queue.complete(request, view.getUint32(SUPP_SEND_ARG.ret, true));
  return 0;
}

function takeParam(view: DataView, at: number, param: SupplicantParam): void {
  switch (param.attr) {
    case PARAM_ATTR.VALUE_OUTPUT:
    case PARAM_ATTR.VALUE_INOUT:
      param.a = view.getBigUint64(at + PARAM.a, true);
      param.b = view.getBigUint64(at + PARAM.b, true);
      param.c = view.getBigUint64(at + PARAM.c, true);
      return;
    case PARAM_ATTR.MEMREF_OUTPUT:
    case PARAM_ATTR.MEMREF_INOUT:
      param.b = view.getBigUint64(at + PARAM.b, true);
      return;
    default:
  }
}
