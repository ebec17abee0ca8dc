import { type MsgParam, RPC_CMD, SHM_TYPE, TEEC } from "../../optee-abi/index.ts";
import {
  decodeRequestHeader,
  encodeDeviceInfo,
  FRAME_SIZE,
  RPMB_REQ,
  RPMB_REQ_CMD,
  type RpmbDevice,
} from "../../rpmb/index.ts";
import type { PayloadAccess } from "./files.ts";

/** The normal world's way to RPMB parts: through the supplicant, or through the kernel. */
export class KitRpmb {
  devices: readonly RpmbDevice[] = [];
  /** Whether the kernel routes; else probing is NOT_SUPPORTED and the supplicant serves. */
  kernelRouting = true;
  /** Requests in order, and answers, as bytes: what a trace of the bus has. */
  readonly requests: Uint8Array[] = [];
  /** Changes an answer on its way. */
  tamper: ((answer: Uint8Array, request: Uint8Array) => Uint8Array) | undefined;
  #selected = -1;

  /** Serves one command; undefined when it is none of RPMB. */
  serve(command: number, params: MsgParam[], access: PayloadAccess): number | undefined {
    const [first, second] = params;
    switch (command) {
      case RPC_CMD.RPMB:
        return this.#legacy(first, second, access);
      case RPC_CMD.RPMB_PROBE_RESET:
        if (!this.kernelRouting || first === undefined) return TEEC.TEEC_ERROR_NOT_SUPPORTED;
        this.#selected = -1;
        first.a = BigInt(SHM_TYPE.KERNEL);
        return TEEC.TEEC_SUCCESS;
      case RPC_CMD.RPMB_PROBE_NEXT: {
        this.#selected += 1;
        const device = this.devices[this.#selected];
        if (device === undefined || first === undefined || second === undefined) {
          return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
        }
        const { sizeMultiplier, relWrSecC } = device;
        Object.assign(first, { a: 0n, b: BigInt(sizeMultiplier), c: BigInt(relWrSecC) });
        access.write(second, device.cid);
        return TEEC.TEEC_SUCCESS;
      }
      case RPC_CMD.RPMB_FRAMES: {
        const device = this.devices[this.#selected];
        if (device === undefined || first === undefined || second === undefined) {
          return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
        }
        return this.#exchange(device, access.read(first), second, access);
      }
      default:
        return undefined;
    }
  }

  #legacy(
    first: MsgParam | undefined,
    second: MsgParam | undefined,
    access: PayloadAccess,
  ): number {
    const [device] = this.devices;
    if (first === undefined || second === undefined || device === undefined) {
      return TEEC.TEEC_ERROR_BAD_PARAMETERS;
    }
    const request = access.read(first);
    if (decodeRequestHeader(request).cmd === RPMB_REQ_CMD.GET_DEV_INFO) {
      access.write(second, encodeDeviceInfo(device));
      return TEEC.TEEC_SUCCESS;
    }
    return this.#exchange(device, request.subarray(RPMB_REQ.size), second, access);
  }

  #exchange(
    device: RpmbDevice,
    request: Uint8Array,
    into: MsgParam,
    access: PayloadAccess,
  ): number {
    this.requests.push(request.slice());
    const answer = device.frames(request, Number(into.b) / FRAME_SIZE);
    access.write(into, this.tamper?.(answer, request) ?? answer);
    return TEEC.TEEC_SUCCESS;
  }
}
