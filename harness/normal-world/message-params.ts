import { ATTR_TYPE, type MessageView, WORD } from "../optee-abi/index.ts";
import { isMemrefType, isValueType, PARAM_ATTR } from "../tee-uapi/index.ts";
import type { DriverParam } from "./driver-calls.ts";
import { shmAddress } from "./shm.ts";

const RMEM_SHIFT = ATTR_TYPE.RMEM_INPUT - PARAM_ATTR.MEMREF_INPUT;
const TMEM_SHIFT = ATTR_TYPE.TMEM_INPUT - PARAM_ATTR.MEMREF_INPUT;

/**
 * Encodes a parameter (MSG-5): registered memory as RMEM; NULL, the reserved pool and protected memory
 * as TMEM. The place must be zeroed.
 */
export function toMessageParam(message: MessageView, index: number, from: DriverParam): void {
  const { param, shm } = from;
  const { type } = param;
  if (isValueType(type)) {
    message.setWords(index, WORD.attr, 0, type);
    message.setWords(index, WORD.a, param.aHigh, param.a);
    message.setWords(index, WORD.b, param.bHigh, param.b);
    message.setWords(index, WORD.c, param.cHigh, param.c);
    return;
  }
  if (!isMemrefType(type)) return;
  message.setWords(index, WORD.size, param.bHigh, param.b);
  if (shm === undefined) {
    message.setWords(index, WORD.attr, 0, type + TMEM_SHIFT);
  } else if (shm.kind === "reserved" || shm.kind === "protected") {
    message.setWords(index, WORD.attr, 0, type + TMEM_SHIFT);
    message.setNumber(index, WORD.buf_ptr, shmAddress(shm) + param.aNumber);
    message.setWords(index, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
  } else {
    message.setWords(index, WORD.attr, 0, type + RMEM_SHIFT);
    message.setWords(index, WORD.offs, param.aHigh, param.a);
    message.setWords(index, WORD.shm_ref, shm.cookieHigh, shm.cookieLow);
  }
}

/** Takes results back: values and sizes of output parameters. */
export function fromMessageParam(message: MessageView, index: number, to: DriverParam): void {
  const { param } = to;
  switch (param.type) {
    case PARAM_ATTR.VALUE_OUTPUT:
    case PARAM_ATTR.VALUE_INOUT:
      param.a = message.low(index, WORD.a);
      param.aHigh = message.high(index, WORD.a);
      param.b = message.low(index, WORD.b);
      param.bHigh = message.high(index, WORD.b);
      param.c = message.low(index, WORD.c);
      param.cHigh = message.high(index, WORD.c);
      return;
    case PARAM_ATTR.MEMREF_OUTPUT:
    case PARAM_ATTR.MEMREF_INOUT:
      param.b = message.low(index, WORD.size);
      param.bHigh = message.high(index, WORD.size);
      return;
    default:
  }
}
