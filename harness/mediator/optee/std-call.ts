import { PAGE_SIZE, type Registers } from "../../machine/index.ts";
import {
  MSG_CMD,
  MSG_MAX_NUM_PARAMS,
  type MessageView,
  OPTEE_SMC,
  SHM_CACHED,
  SMC_RETURN,
  TEEC,
  TEEC_ORIGIN,
  WORD,
  isRpcReturn,
  isRmemType,
  isTmemType,
  messageCommandName,
  returnName,
} from "../../optee-abi/index.ts";
import { OWN_COOKIE_HIGH } from "../cookies.ts";
import { STATUS, type Status } from "./buffers.ts";
import type { StdCall } from "./call.ts";
import { copyBack } from "./copy-back.ts";
import type { OpteeGuest } from "./guest.ts";
import { deliverRpc, presentInterrupt, resumeAfterLostRpc } from "./rpc.ts";
import { translateNoncontig } from "./walk.ts";

const PAGE_HIGH = 2 ** 20;

/** CALL_WITH_ARG (sheet MED section 4). */
export function handleCallWithArg(guest: OpteeGuest, registers: Registers): void {
  const call = guest.beginCall();
  if (typeof call === "number") {
    registers.set(0, call);
    guest.trace?.(call === SMC_RETURN.ENOMEM ? "MED-041" : "MED-040", returnName(call));
    return;
  }
  const refusal = admit(guest, call, registers);
  if (refusal !== undefined) {
    guest.endCall(call);
    if (refusal >= 0) registers.set(0, refusal);
    return;
  }
  const out = call.out;
  guest.prepare(out, OPTEE_SMC.CALL_WITH_ARG);
  out.setPair(1, call.shadow * PAGE_SIZE);
  out.set(3, SHM_CACHED);
  drive(guest, call, registers);
}

/** Leaves a0 as it is (MED-046). */
const KEEP = -1;

/** Admission and translation; what to answer in a0 when the message goes no further. */
function admit(guest: OpteeGuest, call: StdCall, registers: Registers): number | undefined {
  const low = registers.get(2);
  if ((low & (PAGE_SIZE - 1)) !== 0) {
    guest.trace?.("MED-043", "argument is not page aligned");
    return SMC_RETURN.EBADADDR;
  }
  call.argument = registers.get(1) * PAGE_HIGH + (low >>> 12);
  call.shadow = guest.heap.allocate("argument");
  if (call.shadow < 0) {
    guest.trace?.("MED-044", "no page for the shadow");
    return SMC_RETURN.ENOMEM;
  }
  // MED-045: one copy of the whole page; the guest's own page is not looked at again.
  const shadow = guest.heap.bytes(call.shadow);
  if (!guest.copyIn(call.argument, shadow)) {
    guest.trace?.("MED-045", "argument is not in the guest's RAM");
    return SMC_RETURN.EBADADDR;
  }
  const message = call.view(shadow);
  if (message.numParams > MSG_MAX_NUM_PARAMS) {
    guest.trace?.("MED-046", `num_params ${message.numParams}`);
    message.numParams = 0;
    refuse(message, TEEC.TEEC_ERROR_BAD_PARAMETERS);
    if (!copyBack(guest, call, message)) return SMC_RETURN.EBADADDR;
    return guest.rules.keepA0OnTooManyParams ? KEEP : SMC_RETURN.OK;
  }
  if (message.cmd > MSG_CMD.UNREGISTER_SHM) {
    guest.trace?.("MED-047", messageCommandName(message.cmd));
    return SMC_RETURN.EBADCMD;
  }
  const status = translateParams(guest, call, message);
  if (status !== STATUS.ok) {
    refuse(
      message,
      status === STATUS.enomem ? TEEC.TEEC_ERROR_OUT_OF_MEMORY : TEEC.TEEC_ERROR_BAD_PARAMETERS,
    );
    if (!guest.rules.keepBuffersOfRefusedMessage) closeCreated(guest, call);
    const copied = copyBack(guest, call, message);
    guest.trace?.("MED-051", status === STATUS.enomem ? "ENOMEM" : "EINVAL");
    guest.log?.warn(`${messageCommandName(message.cmd)} refused`);
    return copied ? SMC_RETURN.OK : SMC_RETURN.EBADADDR;
  }
  guest.heap.dirty(call.shadow);
  guest.trace?.("MED-053", messageCommandName(message.cmd));
  return undefined;
}

function refuse(message: MessageView, ret: number): void {
  message.ret = ret;
  message.retOrigin = TEEC_ORIGIN.TEEC_ORIGIN_COMMS;
}

/** MED-050. */
function translateParams(guest: OpteeGuest, call: StdCall, message: MessageView): Status {
  const count = message.numParams;
  const ownCookies = !guest.rules.naiveRpcAlloc;
  const cmd = message.cmd;
  for (let index = 0; index < count; index += 1) {
    const type = message.type(index);
    const tmem = isTmemType(type);
    const named = tmem || isRmemType(type);
    if (ownCookies && named && isReserved(message, index, type)) return STATUS.einval;
    if (!tmem) continue;
    if (message.low(index, WORD.buf_ptr) === 0 && message.high(index, WORD.buf_ptr) === 0) continue;
    if (!message.isNoncontig(index)) return STATUS.einval;
    const kind = cmd === MSG_CMD.REGISTER_SHM ? "registering" : "temporary";
    const buffer = translateNoncontig(guest, message, index, kind);
    if (typeof buffer === "number") return buffer;
    if (kind === "temporary" && !guest.rules.keepTemporaryCookie) {
      message.setWords(index, WORD.shm_ref, OWN_COOKIE_HIGH, guest.nextTemporary());
    }
    call.created.push(buffer);
  }
  return STATUS.ok;
}

/**
 * Whether a reference names what only the mediator and the secure world share: by a cookie of the
 * mediator's own making, or by cookie 0, under which OP-TEE keeps the page of the running message,
 * here the shadow with its machine addresses (MED-091).
 */
function isReserved(message: MessageView, index: number, type: number): boolean {
  const high = message.high(index, WORD.shm_ref);
  if (high === OWN_COOKIE_HIGH) return true;
  return high === 0 && message.low(index, WORD.shm_ref) === 0 && isRmemType(type);
}

function closeCreated(guest: OpteeGuest, call: StdCall): void {
  // Not by setting the length, which takes longer than closing does.
  for (let at = call.created.length; at > 0; at -= 1) {
    const buffer = call.created.shift();
    if (buffer !== undefined) guest.buffers.close(buffer);
  }
}

/** After this many RPCs in a row that could not be delivered, the guest gets a turn. */
const LOST_RPC_LIMIT = 16;

/**
 * Runs the call until it completes or the guest has something to do. `call.out` holds what goes to
 * the secure world.
 */
export function drive(guest: OpteeGuest, call: StdCall, registers: Registers): void {
  const { out } = call;
  for (let lost = 0; ; lost += 1) {
    guest.port.smc(out);
    if (!isRpcReturn(out.get(0)) && !(guest.rules.answerLostRpcWithRpcCode && allOnes(out))) {
      if (lost > 0 && guest.rules.answerLostRpcWithRpcCode) return; // MED-106
      complete(guest, call, registers);
      return;
    }
    if (deliverRpc(guest, call, registers)) return;
    if (lost === LOST_RPC_LIMIT) {
      presentInterrupt(guest, call, registers);
      return;
    }
    resumeAfterLostRpc(guest, call);
  }
}

/**
 * MED-106: the firmware knows no function of an RPC's code and answers -1 in 64 bits. Xen compares with
 * 0xffffffff, which that is not, so that it takes the answer for an RPC of unknown kind.
 */
const allOnes = (out: Registers): boolean =>
  out.get(0) === SMC_RETURN.UNKNOWN_FUNCTION && out.high(0) !== 0;

/** MED-080 to MED-087: the call is over; copies results back and settles its buffers. */
function complete(guest: OpteeGuest, call: StdCall, registers: Registers): void {
  const { rules } = guest;
  const a0 = call.out.get(0);
  const message = call.view(guest.heap.bytes(call.shadow));
  const retry = a0 === SMC_RETURN.ETHREAD_LIMIT && !rules.completeOnThreadLimit;
  const copied = retry || copyBack(guest, call, message);
  registers.copyRegister(0, call.out);
  if (!copied && !rules.loseCopyBackError) registers.set(0, SMC_RETURN.EBADADDR);
  guest.trace?.(
    copied ? "MED-080" : "MED-090",
    `${messageCommandName(message.cmd)}: ${returnName(a0)}`,
  );
  if (rules.freeByGuestCookie) settleByCookie(guest, message);
  else settleOwn(guest, call, message, a0 === SMC_RETURN.OK && message.ret === TEEC.TEEC_SUCCESS);
  guest.endCall(call);
}

/** MED-081 to MED-084 as Xen has them: whatever buffer the message names. */
function settleByCookie(guest: OpteeGuest, message: MessageView): void {
  const { buffers } = guest;
  const find = (index: number) =>
    buffers.find(message.high(index, WORD.shm_ref), message.low(index, WORD.shm_ref));
  const success = message.ret === TEEC.TEEC_SUCCESS;
  if (message.cmd === MSG_CMD.REGISTER_SHM) {
    const buffer = find(0);
    if (buffer === undefined) return;
    if (success) {
      buffer.kind = "registered";
      buffers.freeLists(buffer);
    } else buffers.close(buffer);
    return;
  }
  if (message.cmd === MSG_CMD.UNREGISTER_SHM) {
    const buffer = success ? find(0) : undefined;
    if (buffer !== undefined) buffers.close(buffer);
    return;
  }
  const count = Math.min(message.numParams, MSG_MAX_NUM_PARAMS);
  for (let index = 0; index < count; index += 1) {
    if (!isTmemType(message.type(index))) continue;
    const buffer = find(index);
    if (buffer !== undefined) buffers.close(buffer);
  }
}

/** MED-085, the better rule: only what this very call made, and what it unregistered. */
function settleOwn(guest: OpteeGuest, call: StdCall, message: MessageView, success: boolean): void {
  const { buffers } = guest;
  if (success && message.cmd === MSG_CMD.REGISTER_SHM) {
    const registered = call.created.shift();
    // Another vCPU may have unregistered it while this call was suspended.
    if (registered !== undefined && !registered.closed) {
      registered.kind = "registered";
      buffers.freeLists(registered);
    }
  }
  if (success && message.cmd === MSG_CMD.UNREGISTER_SHM) {
    const buffer = buffers.find(message.high(0, WORD.shm_ref), message.low(0, WORD.shm_ref));
    if (buffer?.kind === "registered" || buffer?.kind === "registering") buffers.close(buffer);
  }
  if (call.dataBuffer !== undefined) buffers.freeLists(call.dataBuffer);
  closeCreated(guest, call);
}
