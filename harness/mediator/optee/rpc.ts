import type { Registers } from "../../machine/index.ts";
import {
  MSG_MAX_NUM_PARAMS,
  type MessageView,
  OPTEE_SMC,
  RPC_CMD,
  RPC_FUNC,
  SMC_RETURN,
  TEEC,
  WORD,
  isTmemType,
  messageSize,
  rpcCommandName,
  rpcFunction,
} from "../../optee-abi/index.ts";
import type { StdCall } from "./call.ts";
import type { OpteeGuest } from "./guest.ts";
import type { RpcArgument } from "./rpc-arguments.ts";

/**
 * The secure world asks for something (sheet MED section 5): saves what is pending and hands the
 * request to the guest. False when it cannot be handed over; the call then belongs to the mediator.
 */
export function deliverRpc(guest: OpteeGuest, call: StdCall, registers: Registers): boolean {
  const { out } = call;
  const func = rpcFunction(out.get(0));
  call.rpcFunction = func;
  call.rpcHigh = out.get(1);
  call.rpcLow = out.get(2);
  call.thread = out.get(3);
  let argument: RpcArgument | undefined;
  if (func === RPC_FUNC.CMD || func === RPC_FUNC.FREE) {
    argument = guest.rpcArguments.byWire(call.rpcHigh, call.rpcLow);
    const good =
      func === RPC_FUNC.CMD
        ? argument !== undefined && deliverCommand(guest, call, argument)
        : argument !== undefined || guest.rules.answerLostRpcWithRpcCode;
    if (func === RPC_FUNC.FREE && argument !== undefined) guest.rpcArguments.drop(argument);
    if (!good) {
      // MED-106: Xen shows the request to the guest although it could not be handed over.
      if (guest.rules.answerLostRpcWithRpcCode) show(call, registers);
      guest.log?.warn("an RPC could not be delivered");
      guest.trace?.("MED-106", "RPC not delivered");
      return false;
    }
  }
  show(call, registers);
  if (argument !== undefined) {
    registers.set(1, argument.cookieHigh);
    registers.set(2, argument.cookieLow);
  }
  guest.trace?.("MED-100", `RPC 0x${out.get(0).toString(16)}`);
  return true;
}

/** MED-100: a0..a3 as they came; from here on any vCPU may resume the call. */
function show(call: StdCall, registers: Registers): void {
  for (let index = 0; index < 4; index += 1) registers.copyRegister(index, call.out);
  call.inFlight = false;
}

/** MED-102 to MED-104. */
function deliverCommand(guest: OpteeGuest, call: StdCall, argument: RpcArgument): boolean {
  if (argument.shadow < 0) return false;
  const shadow = guest.heap.bytes(argument.shadow);
  const request = argument.view(shadow);
  const count = request.numParams;
  const cmd = request.cmd;
  const shown =
    count <= MSG_MAX_NUM_PARAMS &&
    (guest.rules.trustRpcReply || !namesAddresses(request)) &&
    guest.copyOut(argument.page, shadow.subarray(0, messageSize(count)));
  if (!shown) {
    request.ret = TEEC.TEEC_ERROR_GENERIC;
    guest.heap.dirty(argument.shadow, 4, 20);
    // The secure world has unmapped the buffer whether or not the guest hears of it.
    if (cmd === RPC_CMD.SHM_FREE && !guest.rules.trustRpcReply)
      freeDataBuffer(guest, call, request);
    return false;
  }
  if (cmd === RPC_CMD.SHM_ALLOC) call.shmType = request.low(0, WORD.a);
  if (cmd === RPC_CMD.SHM_FREE) freeDataBuffer(guest, call, request);
  guest.trace?.("MED-102", rpcCommandName(cmd));
  return true;
}

/** MED-107: a request has no business to carry a machine address. */
function namesAddresses(request: MessageView): boolean {
  const count = Math.min(request.numParams, MSG_MAX_NUM_PARAMS);
  for (let index = 0; index < count; index += 1) {
    if (!isTmemType(request.type(index))) continue;
    if (request.low(index, WORD.buf_ptr) !== 0 || request.high(index, WORD.buf_ptr) !== 0) {
      return true;
    }
  }
  return false;
}

/** MED-104: at once, as the secure world has unmapped it already. */
function freeDataBuffer(guest: OpteeGuest, call: StdCall, request: MessageView): void {
  const buffer = guest.buffers.find(request.high(0, WORD.b), request.low(0, WORD.b));
  if (buffer !== undefined && (guest.rules.freeByGuestCookie || buffer.kind === "rpc")) {
    guest.buffers.close(buffer);
  }
  call.dataBuffer = undefined;
}

/** MED-106: the next SMC after an RPC that the guest could not be given. */
export function resumeAfterLostRpc(guest: OpteeGuest, call: StdCall): void {
  const { out } = call;
  if (!guest.rules.answerLostRpcWithRpcCode) {
    guest.prepare(out, OPTEE_SMC.RETURN_FROM_RPC);
    out.set(3, call.thread);
    call.thread = -1;
    return;
  }
  for (let index = 4; index < 7; index += 1) out.set(index, 0);
  out.set(7, guest.clientId);
}

/** Gives the guest's vCPU back as a foreign interrupt would; its resume goes on where this stopped. */
export function presentInterrupt(guest: OpteeGuest, call: StdCall, registers: Registers): void {
  call.rpcFunction = RPC_FUNC.FOREIGN_INTR;
  call.rpcHigh = 0;
  call.rpcLow = 0;
  call.inFlight = false;
  registers.set(0, SMC_RETURN.RPC_FOREIGN_INTR);
  registers.set(1, 0);
  registers.set(2, 0);
  registers.set(3, call.thread);
  guest.trace?.("MED-106", "too many undelivered RPCs, the guest gets a turn");
}
