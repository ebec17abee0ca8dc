import { TEEC } from "../optee-abi/index.ts";
import {
  decodeRequestHeader,
  encodeDeviceInfo,
  FRAME,
  FRAME_SIZE,
  numberOf,
  RPMB_DEV_INFO,
  RPMB_REQ,
  RPMB_REQ_CMD,
  RPMB_REQUEST,
  type RpmbDevice,
  SupplicantRpmb,
} from "../rpmb/index.ts";
import type { ServiceParam } from "./supplicant-service.ts";
import { isUsable } from "./supplicant-ta.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const OK = TEEC.TEEC_SUCCESS;

export interface RpmbAccess {
  /** `/dev/mmcblkNrpmb` by N; undefined for a supplicant that emulates one card (RPMB-6). */
  readonly devices?: ReadonlyMap<number, RpmbDevice>;
  /** 16 bytes: use the device with this CID, whichever one is asked for (--rpmb-cid). */
  readonly cid?: Uint8Array;
}

/** The legacy RPMB service: one card emulated, or the machine's devices (MSG-3.RPMB, RPMB-2.1). */
export class SupplicantRpmbService {
  readonly #access: RpmbAccess;
  readonly #emulated = new SupplicantRpmb();

  constructor(access: RpmbAccess = {}) {
    this.#access = access;
  }

  serve(params: readonly ServiceParam[]): number {
    const [request, response] = params;
    if (!isUsable(request) || !isUsable(response) || request.bytes === undefined) return BAD;
    if (request.bytes.length < RPMB_REQ.size) return BAD;
    const header = decodeRequestHeader(request.bytes);
    const found = this.#device(header.devId);
    if (found === "no such CID") return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    switch (header.cmd) {
      case RPMB_REQ_CMD.DATA_REQ:
        if (found === undefined || response.bytes === undefined) return BAD;
        return transfer(found, request.bytes.subarray(RPMB_REQ.size), response.bytes);
      case RPMB_REQ_CMD.GET_DEV_INFO:
        if (request.bytes.length !== RPMB_REQ.size) return BAD;
        if (response.bytes?.length !== RPMB_DEV_INFO.size) return BAD;
        if (found === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
        response.bytes.set(encodeDeviceInfo(found));
        return OK;
      default:
        return BAD;
    }
  }

  #device(id: number): RpmbDevice | "no such CID" | undefined {
    const { devices, cid } = this.#access;
    if (devices === undefined) return this.#emulated;
    if (cid === undefined) return devices.get(id);
    const same = (one: RpmbDevice): boolean => Buffer.compare(one.cid, cid) === 0;
    return [...devices.values()].find(same) ?? "no such CID";
  }
}

/** Frames to the device; how many each side may have depends on the request (RPMB-6.1). */
function transfer(device: RpmbDevice, request: Uint8Array, response: Uint8Array): number {
  const asked = Math.floor(request.length / FRAME_SIZE);
  const room = Math.floor(response.length / FRAME_SIZE);
  // Of several frames the types are compared in different byte orders: they never agree (RPMB-6.1.3).
  if (asked !== 1) return BAD;
  switch (numberOf(request, FRAME.type)) {
    case RPMB_REQUEST.PROGRAM_KEY:
    case RPMB_REQUEST.WRITE_DATA:
    case RPMB_REQUEST.READ_COUNTER:
      if (room !== 1) return BAD;
      break;
    case RPMB_REQUEST.READ_DATA:
      // A read of nothing is an ioctl that fails (RPMB-6.1.4).
      if (room === 0) return TEEC.TEEC_ERROR_GENERIC;
      break;
    default:
      return TEEC.TEEC_ERROR_GENERIC;
  }
  response.set(device.frames(request.subarray(0, FRAME_SIZE), room));
  return OK;
}
