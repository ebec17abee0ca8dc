import { type Registers, frameToPa } from "../../machine/index.ts";
import {
  ATTR_TMEM_OUTPUT_NONCONTIG,
  ATTR_TYPE,
  MSG_HEADER_SIZE,
  MSG_MAX_NUM_PARAMS,
  MSG_PAGE_SIZE,
  MessageView,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  SMC_RETURN,
  TEEC,
  WORD,
  isOutputType,
  isValueType,
  messageSize,
} from "../../optee-abi/index.ts";
import { OWN_COOKIE_HIGH } from "../cookies.ts";
import type { ShmBuffer, Status } from "./buffers.ts";
import type { StdCall } from "./call.ts";
import type { OpteeGuest } from "./guest.ts";
import { NO_FRAME, type RpcArgument } from "./rpc-arguments.ts";
import { drive } from "./std-call.ts";
import { translateNoncontig } from "./walk.ts";

const PAGE_HIGH = 2 ** 20;

/** RETURN_FROM_RPC (sheet MED section 6). */
export function handleReturnFromRpc(guest: OpteeGuest, registers: Registers): void {
  const thread = registers.get(3);
  const call = guest.calls.find((one) => one.thread === thread);
  if (call === undefined || call.inFlight) {
    registers.set(0, SMC_RETURN.ERESUME);
    guest.trace?.("MED-110", `thread ${thread}`);
    return;
  }
  guest.trace?.("MED-111", `thread ${thread}`);
  call.inFlight = true;
  call.thread = -1;
  const { out } = call;
  guest.prepare(out, OPTEE_SMC.RETURN_FROM_RPC);
  out.set(3, thread);
  // MED-112: what is pending is the saved word of the secure world, not what the guest says.
  if (call.rpcFunction === RPC_FUNC.CMD) {
    if (!replyToCommand(guest, call, registers, thread)) return;
  } else if (call.rpcFunction === RPC_FUNC.ALLOC) {
    replyToAlloc(guest, call, registers);
  } else {
    out.set(1, call.rpcHigh); // MED-113
    out.set(2, call.rpcLow);
  }
  drive(guest, call, registers);
}

/** MED-120 to MED-125: the secure world gets a shadow page, never the guest's. */
function replyToAlloc(guest: OpteeGuest, call: StdCall, registers: Registers): void {
  const { rpcArguments, rules } = guest;
  const low = registers.get(2);
  const page = registers.get(1) * PAGE_HIGH + (low >>> 12);
  const aligned = (low & (MSG_PAGE_SIZE - 1)) === 0;
  const cookie = { high: registers.get(4), low: registers.get(5) };
  const frame = aligned ? guest.writableFrame(page) : NO_FRAME;
  let argument: RpcArgument | undefined;
  if (rules.naiveRpcAlloc) {
    if (frame >= 0) argument = rpcArguments.add(cookie, page, frame);
    call.out.set(4, cookie.high);
    call.out.set(5, cookie.low);
  } else {
    // MED-123: address 0 and cookie 0 both say that the guest has nothing to give. MED-124: a cookie
    // in use must not come back as FREE, so the secure world is not told of it; `add` refuses it.
    const offered = (page !== 0 || !aligned) && (cookie.high !== 0 || cookie.low !== 0);
    if (offered && cookie.high !== OWN_COOKIE_HIGH) {
      argument = rpcArguments.add(cookie, page, frame) ?? rpcArguments.add(cookie, page, NO_FRAME);
    }
    if (argument !== undefined) {
      call.out.set(4, OWN_COOKIE_HIGH);
      call.out.set(5, argument.wireLow);
    }
  }
  if (argument === undefined || argument.frame < 0) {
    guest.trace?.("MED-121", "RPC argument page refused");
    return;
  }
  call.out.setPair(1, frameToPa(argument.shadow));
  guest.trace?.("MED-121", "RPC argument page");
}

/** Prepares the resume of a CMD; false when the guest is to go on instead of the secure world. */
function replyToCommand(
  guest: OpteeGuest,
  call: StdCall,
  registers: Registers,
  thread: number,
): boolean {
  return guest.rules.trustRpcReply
    ? trustingReply(guest, call, registers, thread)
    : checkedReply(guest, call, registers, thread);
}

/** MED-130 to MED-146 as Xen has them. */
function trustingReply(
  guest: OpteeGuest,
  call: StdCall,
  registers: Registers,
  thread: number,
): boolean {
  const argument = guest.rpcArguments.byCookie(registers.get(1), registers.get(2));
  if (argument === undefined) {
    guest.trace?.("MED-131", "reply with an unknown cookie; the call is stuck");
    return false;
  }
  const shadow = guest.heap.bytes(argument.shadow);
  const message = argument.view(shadow);
  const header = new Uint8Array(MSG_HEADER_SIZE);
  // MED-132: fetched twice; the second copy, header and all, is what counts, and finds out by itself
  // when the page cannot be read.
  guest.copyIn(argument.page, header);
  const count = new MessageView(header).numParams;
  const good =
    count <= MSG_MAX_NUM_PARAMS &&
    guest.copyIn(argument.page, shadow.subarray(0, messageSize(count)));
  if (!good) {
    message.ret = TEEC.TEEC_ERROR_GENERIC;
    guest.trace?.("MED-132", "reply is not readable");
    guest.heap.dirty(argument.shadow);
    return true;
  }
  if (call.ownRpc) {
    endOwnRpc(call, message);
  } else if (message.cmd === RPC_CMD.SHM_ALLOC) {
    const answered = message.ret === TEEC.TEEC_SUCCESS && message.numParams === 1;
    if (answered && message.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG)) {
      const buffer = takeBuffer(guest, call, message);
      if (typeof buffer === "number") {
        return !askToFree(guest, call, argument, registers, thread);
      }
    } else if (answered) guest.trace?.("MED-141", "SHM_ALLOC reply passed on as it is");
  }
  guest.heap.dirty(argument.shadow);
  return true;
}

/** The better rules of MED-130 to MED-147: the request that was sent decides what a reply may say. */
function checkedReply(
  guest: OpteeGuest,
  call: StdCall,
  registers: Registers,
  thread: number,
): boolean {
  const argument = guest.rpcArguments.byWire(call.rpcHigh, call.rpcLow);
  // Another call of the secure world may have freed it meanwhile.
  if (argument === undefined) return true;
  const shadow = guest.heap.bytes(argument.shadow);
  const request = argument.view(shadow);
  if (call.ownRpc) {
    endOwnRpc(call, request);
    guest.heap.dirty(argument.shadow);
    return true;
  }
  const named = registers.get(1) === argument.cookieHigh && registers.get(2) === argument.cookieLow;
  const count = Math.min(request.numParams, MSG_MAX_NUM_PARAMS);
  const length = messageSize(count);
  const copy = new Uint8Array(length);
  if (!named || !guest.copyIn(argument.page, copy)) {
    fail(request);
    guest.trace?.(named ? "MED-132" : "MED-131", "reply refused");
    guest.heap.dirty(argument.shadow);
    return true;
  }
  const reply = new MessageView(copy);
  if (request.cmd === RPC_CMD.SHM_ALLOC) {
    return checkedShmAlloc(guest, call, { argument, request, reply }, registers, thread);
  }
  request.ret = reply.ret;
  for (let index = 0; index < count; index += 1) {
    const type = request.type(index);
    if (!isOutputType(type)) continue;
    const words = isValueType(type) ? ([WORD.a, WORD.b, WORD.c] as const) : ([WORD.size] as const);
    for (const word of words) {
      request.setWords(index, word, reply.high(index, word), reply.low(index, word));
    }
  }
  guest.heap.dirty(argument.shadow, length);
  return true;
}

interface Exchange {
  readonly argument: RpcArgument;
  readonly request: MessageView;
  readonly reply: MessageView;
}

/** Section 6.3 with the better rules of MED-135, MED-141 and MED-147. */
function checkedShmAlloc(
  guest: OpteeGuest,
  call: StdCall,
  { argument, request, reply }: Exchange,
  registers: Registers,
  thread: number,
): boolean {
  const answered = reply.ret === TEEC.TEEC_SUCCESS && reply.numParams === 1;
  const contiguous = answered && reply.attrIs(0, ATTR_TYPE.TMEM_OUTPUT);
  const listed = answered && reply.attrIs(0, ATTR_TMEM_OUTPUT_NONCONTIG);
  const high = reply.high(0, WORD.shm_ref);
  const low = reply.low(0, WORD.shm_ref);
  const own = high === OWN_COOKIE_HIGH;
  const duplicate = guest.buffers.find(high, low) !== undefined;
  let freeAtGuest = contiguous && !duplicate && !own;
  if (listed && !own && !duplicate) {
    for (const word of [WORD.attr, WORD.buf_ptr, WORD.size, WORD.shm_ref] as const) {
      request.setWords(0, word, reply.high(0, word), reply.low(0, word));
    }
    const buffer = takeBuffer(guest, call, request);
    if (typeof buffer !== "number") {
      request.ret = TEEC.TEEC_SUCCESS;
      request.numParams = 1;
      guest.heap.dirty(argument.shadow);
      return true;
    }
    freeAtGuest = true;
  }
  if (freeAtGuest) {
    request.setWords(0, WORD.b, high, low);
    request.setWords(0, WORD.shm_ref, high, low);
    return !askToFree(guest, call, argument, registers, thread);
  }
  fail(request);
  if (reply.ret !== TEEC.TEEC_SUCCESS) request.ret = reply.ret; // MED-140
  guest.trace?.(duplicate ? "MED-147" : "MED-141", "SHM_ALLOC reply refused");
  guest.heap.dirty(argument.shadow);
  return true;
}

/** MED-142: pins what the guest offers; it stays until the secure world frees it. */
function takeBuffer(guest: OpteeGuest, call: StdCall, message: MessageView): ShmBuffer | Status {
  if (call.dataBuffer !== undefined) guest.buffers.freeLists(call.dataBuffer);
  call.dataBuffer = undefined;
  const buffer = translateNoncontig(guest, message, 0, "rpc");
  if (typeof buffer !== "number") call.dataBuffer = buffer;
  guest.trace?.("MED-142", typeof buffer === "number" ? "refused" : "pinned");
  return buffer;
}

/**
 * MED-143: the guest made a buffer that cannot be used, so the mediator asks it to free it. The
 * cookie is where SHM_ALLOC's answer has it. False (MED-144) when the guest cannot be reached: the
 * secure world then sees a failed allocation at once.
 */
function askToFree(
  guest: OpteeGuest,
  call: StdCall,
  argument: RpcArgument,
  registers: Registers,
  thread: number,
): boolean {
  const shadow = guest.heap.bytes(argument.shadow);
  const message = argument.view(shadow);
  const high = message.high(0, WORD.shm_ref);
  const low = message.low(0, WORD.shm_ref);
  message.cmd = RPC_CMD.SHM_FREE;
  message.ret = TEEC.TEEC_ERROR_GENERIC;
  message.numParams = 1;
  message.setWords(0, WORD.attr, 0, ATTR_TYPE.VALUE_INPUT);
  message.setWords(0, WORD.a, 0, call.shmType);
  message.setWords(0, WORD.b, high, low);
  if (!guest.rules.trustRpcReply) message.setWords(0, WORD.c, 0, 0);
  guest.heap.dirty(argument.shadow);
  if (!guest.copyOut(argument.page, shadow.subarray(0, messageSize(1)))) {
    fail(message);
    guest.trace?.("MED-144", "the guest cannot be asked to free its buffer");
    return false;
  }
  registers.set(0, SMC_RETURN.RPC_CMD);
  registers.set(1, argument.cookieHigh);
  registers.set(2, argument.cookieLow);
  call.ownRpc = true;
  call.thread = thread;
  call.inFlight = false;
  guest.trace?.("MED-143", "the guest is asked to free its buffer");
  return true;
}

/** MED-145: whatever the guest answered, the secure world sees a failed allocation. */
function endOwnRpc(call: StdCall, message: MessageView): void {
  call.ownRpc = false;
  fail(message);
}

function fail(message: MessageView): void {
  message.ret = TEEC.TEEC_ERROR_GENERIC;
  message.numParams = 0;
}
