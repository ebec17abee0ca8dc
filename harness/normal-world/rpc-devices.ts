import {
  I2C_FLAGS_TEN_BIT,
  I2C_MODE,
  type MessageView,
  RPMB_DEVICE,
  SHM_TYPE,
  TEEC,
} from "../optee-abi/index.ts";
import { FRAME, FRAME_SIZE, numberOf, RPMB_REQUEST, type RpmbDevice } from "../rpmb/index.ts";
import { PARAM_ATTR } from "../tee-uapi/index.ts";
import type { Kernel } from "./kernel.ts";
import { fromRpcParams, paramsAre, toRpcParams } from "./rpc-params.ts";
import type { SupplicantParam } from "./supplicant-queue.ts";

const BAD = TEEC.TEEC_ERROR_BAD_PARAMETERS;
const { VALUE_INPUT, VALUE_OUTPUT, MEMREF_INPUT, MEMREF_OUTPUT, MEMREF_INOUT } = PARAM_ATTR;
const CHIP_MASK = 0xffff;

/** Parameters of exactly these types, or undefined. */
function shaped(
  kernel: Kernel,
  view: MessageView,
  ...attrs: number[]
): SupplicantParam[] | undefined {
  if (view.numParams !== attrs.length) return undefined;
  const params = fromRpcParams(kernel, view);
  return params !== undefined && paramsAre(params, ...attrs) ? params : undefined;
}

/**
 * I2C_TRANSFER: one message on one bus. The data are at the start of the memory object, whatever
 * offset the request names, and the answer is the length that was asked for (MSG-3.I2C_TRANSFER).
 */
export function i2cTransfer(kernel: Kernel, view: MessageView): number {
  if (kernel.i2c === undefined) return TEEC.TEEC_ERROR_NOT_SUPPORTED;
  const params = shaped(kernel, view, VALUE_INPUT, VALUE_INPUT, MEMREF_INOUT, VALUE_OUTPUT);
  if (params === undefined) return BAD;
  const [what, flags, data, done] = params;
  const bus = kernel.i2c.get(Number(what?.b ?? 0n));
  if (bus === undefined || what === undefined || flags === undefined) return BAD;
  if (data?.shm === undefined || done === undefined) return BAD;
  const tenBit = (Number(flags.a & 0xffn) & I2C_FLAGS_TEN_BIT) !== 0;
  if (tenBit && !bus.tenBit) return BAD;
  const chip = Number(what.c & BigInt(CHIP_MASK));
  const length = Number(data.b & 0xffffn);
  const { span } = data.shm;
  switch (Number(what.a)) {
    case I2C_MODE.RD: {
      const bytes = bus.read(chip, length, tenBit);
      if (bytes === undefined) return TEEC.TEEC_ERROR_COMMUNICATION;
      span.write(bytes);
      break;
    }
    case I2C_MODE.WR:
      if (!bus.write(chip, span.read(0, length), tenBit)) return TEEC.TEEC_ERROR_COMMUNICATION;
      break;
    default:
      return BAD;
  }
  done.a = BigInt(length);
  toRpcParams(view, params);
  return TEEC.TEEC_SUCCESS;
}

/** RPMB devices of the kernel, walked and used by the secure world (MSG-3 commands 22 to 24). */
export class RpmbRouting {
  readonly #kernel: Kernel;
  readonly #devices: readonly RpmbDevice[];
  #next = 0;
  #current: RpmbDevice | undefined;

  constructor(kernel: Kernel, devices: readonly RpmbDevice[]) {
    this.#kernel = kernel;
    this.#devices = devices;
  }

  /** Starts the walk again and says which kind of memory frames go in. */
  reset(view: MessageView): number {
    const params = shaped(this.#kernel, view, VALUE_OUTPUT);
    const [type] = params ?? [];
    if (params === undefined || type === undefined) return BAD;
    this.#next = 0;
    this.#current = undefined;
    type.a = BigInt(SHM_TYPE.KERNEL);
    type.b = 0n;
    type.c = 0n;
    toRpcParams(view, params);
    return TEEC.TEEC_SUCCESS;
  }

  /** The next device, which from then on is the one that frames go to. */
  next(view: MessageView): number {
    const params = shaped(this.#kernel, view, VALUE_OUTPUT, MEMREF_OUTPUT);
    const [info, id] = params ?? [];
    if (params === undefined || info === undefined || id?.shm === undefined) return BAD;
    const device = this.#devices[this.#next];
    this.#current = device;
    // After the last one the walk starts again.
    this.#next = device === undefined ? 0 : this.#next + 1;
    if (device === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    if (id.b < BigInt(device.cid.length)) return TEEC.TEEC_ERROR_SHORT_BUFFER;
    id.shm.span.write(device.cid, Number(id.a));
    id.b = BigInt(device.cid.length);
    info.a = BigInt(RPMB_DEVICE.EMMC);
    info.b = BigInt(device.sizeMultiplier);
    info.c = BigInt(device.relWrSecC);
    toRpcParams(view, params);
    return TEEC.TEEC_SUCCESS;
  }

  /** Frames to the device and frames back, without a header. */
  frames(view: MessageView): number {
    const device = this.#current;
    if (device === undefined) return TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
    const params = shaped(this.#kernel, view, MEMREF_INPUT, MEMREF_OUTPUT);
    const [request, response] = params ?? [];
    if (request?.shm === undefined || response?.shm === undefined) return BAD;
    const room = Number(response.b);
    const bytes = request.shm.span.read(Number(request.a), Number(request.b));
    if (!isRoutable(bytes, room)) return BAD;
    response.shm.span.write(device.frames(bytes, room / FRAME_SIZE), Number(response.a));
    return TEEC.TEEC_SUCCESS;
  }
}

const whole = (length: number): boolean => length > 0 && length % FRAME_SIZE === 0;

/** What Linux's eMMC driver sends: known requests, one frame on the side that carries no data. */
function isRoutable(request: Uint8Array, room: number): boolean {
  if (!whole(request.length) || !whole(room)) return false;
  switch (numberOf(request, FRAME.type)) {
    case RPMB_REQUEST.PROGRAM_KEY:
    case RPMB_REQUEST.READ_COUNTER:
      return request.length === FRAME_SIZE && room === FRAME_SIZE;
    case RPMB_REQUEST.WRITE_DATA:
      return room === FRAME_SIZE;
    case RPMB_REQUEST.READ_DATA:
      return request.length === FRAME_SIZE;
    default:
      return false;
  }
}
