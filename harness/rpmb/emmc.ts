import type { KeyObject } from "node:crypto";
import { CID } from "./cid.ts";
import { needsResultRead, type RpmbDevice } from "./device.ts";
import {
  BLOCK_SIZE,
  COUNTER_EXPIRED,
  fieldOf,
  FRAME,
  FRAME_SIZE,
  MAX_COUNTER,
  MAX_SIZE_MULT,
  numberOf,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  setField,
  setNumber,
  SIZE_UNIT,
} from "./frame.ts";
import { intoKey, isRpmbKey } from "./key.ts";
import { framesAuthentic, signFrames } from "./mac.ts";
import { PowerCut, PowerSupply } from "./power.ts";

export interface EmmcRpmbOptions {
  /** 16 bytes in register order. */
  readonly cid: Uint8Array;
  /** EXT_CSD[168], 1 to 128 units of 128 KiB. */
  readonly sizeMultiplier: number;
  /** EXT_CSD[222]. */
  readonly relWrSecC?: number;
  /** WR_REL_PARAM.EN_RPMB_REL_WR: writes of 32 frames as well as of 1 and 2 (RPMB-1.6). */
  readonly enhancedReliableWrite?: boolean;
  /** The key of a part that was programmed before. */
  readonly key?: KeyObject;
  /** The write counter of a part that was used before. */
  readonly writeCounter?: number;
}

/** Frames that one write may have. */
const WRITE_SIZES = [1, 2];
const ENHANCED_WRITE_SIZE = 32;
const READS: readonly number[] = [RPMB_REQUEST.READ_COUNTER, RPMB_REQUEST.READ_DATA];

interface PendingRead {
  readonly type: number;
  readonly nonce: Uint8Array;
  readonly address: number;
}

/**
 * The RPMB partition of an eMMC part as JESD84-B51 has it (sheet RPMB sections 1 and 9). Key, write
 * counter and data outlive power cuts; the result register and a request under way do not.
 */
export class EmmcRpmb implements RpmbDevice {
  readonly cid: Uint8Array;
  readonly sizeMultiplier: number;
  readonly relWrSecC: number;
  readonly power = new PowerSupply();
  /** How many of the coming writes fail in the flash, with WRITE_FAILURE and no other effect. */
  failingWrites = 0;
  readonly #options: EmmcRpmbOptions;
  readonly #writeSizes: readonly number[];
  readonly #data: Uint8Array;
  #key: KeyObject | undefined;
  #counter: number;
  #result: Uint8Array | undefined;
  #pending: PendingRead | undefined;

  /** Throws RangeError for a CID that is not 16 bytes, a size over 16 MiB or a key not 32 bytes. */
  constructor(options: EmmcRpmbOptions) {
    const { cid, sizeMultiplier, key, writeCounter = 0 } = options;
    if (cid.length !== CID.size) throw new RangeError(`a CID has 16 bytes, not ${cid.length}`);
    if (!Number.isInteger(sizeMultiplier) || sizeMultiplier < 1 || sizeMultiplier > MAX_SIZE_MULT) {
      throw new RangeError(`RPMB_SIZE_MULT is 1 to ${MAX_SIZE_MULT}, not ${sizeMultiplier}`);
    }
    if (!Number.isInteger(writeCounter) || writeCounter < 0 || writeCounter > MAX_COUNTER) {
      throw new RangeError(`the write counter has 32 bits, ${writeCounter} does not fit`);
    }
    if (key !== undefined && !isRpmbKey(key)) throw new RangeError("an RPMB key has 32 bytes");
    this.#options = options;
    this.cid = cid.slice();
    this.sizeMultiplier = sizeMultiplier;
    this.relWrSecC = options.relWrSecC ?? 1;
    this.#writeSizes =
      options.enhancedReliableWrite === true ? [...WRITE_SIZES, ENHANCED_WRITE_SIZE] : WRITE_SIZES;
    this.#data = new Uint8Array(sizeMultiplier * SIZE_UNIT);
    this.#key = key;
    this.#counter = writeCounter;
  }

  /** Blocks of 256 bytes (RPMB-1.5). */
  get blocks(): number {
    return this.#data.length / BLOCK_SIZE;
  }

  get keyProgrammed(): boolean {
    return this.#key !== undefined;
  }

  get writeCounter(): number {
    return this.#counter;
  }

  /** A copy of the partition's data: what the cells hold, not a secret of the part. */
  image(): Uint8Array {
    return this.#data.slice();
  }

  /** Another part with this one's key, counter and data as they are now, powered on. */
  copy(): EmmcRpmb {
    const { key: _key, ...options } = this.#options;
    const twin = new EmmcRpmb({ ...options, writeCounter: this.#counter });
    twin.#key = this.#key;
    twin.#data.set(this.#data);
    return twin;
  }

  /** Ends a power cut. */
  powerOn(): void {
    this.#result = undefined;
    this.#pending = undefined;
    this.power.on();
  }

  /**
   * See `RpmbDevice`. Throws RangeError unless `request` is whole frames and at least one answer is
   * asked for, PowerCut when the power goes in the middle or is off.
   */
  frames(request: Uint8Array, responseFrames: number): Uint8Array {
    const type = numberOf(request, FRAME.type);
    this.write(request, needsResultRead(type));
    if (needsResultRead(type)) this.write(RESULT_READ, false);
    return this.read(responseFrames);
  }

  /**
   * CMD23 and CMD25: `reliable` is bit 31 of CMD23's argument, without which keys and data are not
   * written. Throws RangeError unless `frames` is whole frames, PowerCut as `frames` does.
   */
  write(frames: Uint8Array, reliable: boolean): void {
    const count = frames.length / FRAME_SIZE;
    if (!Number.isInteger(count) || count === 0) {
      throw new RangeError(`${frames.length} bytes are not whole frames`);
    }
    this.#transfer(count);
    const type = numberOf(frames, FRAME.type);
    if (type === RPMB_REQUEST.READ_RESULT) {
      this.#pending = undefined;
      return;
    }
    this.#pending = undefined;
    this.#result = undefined;
    if (type === RPMB_REQUEST.PROGRAM_KEY) {
      const result = reliable && count === 1 ? this.#programKey(frames) : FAILED;
      this.#result = this.#answer(RPMB_RESPONSE.PROGRAM_KEY, result);
    } else if (type === RPMB_REQUEST.WRITE_DATA) {
      const result = this.#writeData(frames, count, reliable);
      const answer = this.#answer(RPMB_RESPONSE.WRITE_DATA, result);
      setNumber(answer, FRAME.writeCounter, this.#counter);
      setNumber(answer, FRAME.address, numberOf(frames, FRAME.address));
      this.#result = this.#signed(answer);
    } else if (READS.includes(type) && count === 1) {
      const nonce = fieldOf(frames, FRAME.nonce).slice();
      this.#pending = { type, nonce, address: numberOf(frames, FRAME.address) };
    } else {
      // The device configuration block and types that JEDEC reserves.
      this.#result = this.#signed(this.#answer((type & 0xff) << 8, FAILED));
    }
  }

  /** CMD23 and CMD18: `count` response frames. Throws RangeError for none, PowerCut as above. */
  read(count: number): Uint8Array {
    if (!Number.isInteger(count) || count < 1) throw new RangeError(`${count} frames to read`);
    const pending = this.#pending;
    this.#pending = undefined;
    let answer: Uint8Array;
    if (pending?.type === RPMB_REQUEST.READ_DATA) {
      answer = this.#readData(pending, count);
    } else if (pending !== undefined) {
      answer = this.#readCounter(pending, count);
    } else {
      answer = new Uint8Array(count * FRAME_SIZE);
      answer.set(this.#result ?? this.#answer(0, FAILED));
    }
    this.#transfer(count);
    return answer;
  }

  #transfer(count: number): void {
    for (let frame = 0; frame < count; frame += 1) {
      if (!this.power.pass()) throw new PowerCut();
    }
  }

  #programKey(frames: Uint8Array): number {
    if (this.#key !== undefined) return FAILED;
    this.#key = intoKey(fieldOf(frames, FRAME.keyMac).slice());
    return RPMB_RESULT.OK;
  }

  /** The checks in the order of RPMB-1.2, then the write, whole or not at all. */
  #writeData(frames: Uint8Array, count: number, reliable: boolean): number {
    const key = this.#key;
    if (key === undefined) return RPMB_RESULT.KEY_NOT_PROGRAMMED;
    if (this.#counter === MAX_COUNTER) return RPMB_RESULT.WRITE_FAILURE;
    if (!reliable || !this.#writeSizes.includes(count) || !consistent(frames, count)) return FAILED;
    const address = numberOf(frames, FRAME.address);
    if (address + count > this.blocks) return RPMB_RESULT.ADDRESS_FAILURE;
    if (!framesAuthentic(key, frames)) return RPMB_RESULT.AUTHENTICATION_FAILURE;
    if (numberOf(frames, FRAME.writeCounter) !== this.#counter) return RPMB_RESULT.COUNTER_FAILURE;
    if (this.failingWrites > 0) {
      this.failingWrites -= 1;
      return RPMB_RESULT.WRITE_FAILURE;
    }
    for (let index = 0; index < count; index += 1) {
      this.#data.set(fieldOf(frames, FRAME.data, index), (address + index) * BLOCK_SIZE);
    }
    this.#counter += 1;
    return RPMB_RESULT.OK;
  }

  #readCounter({ nonce }: PendingRead, count: number): Uint8Array {
    const known = this.#key === undefined ? RPMB_RESULT.KEY_NOT_PROGRAMMED : RPMB_RESULT.OK;
    const answer = this.#answer(RPMB_RESPONSE.READ_COUNTER, count === 1 ? known : FAILED, count);
    setField(answer, FRAME.nonce, nonce);
    if (this.#key !== undefined) setNumber(answer, FRAME.writeCounter, this.#counter);
    return this.#signed(answer);
  }

  #readData({ nonce, address }: PendingRead, count: number): Uint8Array {
    let result: number = RPMB_RESULT.OK;
    if (this.#key === undefined) result = RPMB_RESULT.KEY_NOT_PROGRAMMED;
    else if (address + count > this.blocks) result = RPMB_RESULT.ADDRESS_FAILURE;
    const answer = this.#answer(RPMB_RESPONSE.READ_DATA, result, count);
    setField(answer, FRAME.nonce, nonce);
    setNumber(answer, FRAME.address, address);
    setNumber(answer, FRAME.blockCount, count & 0xffff);
    for (let index = 0; index < count; index += 1) {
      const frame = index * FRAME_SIZE;
      if (index > 0) answer.copyWithin(frame + FRAME.nonce.offset, FRAME.nonce.offset, FRAME_SIZE);
      if (result !== RPMB_RESULT.OK) continue;
      const at = (address + index) * BLOCK_SIZE;
      answer.set(this.#data.subarray(at, at + BLOCK_SIZE), frame + FRAME.data.offset);
    }
    return this.#signed(answer);
  }

  /** `count` frames with type and result; the expiry flag is in every one once it is reached. */
  #answer(type: number, result: number, count = 1): Uint8Array {
    const expired = this.#counter === MAX_COUNTER ? COUNTER_EXPIRED : 0;
    const frames = new Uint8Array(count * FRAME_SIZE);
    for (let index = 0; index < count; index += 1) {
      setNumber(frames, FRAME.type, type, index);
      setNumber(frames, FRAME.result, result | expired, index);
    }
    return frames;
  }

  #signed(frames: Uint8Array): Uint8Array {
    if (this.#key !== undefined) signFrames(this.#key, frames);
    return frames;
  }
}

const FAILED = RPMB_RESULT.GENERAL_FAILURE;

/** The frame that makes the result register the next answer. */
const RESULT_READ = new Uint8Array(FRAME_SIZE);
setNumber(RESULT_READ, FRAME.type, RPMB_REQUEST.READ_RESULT);

/** Whether the frames of one write agree: type, address, counter, and the count is theirs. */
function consistent(frames: Uint8Array, count: number): boolean {
  if (numberOf(frames, FRAME.blockCount) !== count) return false;
  const start = FRAME.writeCounter.offset;
  const first = Buffer.from(frames.buffer, frames.byteOffset, FRAME_SIZE).subarray(start);
  for (let index = 1; index < count; index += 1) {
    const at = index * FRAME_SIZE;
    if (!first.equals(frames.subarray(at + start, at + FRAME_SIZE))) return false;
  }
  return true;
}
