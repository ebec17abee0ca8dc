import {
  MSG_MAX_NUM_PARAMS,
  type MessageView,
  WORD,
  isOutputType,
  isValueType,
  messageSize,
} from "../../optee-abi/index.ts";
import type { StdCall } from "./call.ts";
import type { OpteeGuest } from "./guest.ts";

const SESSION = 8;
const RESULT = 20;

/**
 * MED-090 to MED-092: writes the fields that a completed message may change into the guest's page,
 * by the attributes of the mediator's copy. False, with nothing written, when the page is not
 * writable RAM of the guest now. Machine addresses never get here: buf_ptr is not one of the fields.
 */
export function copyBack(guest: OpteeGuest, call: StdCall, message: MessageView): boolean {
  const frame = guest.hold(call.argument);
  if (frame < 0) return false;
  const page = guest.bytesOf(frame);
  if (page !== undefined) putResults(guest, frame, guest.views.of(call.argument, page), message);
  guest.letGo(frame);
  return page !== undefined;
}

function putResults(
  guest: OpteeGuest,
  frame: number,
  target: DataView,
  message: MessageView,
): void {
  target.setUint32(SESSION, message.session, true);
  guest.wrote(frame, SESSION, 4);
  target.setUint32(RESULT, message.ret, true);
  target.setUint32(RESULT + 4, message.retOrigin, true);
  guest.wrote(frame, RESULT, 8);
  const count = Math.min(message.numParams, MSG_MAX_NUM_PARAMS);
  for (let index = 0; index < count; index += 1) {
    const type = message.type(index);
    if (!isOutputType(type)) continue;
    const base = messageSize(index);
    if (isValueType(type)) {
      putWord(target, base + 8, message, index, WORD.a);
      putWord(target, base + 16, message, index, WORD.b);
      putWord(target, base + 24, message, index, WORD.c);
      guest.wrote(frame, base + 8, 24);
    } else {
      putWord(target, base + 16, message, index, WORD.size);
      guest.wrote(frame, base + 16, 8);
    }
  }
}

function putWord(
  target: DataView,
  offset: number,
  message: MessageView,
  index: number,
  word: typeof WORD.a | typeof WORD.b | typeof WORD.c,
): void {
  target.setUint32(offset, message.low(index, word), true);
  target.setUint32(offset + 4, message.high(index, word), true);
}
