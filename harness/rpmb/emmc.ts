import type { KeyObject } from "node:crypto";
import { needsResultRead, type RpmbDevice } from "./device.ts";
import {
  BLOCK_SIZE,
  COUNTER_EXPIRED,
  fieldOf,
  FRAME,
  FRAME_SIZE,
  MAX_COUNTER,
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
import { PartMemory } from "./memory.ts";
import { PowerCut, PowerSupply } from "./power.ts";
import {
  type EmmcRegisterOptions,
  type EmmcRegisters,
  emmcRegisters,
  extCsdField,
  WR_REL_PARAM,
} from "./registers.ts";
import { BLANK_CELLS, type RpmbKeeper, type RpmbSnapshot, type SecureWpMode } from "./state.ts";

export interface EmmcRpmbOptions extends EmmcRegisterOptions {
  /** The key of a part that was programmed before. */
  readonly key?: KeyObject;
  /** The write counter of a part that was used before. */
  readonly writeCounter?: number;
}

/** Frames that one write may have. */
const WRITE_SIZES = [1, 2];
const ENHANCED_WRITE_SIZE = 32;
const READS: readonly number[] = [
  RPMB_REQUEST.READ_COUNTER,
  RPMB_REQUEST.READ_DATA,
  RPMB_REQUEST.CONFIG_READ,
];
/** Addresses of a configuration write: SECURE_WP_MODE_ENABLE and SECURE_WP_MODE_CONFIG. */
const CONFIG_ADDRESS = { ENABLE: 1, CONFIG: 2 } as const;

interface PendingRead {
  readonly type: number;
  readonly nonce: Uint8Array;
  readonly address: number;
}

/**
 * The RPMB partition of an eMMC part as JESD84-B51 has it (sheet RPMB sections 1 and 9). Key, write
 * counter, configuration and data outlive power cuts; the result register and a request under way do
 * not. They are kept in memory, or in a file by `openRpmbState`.
 */
export class EmmcRpmb implements RpmbDevice {
  readonly cid: Uint8Array;
  readonly sizeMultiplier: number;
  readonly relWrSecC: number;
  readonly power = new PowerSupply();
  /** How many of the coming writes fail in the flash, with WRITE_FAILURE and no other effect. */
  failingWrites = 0;
  /** How many of the coming reads of data or configuration fail, with READ_FAILURE. */
  failingReads = 0;
  readonly #memory: PartMemory;
  readonly #writeSizes: readonly number[];
  /** The answer to the last operation, unless it was a read. */
  #result: Uint8Array | undefined;
  /** Of the last operation, where it was a read. */
  #last = NOTHING;
  #pending: PendingRead | undefined;

  /**
   * A part of that description; `as` is for `EmmcRpmb.from`. Throws RangeError for a CID that is not
   * 16 bytes, a size over 16 MiB or a key not 32 bytes.
   */
  constructor(options: EmmcRpmbOptions, as?: { snapshot: RpmbSnapshot; keeper?: RpmbKeeper }) {
    const snapshot = as?.snapshot ?? newPart(options);
    const { cid, extCsd } = snapshot.registers;
    this.#memory = new PartMemory(snapshot, as?.keeper);
    this.cid = new Uint8Array(cid);
    this.sizeMultiplier = extCsdField(extCsd, "RPMB_SIZE_MULT");
    this.relWrSecC = extCsdField(extCsd, "REL_WR_SEC_C");
    const enhanced = extCsdField(extCsd, "WR_REL_PARAM") & WR_REL_PARAM.EN_RPMB_REL_WR;
    this.#writeSizes = enhanced === 0 ? WRITE_SIZES : [...WRITE_SIZES, ENHANCED_WRITE_SIZE];
  }

  /** A part as it was before, kept by `keeper` from then on. Throws RangeError as `new` does. */
  static from(snapshot: RpmbSnapshot, keeper?: RpmbKeeper): EmmcRpmb {
    const { cid, extCsd } = snapshot.registers;
    const sizeMultiplier = extCsdField(extCsd, "RPMB_SIZE_MULT");
    const as = keeper === undefined ? { snapshot } : { snapshot, keeper };
    return new EmmcRpmb({ cid, sizeMultiplier }, as);
  }

  /** Blocks of 256 bytes (RPMB-1.5). */
  get blocks(): number {
    return this.#memory.data.length / BLOCK_SIZE;
  }

  get keyProgrammed(): boolean {
    return this.#memory.cells.key !== undefined;
  }

  get writeCounter(): number {
    return this.#memory.cells.writeCounter;
  }

  /** SECURE_WP_MODE_ENABLE and SECURE_WP_MODE_CONFIG. */
  get secureWp(): SecureWpMode {
    return this.#memory.cells.secureWp;
  }

  /** A copy of the registers, as CMD2, CMD9 and CMD8 read them. */
  get registers(): EmmcRegisters {
    return this.#memory.registers;
  }

  /** A copy of the partition's data: what the cells hold, not a secret of the part. */
  image(): Uint8Array {
    return this.#memory.data.slice();
  }

  /** The part as it is now, to make it again or to go back to. It shares nothing but the key. */
  snapshot(): RpmbSnapshot {
    return this.#memory.snapshot();
  }

  /**
   * Another part in memory with this one's key, counter and data as they are now, powered on; with
   * another counter or other data where they are given. Throws RangeError when they do not fit.
   */
  copy(other: Partial<Pick<RpmbSnapshot, "writeCounter" | "data">> = {}): EmmcRpmb {
    return EmmcRpmb.from({ ...this.snapshot(), ...other });
  }

  /**
   * What no real part allows: key, counter, data and configuration are as they were in `snapshot`,
   * after a power cycle. Throws RangeError for one of a part with another CID or size, RpmbStateError
   * where it cannot be kept.
   */
  restore(snapshot: RpmbSnapshot): void {
    this.#memory.replace(snapshot);
    this.powerOn();
  }

  /** What no real part allows either: the part is as it left its factory. */
  erase(): void {
    const { registers, data } = this.snapshot();
    this.restore({ ...BLANK_CELLS, registers, data: data.fill(0) });
  }

  /** Gives the state file back; the part cannot be used any more. A second time nothing happens. */
  close(): void {
    this.#memory.close();
  }

  /** Ends a power cut. */
  powerOn(): void {
    this.#result = undefined;
    this.#last = NOTHING;
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
    this.#pending = undefined;
    if (type === RPMB_REQUEST.READ_RESULT) return;
    this.#result = undefined;
    this.#last = NOTHING;
    if (type === RPMB_REQUEST.PROGRAM_KEY) {
      const result = reliable && count === 1 ? this.#programKey(frames) : FAILED;
      this.#result = this.#answer(RPMB_RESPONSE.PROGRAM_KEY, result);
    } else if (type === RPMB_REQUEST.WRITE_DATA) {
      const result = this.#writeData(frames, count, reliable);
      this.#result = this.#written(RPMB_RESPONSE.WRITE_DATA, result, frames);
    } else if (type === RPMB_REQUEST.CONFIG_WRITE) {
      const result = this.#writeConfig(frames, count, reliable);
      this.#result = this.#written(RPMB_RESPONSE.CONFIG_WRITE, result, frames);
    } else if (READS.includes(type) && count === 1) {
      const nonce = new Uint8Array(fieldOf(frames, FRAME.nonce));
      this.#pending = { type, nonce, address: numberOf(frames, FRAME.address) };
    } else {
      // Types that JEDEC reserves, and reads that are asked for in more than one frame.
      this.#result = this.#signed(this.#answer((type & 0xff) << 8, FAILED));
    }
  }

  /** CMD23 and CMD18: `count` response frames. Throws RangeError for none, PowerCut as above. */
  read(count: number): Uint8Array {
    if (!Number.isInteger(count) || count < 1) throw new RangeError(`${count} frames to read`);
    const pending = this.#pending;
    this.#pending = undefined;
    const answer = pending === undefined ? this.#register(count) : this.#answerRead(pending, count);
    this.#transfer(count);
    return answer;
  }

  /** The result register, as one frame. */
  #register(count: number): Uint8Array {
    const { type, result } = this.#last;
    const answer = new Uint8Array(count * FRAME_SIZE);
    answer.set(this.#result ?? this.#answer(type, result));
    return answer;
  }

  #answerRead(pending: PendingRead, count: number): Uint8Array {
    const answer =
      pending.type === RPMB_REQUEST.READ_DATA
        ? this.#readData(pending, count)
        : this.#readRegister(pending, count);
    this.#last = { type: numberOf(answer, FRAME.type), result: numberOf(answer, FRAME.result) };
    return answer;
  }

  #transfer(count: number): void {
    this.#memory.use();
    for (let frame = 0; frame < count; frame += 1) {
      if (!this.power.pass()) throw new PowerCut();
    }
  }

  #programKey(frames: Uint8Array): number {
    if (this.keyProgrammed) return FAILED;
    this.#memory.change({ key: intoKey(new Uint8Array(fieldOf(frames, FRAME.keyMac))) });
    return RPMB_RESULT.OK;
  }

  /**
   * The checks in the order of RPMB-1.2, and the result of the first one that fails. `sized` and
   * `inRange` are what differs between data and configuration.
   */
  #checkWrite(frames: Uint8Array, sized: boolean, inRange: boolean): number {
    const { key, writeCounter } = this.#memory.cells;
    if (key === undefined) return RPMB_RESULT.KEY_NOT_PROGRAMMED;
    if (writeCounter === MAX_COUNTER) return RPMB_RESULT.WRITE_FAILURE;
    if (!sized) return FAILED;
    if (!inRange) return RPMB_RESULT.ADDRESS_FAILURE;
    if (!framesAuthentic(key, frames)) return RPMB_RESULT.AUTHENTICATION_FAILURE;
    if (numberOf(frames, FRAME.writeCounter) !== writeCounter) return RPMB_RESULT.COUNTER_FAILURE;
    if (this.failingWrites > 0) {
      this.failingWrites -= 1;
      return RPMB_RESULT.WRITE_FAILURE;
    }
    return RPMB_RESULT.OK;
  }

  /** The write happens whole or not at all, and counts once (RPMB-1.2). */
  #writeData(frames: Uint8Array, count: number, reliable: boolean): number {
    const address = numberOf(frames, FRAME.address);
    const sized = reliable && this.#writeSizes.includes(count) && consistent(frames, count);
    const result = this.#checkWrite(frames, sized, address + count <= this.blocks);
    if (result !== RPMB_RESULT.OK) return result;
    const writeCounter = this.writeCounter + 1;
    const bytes = count === 1 ? fieldOf(frames, FRAME.data) : dataOf(frames, count);
    this.#memory.change({ writeCounter }, { at: address * BLOCK_SIZE, bytes });
    return RPMB_RESULT.OK;
  }

  /** One register of the configuration area, by its address; its value is the last byte of data. */
  #writeConfig(frames: Uint8Array, count: number, reliable: boolean): number {
    const address = numberOf(frames, FRAME.address);
    const sized = reliable && count === 1 && consistent(frames, count);
    const known = address === CONFIG_ADDRESS.ENABLE || address === CONFIG_ADDRESS.CONFIG;
    const result = this.#checkWrite(frames, sized, known);
    if (result !== RPMB_RESULT.OK) return result;
    const value = fieldOf(frames, FRAME.data).at(-1) ?? 0;
    const register = address === CONFIG_ADDRESS.ENABLE ? "enable" : "config";
    const secureWp = { ...this.secureWp, [register]: value };
    this.#memory.change({ writeCounter: this.writeCounter + 1, secureWp });
    return RPMB_RESULT.OK;
  }

  /** The answer to a write: the counter as it is now, and the address that was asked for. */
  #written(type: number, result: number, request: Uint8Array): Uint8Array {
    const answer = this.#answer(type, result);
    setNumber(answer, FRAME.writeCounter, this.writeCounter);
    setNumber(answer, FRAME.address, numberOf(request, FRAME.address));
    return this.#signed(answer);
  }

  /** Result of a read, but for its address; `flash` is whether it reads what may fail. */
  #readResult(sized: boolean, flash: boolean): number {
    if (!this.keyProgrammed) return RPMB_RESULT.KEY_NOT_PROGRAMMED;
    if (!sized) return FAILED;
    if (!flash || this.failingReads === 0) return RPMB_RESULT.OK;
    this.failingReads -= 1;
    return RPMB_RESULT.READ_FAILURE;
  }

  /** The write counter or the configuration area: one frame. */
  #readRegister({ type, nonce }: PendingRead, count: number): Uint8Array {
    const config = type === RPMB_REQUEST.CONFIG_READ;
    const result = this.#readResult(count === 1, config);
    const answer = this.#answer(type << 8, result, count);
    setField(answer, FRAME.nonce, nonce);
    if (!config) {
      setNumber(answer, FRAME.writeCounter, this.writeCounter);
    } else if (result === RPMB_RESULT.OK) {
      const { enable, config: mode } = this.secureWp;
      fieldOf(answer, FRAME.data).set([mode, enable], BLOCK_SIZE - 2);
    }
    return this.#signed(alike(answer));
  }

  #readData({ nonce, address }: PendingRead, count: number): Uint8Array {
    const beyond = this.keyProgrammed && address + count > this.blocks;
    const result = beyond ? RPMB_RESULT.ADDRESS_FAILURE : this.#readResult(true, true);
    const answer = this.#answer(RPMB_RESPONSE.READ_DATA, result, count);
    setField(answer, FRAME.nonce, nonce);
    setNumber(answer, FRAME.address, address);
    setNumber(answer, FRAME.blockCount, count & 0xffff);
    if (result === RPMB_RESULT.OK) {
      for (let index = 0; index < count; index += 1) {
        const at = (address + index) * BLOCK_SIZE;
        const block = this.#memory.data.subarray(at, at + BLOCK_SIZE);
        answer.set(block, index * FRAME_SIZE + FRAME.data.offset);
      }
    }
    return this.#signed(alike(answer));
  }

  /** `count` frames, the first with type and result, which has the expiry flag once it is reached. */
  #answer(type: number, result: number, count = 1): Uint8Array {
    const expired = this.writeCounter === MAX_COUNTER ? COUNTER_EXPIRED : 0;
    const frames = new Uint8Array(count * FRAME_SIZE);
    setNumber(frames, FRAME.type, type);
    setNumber(frames, FRAME.result, result | expired);
    return frames;
  }

  #signed(frames: Uint8Array): Uint8Array {
    const { key } = this.#memory.cells;
    if (key !== undefined) signFrames(key, frames);
    return frames;
  }
}

function newPart(options: EmmcRpmbOptions): RpmbSnapshot {
  const { key, writeCounter = 0, sizeMultiplier } = options;
  const registers = emmcRegisters(options);
  return {
    ...BLANK_CELLS,
    key,
    writeCounter,
    registers,
    data: new Uint8Array(sizeMultiplier * SIZE_UNIT),
  };
}

const FAILED = RPMB_RESULT.GENERAL_FAILURE;

/** What the result register says when nothing was done. */
const NOTHING = { type: 0, result: FAILED } as { readonly type: number; readonly result: number };

/** The frame that makes the result register the next answer. */
const RESULT_READ = new Uint8Array(FRAME_SIZE);
setNumber(RESULT_READ, FRAME.type, RPMB_REQUEST.READ_RESULT);

/** Gives every frame what the first one has behind its data. */
function alike(frames: Uint8Array): Uint8Array {
  const { offset } = FRAME.nonce;
  for (let frame = FRAME_SIZE; frame < frames.length; frame += FRAME_SIZE) {
    frames.copyWithin(frame + offset, offset, FRAME_SIZE);
  }
  return frames;
}

function dataOf(frames: Uint8Array, count: number): Uint8Array {
  const bytes = new Uint8Array(count * BLOCK_SIZE);
  for (let index = 0; index < count; index += 1) {
    bytes.set(fieldOf(frames, FRAME.data, index), index * BLOCK_SIZE);
  }
  return bytes;
}

/** Whether the frames of one write agree: type, address, counter, and the count is theirs. */
function consistent(frames: Uint8Array, count: number): boolean {
  if (numberOf(frames, FRAME.blockCount) !== count) return false;
  if (count === 1) return true;
  const start = FRAME.writeCounter.offset;
  const first = Buffer.from(frames.buffer, frames.byteOffset, FRAME_SIZE).subarray(start);
  for (let index = 1; index < count; index += 1) {
    const at = index * FRAME_SIZE;
    if (!first.equals(frames.subarray(at + start, at + FRAME_SIZE))) return false;
  }
  return true;
}
