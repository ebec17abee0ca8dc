import type { KeyObject } from "node:crypto";
import type { RpmbDevice } from "./device.ts";
import {
  BLOCK_SIZE,
  fieldOf,
  FRAME,
  FRAME_SIZE,
  numberOf,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  setField,
  setNumber,
  SIZE_UNIT,
} from "./frame.ts";
import { intoKey } from "./key.ts";
import { framesAuthentic, signFrames } from "./mac.ts";

/** CID of the card that tee-supplicant emulates: "MMC04G", revision 0x42. */
export const SUPPLICANT_CID: Uint8Array = Uint8Array.from([
  0xfe, 0x01, 0x4e, 0x4d, 0x4d, 0x43, 0x30, 0x34, 0x47, 0x42, 0xc8, 0xf6, 0x55, 0x2a, 0x61, 0x15,
]);

interface LastOperation {
  type: number;
  address: number;
  result: number;
  nonce: Uint8Array;
}

/**
 * The card that tee-supplicant emulates unless it is built without: not a part as JEDEC has it, and
 * its deviations are kept (RPMB-6.2). It checks no write counter and counts frames instead of
 * requests, says authentication failure to a write without a key, and gives unauthenticated data
 * before there is one. Its state ends with the supplicant's process.
 */
export class SupplicantRpmb implements RpmbDevice {
  readonly cid = SUPPLICANT_CID;
  readonly sizeMultiplier = 2;
  readonly relWrSecC = 1;
  readonly #data = new Uint8Array(2 * SIZE_UNIT);
  #key: KeyObject | undefined;
  #counter = 0;
  readonly #last: LastOperation = { type: 0, address: 0, result: 0, nonce: new Uint8Array(16) };

  get keyProgrammed(): boolean {
    return this.#key !== undefined;
  }

  get writeCounter(): number {
    return this.#counter;
  }

  /** See `RpmbDevice`. Throws RangeError unless `request` has a whole frame. */
  frames(request: Uint8Array, responseFrames: number): Uint8Array {
    this.#take(request);
    return this.#give(responseFrames);
  }

  /** The result-register read is ignored here, as are types that do not exist. */
  #take(frames: Uint8Array): void {
    const last = this.#last;
    const type = numberOf(frames, FRAME.type);
    const address = numberOf(frames, FRAME.address);
    switch (type) {
      case RPMB_REQUEST.PROGRAM_KEY:
        last.type = type;
        last.result = this.#programKey(frames);
        return;
      case RPMB_REQUEST.WRITE_DATA:
        Object.assign(last, { type, address });
        last.result = this.#write(frames, address);
        return;
      case RPMB_REQUEST.READ_COUNTER:
      case RPMB_REQUEST.READ_DATA:
        Object.assign(last, { type, address, nonce: new Uint8Array(fieldOf(frames, FRAME.nonce)) });
        return;
      default:
    }
  }

  #programKey(frames: Uint8Array): number {
    if (this.#key !== undefined) return RPMB_RESULT.GENERAL_FAILURE;
    this.#key = intoKey(new Uint8Array(fieldOf(frames, FRAME.keyMac)));
    return RPMB_RESULT.OK;
  }

  #write(frames: Uint8Array, address: number): number {
    const count = Math.floor(frames.length / FRAME_SIZE);
    if ((address + count) * BLOCK_SIZE > this.#data.length) return RPMB_RESULT.ADDRESS_FAILURE;
    if (this.#key === undefined || !framesAuthentic(this.#key, frames)) {
      return RPMB_RESULT.AUTHENTICATION_FAILURE;
    }
    for (let index = 0; index < count; index += 1) {
      this.#data.set(fieldOf(frames, FRAME.data, index), (address + index) * BLOCK_SIZE);
      this.#counter = (this.#counter + 1) >>> 0;
    }
    return RPMB_RESULT.OK;
  }

  #give(count: number): Uint8Array {
    const { type, address, result, nonce } = this.#last;
    const frames = new Uint8Array(count * FRAME_SIZE);
    switch (type) {
      case RPMB_REQUEST.PROGRAM_KEY:
        setNumber(frames, FRAME.type, RPMB_RESPONSE.PROGRAM_KEY);
        setNumber(frames, FRAME.result, result);
        return frames;
      case RPMB_REQUEST.WRITE_DATA:
        setNumber(frames, FRAME.type, RPMB_RESPONSE.WRITE_DATA);
        setNumber(frames, FRAME.result, result);
        setNumber(frames, FRAME.address, address);
        setNumber(frames, FRAME.writeCounter, this.#counter);
        return this.#signed(frames);
      case RPMB_REQUEST.READ_COUNTER:
        setNumber(frames, FRAME.type, RPMB_RESPONSE.READ_COUNTER);
        setNumber(frames, FRAME.writeCounter, this.#counter);
        setField(frames, FRAME.nonce, nonce);
        if (this.#key !== undefined) return this.#signed(frames);
        setNumber(frames, FRAME.result, RPMB_RESULT.KEY_NOT_PROGRAMMED);
        return frames;
      case RPMB_REQUEST.READ_DATA:
        return this.#read(frames, count, address, nonce);
      default:
        return frames;
    }
  }

  /** Data out of bounds leaves the answer untouched: no type, no result. */
  #read(frames: Uint8Array, count: number, address: number, nonce: Uint8Array): Uint8Array {
    if ((address + count) * BLOCK_SIZE > this.#data.length) return frames;
    for (let index = 0; index < count; index += 1) {
      const at = (address + index) * BLOCK_SIZE;
      setField(frames, FRAME.data, this.#data.subarray(at, at + BLOCK_SIZE), index);
      setField(frames, FRAME.nonce, nonce, index);
      setNumber(frames, FRAME.type, RPMB_RESPONSE.READ_DATA, index);
      setNumber(frames, FRAME.address, address, index);
      // The count is stored in the order of the host, which is little-endian.
      setNumber(frames, FRAME.blockCount, ((count & 0xff) << 8) | ((count >> 8) & 0xff), index);
    }
    return this.#signed(frames);
  }

  #signed(frames: Uint8Array): Uint8Array {
    if (this.#key !== undefined) signFrames(this.#key, frames);
    return frames;
  }
}
