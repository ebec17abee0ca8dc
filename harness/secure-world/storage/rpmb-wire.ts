import { RPC_CMD, RPMB_DEVICE, SHM_TYPE, TEEC } from "../../optee-abi/index.ts";
import {
  CID,
  decodeDeviceInfo,
  encodeFrames,
  FRAME_SIZE,
  RPMB_DEV_INFO,
  RPMB_DEV_INFO_RET,
  RPMB_REQ,
  RPMB_REQ_CMD,
  type RpmbDeviceInfo,
  type RpmbFrame,
} from "../../rpmb/index.ts";
import {
  cachedPayload,
  rpcCommand,
  rpcMemref,
  type RpcPayload,
  rpcValue,
  rpcWord,
} from "../rpc.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail } from "./failure.ts";

const PAGE = 4096;
const pages = (bytes: number): number => Math.ceil(bytes / PAGE) * PAGE;

/** How requests reach the part: through tee-supplicant, or through the kernel's RPMB subsystem. */
export type Route =
  | { readonly legacy: true; readonly devId: number }
  | { readonly legacy: false; readonly shmType: number };

/** Shared memory with room for a request and, on a page of its own, the response. */
export interface Exchange {
  readonly payload: RpcPayload;
  readonly route: Route;
  readonly requestSize: number;
  readonly responseAt: number;
  readonly responseSize: number;
}

const headerSize = (route: Route): number => (route.legacy ? RPMB_REQ.size : 0);
const typeOf = (route: Route): number => (route.legacy ? SHM_TYPE.APPL : route.shmType);

/** Memory for `frames` request frames and `responseSize` bytes (RPMB-2.1.2). */
export function* allocateExchange(
  thread: Thread,
  route: Route,
  frames: number,
  responseSize: number,
): SecureTask<Exchange> {
  const requestSize = headerSize(route) + frames * FRAME_SIZE;
  const responseAt = pages(requestSize);
  const size = responseAt + pages(responseSize);
  const payload = yield* cachedPayload(thread, "RPMB", size, typeOf(route));
  if (payload === undefined) return fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  return { payload, route, requestSize, responseAt, responseSize };
}

/** Zeroes request and response, as before every attempt to write. */
export function clearExchange({ payload, requestSize, responseAt, responseSize }: Exchange): void {
  payload.pages.write(0, new Uint8Array(requestSize));
  payload.pages.write(responseAt, new Uint8Array(responseSize));
}

/** Puts request frames into place; the header's block count is left as it is unless given. */
export function putFrames(
  { payload, route }: Exchange,
  frames: Uint8Array,
  blockCount?: number,
): void {
  if (route.legacy) {
    const header = new Uint8Array(blockCount === undefined ? RPMB_REQ.blockCount : RPMB_REQ.size);
    const view = new DataView(header.buffer);
    view.setUint16(RPMB_REQ.cmd, RPMB_REQ_CMD.DATA_REQ, true);
    view.setUint16(RPMB_REQ.devId, route.devId, true);
    if (blockCount !== undefined) view.setUint16(RPMB_REQ.blockCount, blockCount, true);
    payload.pages.write(0, header);
  }
  payload.pages.write(headerSize(route), frames);
}

/** Sends what is in place; fails with the normal world's result. */
export function* invoke(thread: Thread, exchange: Exchange): SecureTask {
  const { payload, route, requestSize, responseAt, responseSize } = exchange;
  const command = route.legacy ? RPC_CMD.RPMB : RPC_CMD.RPMB_FRAMES;
  const result = yield* rpcCommand(thread, command, [
    rpcMemref("in", payload, requestSize),
    rpcMemref("out", payload, responseSize, responseAt),
  ]);
  if (result !== TEEC.TEEC_SUCCESS) fail(result);
}

/** A copy of the response, so that it cannot change once it is checked. */
export const responseOf = ({ payload, responseAt, responseSize }: Exchange): Uint8Array =>
  payload.pages.read(responseAt, responseSize);

/** One frame there, `responseFrames` back. */
export function* exchangeFrames(
  thread: Thread,
  route: Route,
  request: Partial<RpmbFrame>,
  responseFrames: number,
  blockCount?: number,
): SecureTask<Uint8Array> {
  const exchange = yield* allocateExchange(thread, route, 1, responseFrames * FRAME_SIZE);
  putFrames(exchange, encodeFrames(request), blockCount);
  yield* invoke(thread, exchange);
  return responseOf(exchange);
}

/** GET_DEV_INFO of the legacy interface; GENERIC when the answer says that it failed (RPMB-2.1). */
export function* legacyDeviceInfo(thread: Thread, devId: number): SecureTask<RpmbDeviceInfo> {
  const route: Route = { legacy: true, devId };
  const exchange = yield* allocateExchange(thread, route, 0, RPMB_DEV_INFO.size);
  const header = new Uint8Array(RPMB_REQ.blockCount);
  const view = new DataView(header.buffer);
  view.setUint16(RPMB_REQ.cmd, RPMB_REQ_CMD.GET_DEV_INFO, true);
  view.setUint16(RPMB_REQ.devId, devId, true);
  exchange.payload.pages.write(0, header);
  const preset = Uint8Array.of(RPMB_DEV_INFO_RET.ERROR);
  exchange.payload.pages.write(exchange.responseAt + RPMB_DEV_INFO.retCode, preset);
  yield* invoke(thread, exchange);
  return decodeDeviceInfo(responseOf(exchange)) ?? fail(TEEC.TEEC_ERROR_GENERIC);
}

/** RPMB_PROBE_RESET: the memory type to use for frames, KERNEL or APPL (RPMB-2.2). */
export function* probeReset(thread: Thread): SecureTask<Route> {
  const answer = rpcValue("out");
  const result = yield* rpcCommand(thread, RPC_CMD.RPMB_PROBE_RESET, [answer]);
  if (result !== TEEC.TEEC_SUCCESS) fail(result);
  const shmType = rpcWord(answer, 0);
  if (shmType !== SHM_TYPE.APPL && shmType !== SHM_TYPE.KERNEL) fail(TEEC.TEEC_ERROR_GENERIC);
  return { legacy: false, shmType };
}

/** RPMB_PROBE_NEXT: the next part, those with a longer id passed over (RPMB-5.1.3). */
export function* probeNext(thread: Thread): SecureTask<RpmbDeviceInfo> {
  const payload = yield* cachedPayload(thread, "RPMB", CID.size, SHM_TYPE.KERNEL);
  if (payload === undefined) return fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
  for (;;) {
    const answer = rpcValue("out");
    const id = rpcMemref("out", payload, CID.size);
    const result = yield* rpcCommand(thread, RPC_CMD.RPMB_PROBE_NEXT, [answer, id]);
    if (result === TEEC.TEEC_ERROR_SHORT_BUFFER) continue;
    if (result !== TEEC.TEEC_SUCCESS) fail(result);
    if (rpcWord(answer, 0) !== RPMB_DEVICE.EMMC) fail(TEEC.TEEC_ERROR_NOT_SUPPORTED);
    return {
      cid: payload.pages.read(0, CID.size),
      // Both fields have 8 bits where they are kept.
      sizeMultiplier: rpcWord(answer, 1) & 0xff,
      relWrSecC: rpcWord(answer, 2) & 0xff,
    };
  }
}
