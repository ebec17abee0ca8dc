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
  /** Requests in order, how many frames their answers have; no frames for device information. */
  readonly requests: { readonly frames: Uint8Array; readonly responseFrames: number }[] = [];
  /** Called before every request, by number from 1; may throw where the power goes. */
  onRequest: ((count: number) => void) | undefined;
  #count = 0;
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
      this.requests.push({ frames: new Uint8Array(0), responseFrames: 0 });
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
    const responseFrames = Number(into.b) / FRAME_SIZE;
    this.requests.push({ frames: request.slice(), responseFrames });
    this.#count += 1;
    this.onRequest?.(this.#count);
    const answer = device.frames(request, responseFrames);
    access.write(into, this.tamper?.(answer, request) ?? answer);
    return TEEC.TEEC_SUCCESS;
  }
}
