import type { KeyObject } from "node:crypto";
import { timingSafeEqual } from "node:crypto";
import { TEEC } from "../../optee-abi/index.ts";
import {
  BLOCK_SIZE,
  decodeFrame,
  deriveRpmbKey,
  encodeFrames,
  FRAME_SIZE,
  framesAuthentic,
  NONCE_SIZE,
  RPMB_REQUEST,
  RPMB_RESPONSE,
  RPMB_RESULT,
  type RpmbDeviceInfo,
  type RpmbFrame,
  rpmbTestKey,
  signFrames,
} from "../../rpmb/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail, Failure } from "./failure.ts";
import {
  allocateExchange,
  clearExchange,
  exchangeFrames,
  invoke,
  legacyDeviceInfo,
  probeNext,
  probeReset,
  putFrames,
  responseOf,
  type Route,
} from "./rpmb-wire.ts";
import type { StorageCore } from "./storage-core.ts";

/** Blocks of an RPMB_SIZE_MULT unit. */
const UNIT_BLOCKS = 512;
const MAX_ATTEMPTS = 10;
/** Bits of a result that are looked at: that the counter expired is not noticed (RPMB-5.3.1). */
const RESULT_MASK = 0x3f;

/** What a response must be, beside authentic. */
interface Expected {
  readonly type: number;
  readonly address?: number;
}

/** A way to encrypt and decrypt whole blocks. */
export type BlockCipher = (
  direction: "encrypt" | "decrypt",
  index: number,
  block: Uint8Array,
) => Uint8Array;

/**
 * The RPMB partition as OP-TEE's core uses it: it finds a part whose key is its own, and reads and
 * writes authenticated blocks (sheet RPMB section 5). All of it fails with `Failure`.
 */
export class RpmbPartition {
  readonly #core: StorageCore;
  #route: Route | undefined;
  #key: KeyObject | undefined;
  #info: RpmbDeviceInfo | undefined;
  #counter = 0;
  #keyVerified = false;
  #counterSynced = false;
  /** After a write whose outcome is unknown nothing is tried before the next boot (RPMB-5.1.1). */
  #dead = false;
  #reinit = false;

  constructor(core: StorageCore) {
    this.#core = core;
  }

  /** The highest block index; also finds the part when that was not done. */
  *maxBlock(thread: Thread): SecureTask<number> {
    if (this.#dead) fail(TEEC.TEEC_ERROR_COMMUNICATION);
    if (this.#info === undefined) yield* this.#init(thread);
    return this.#lastBlock();
  }

  #lastBlock(): number {
    return (this.#info?.sizeMultiplier ?? 0) * UNIT_BLOCKS - 1;
  }

  /** What the device PTA asks for when the kernel announces a part (RPMB-5.1.4). */
  *reinit(thread: Thread): SecureTask {
    this.#reinit = true;
    yield* this.#init(thread);
  }

  *#init(thread: Thread): SecureTask {
    if (this.#dead) fail(TEEC.TEEC_ERROR_COMMUNICATION);
    if (this.#reinit && this.#keyVerified) {
      yield* this.#findAgain(thread);
      return;
    }
    if (this.#reinit) {
      this.#counterSynced = false;
      this.#key = undefined;
      this.#info = undefined;
      this.#reinit = false;
    }
    if (this.#keyVerified) return;
    if (this.#core.build.rpmbWriteKey || !(yield* this.#probe(thread))) {
      yield* this.#legacyInit(thread);
      return;
    }
    for (;;) {
      const info = yield* probeNext(thread);
      if (infoFailure(info) !== undefined) continue;
      this.#info = info;
      this.#key = this.#derive(info.cid);
      try {
        yield* this.#readCounter(thread);
        break;
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
      }
    }
    this.#keyVerified = true;
    this.#counterSynced = true;
  }

  /** Whether the normal world's kernel routes requests; else they go through the supplicant. */
  *#probe(thread: Thread): SecureTask<boolean> {
    // Before 4.4 there was no probing.
    if (!this.#core.since(4, 4)) return false;
    try {
      this.#route = yield* probeReset(thread);
      return true;
    } catch (error) {
      const notThere =
        error instanceof Failure &&
        (error.code === TEEC.TEEC_ERROR_NOT_SUPPORTED ||
          (error.code === TEEC.TEEC_ERROR_NOT_IMPLEMENTED && this.#core.since(4, 5)));
      if (!notThere) throw error;
      return false;
    }
  }

  *#findAgain(thread: Thread): SecureTask {
    if (!(yield* this.#probe(thread))) {
      yield* this.#legacyInit(thread);
      return;
    }
    for (;;) {
      const { cid } = yield* probeNext(thread);
      if (Buffer.from(cid).equals(this.#info?.cid ?? new Uint8Array(0))) break;
    }
    this.#reinit = false;
  }

  *#legacyInit(thread: Thread): SecureTask {
    const devId = this.#core.build.rpmbDevId;
    this.#route = { legacy: true, devId };
    if (this.#info === undefined) {
      const info = yield* legacyDeviceInfo(thread, devId);
      const failure = infoFailure(info);
      if (failure !== undefined) fail(failure);
      this.#info = info;
    }
    this.#key ??= this.#derive(this.#info.cid);
    if (this.#counterSynced && this.#keyVerified) return;
    try {
      yield* this.#readCounter(thread);
    } catch (error) {
      const blank = error instanceof Failure && error.code === TEEC.TEEC_ERROR_ITEM_NOT_FOUND;
      if (!blank || this.#keyVerified) throw error;
      yield* this.#programKey(thread, this.#key);
      return;
    }
    this.#keyVerified = true;
    this.#counterSynced = true;
  }

  #derive(cid: Uint8Array): KeyObject {
    const { core, build, compatKeys } = this.#core;
    if (build.rpmbTestKey) return rpmbTestKey();
    return deriveRpmbKey(core.huk, cid, { compat: compatKeys });
  }

  /** RPMB-5.2: only a build that may write keys does; that it worked is seen at the next access. */
  *#programKey(thread: Thread, key: KeyObject): SecureTask {
    if (!this.#core.build.rpmbWriteKey) fail(TEEC.TEEC_ERROR_STORAGE_NOT_AVAILABLE);
    if (!this.#core.core.rpmbKeyReady()) fail(TEEC.TEEC_ERROR_BAD_STATE);
    const keyMac = Uint8Array.from(key.export());
    const request = { type: RPMB_REQUEST.PROGRAM_KEY, keyMac };
    const response = yield* exchangeFrames(thread, this.#way(), request, 1);
    checkFrame(decodeFrame(response), { type: RPMB_RESPONSE.PROGRAM_KEY });
    yield* this.#readCounter(thread);
  }

  *#readCounter(thread: Thread): SecureTask {
    const nonce = this.#core.random(NONCE_SIZE);
    const request = { type: RPMB_REQUEST.READ_COUNTER, nonce };
    const response = yield* exchangeFrames(thread, this.#way(), request, 1);
    const frame = decodeFrame(response);
    checkFrame(frame, { type: RPMB_RESPONSE.READ_COUNTER }, () => {
      this.#counter = frame.writeCounter;
    });
    this.#authenticate(response, frame, nonce);
  }

  /** Reads `count` blocks from `index`. */
  *readBlocks(
    thread: Thread,
    index: number,
    count: number,
    cipher?: BlockCipher,
  ): SecureTask<Uint8Array> {
    yield* this.#init(thread);
    const nonce = this.#core.random(NONCE_SIZE);
    // Only the first block is held against the end here; the part looks at all of them.
    if (index > this.#lastBlock()) fail(TEEC.TEEC_ERROR_GENERIC);
    const request = { type: RPMB_REQUEST.READ_DATA, nonce, address: index };
    const response = yield* exchangeFrames(thread, this.#way(), request, count, count);
    const last = decodeFrame(response, count - 1);
    checkFrame(last, { type: RPMB_RESPONSE.READ_DATA, address: index });
    this.#authenticate(response, last, nonce);
    const data = new Uint8Array(count * BLOCK_SIZE);
    for (let block = 0; block < count; block += 1) {
      const bytes = decodeFrame(response, block).data;
      const plain = cipher === undefined ? bytes : cipher("decrypt", index + block, bytes);
      data.set(plain, block * BLOCK_SIZE);
    }
    return data;
  }

  /** Writes whole blocks from `index`, one a request (RPMB-4.REL_WR_BLKCNT). */
  *writeBlocks(thread: Thread, index: number, data: Uint8Array, cipher?: BlockCipher): SecureTask {
    yield* this.#init(thread);
    for (let block = 0; block * BLOCK_SIZE < data.length; block += 1) {
      const bytes = data.subarray(block * BLOCK_SIZE, (block + 1) * BLOCK_SIZE);
      yield* this.#writeBlock(thread, index + block, bytes, cipher);
    }
  }

  /** Up to ten attempts with the same content; then the partition is dead (RPMB-5.4). */
  *#writeBlock(
    thread: Thread,
    address: number,
    bytes: Uint8Array,
    cipher: BlockCipher | undefined,
  ): SecureTask {
    const key = this.#key ?? fail(TEEC.TEEC_ERROR_GENERIC);
    if (address > this.#lastBlock()) fail(TEEC.TEEC_ERROR_GENERIC);
    const exchange = yield* allocateExchange(thread, this.#way(), 1, FRAME_SIZE);
    const data = cipher === undefined ? bytes : cipher("encrypt", address, bytes);
    const common = { type: RPMB_REQUEST.WRITE_DATA, data, address, blockCount: 1 };
    let writeCounter = this.#counter;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      clearExchange(exchange);
      const request = encodeFrames({ ...common, writeCounter });
      signFrames(key, request);
      putFrames(exchange, request, 0);
      try {
        yield* invoke(thread, exchange);
        const response = responseOf(exchange);
        const frame = decodeFrame(response);
        const before = writeCounter;
        checkFrame(frame, { type: RPMB_RESPONSE.WRITE_DATA, address }, () => {
          // Taken over before it is known to be authentic, for the next attempt.
          writeCounter = frame.writeCounter;
        });
        if (frame.writeCounter !== before + 1) fail(TEEC.TEEC_ERROR_SECURITY);
        this.#counter += 1;
        this.#authenticate(response, frame, undefined);
        return;
      } catch (error) {
        if (!(error instanceof Failure)) throw error;
        this.#counterSynced = false;
      }
    }
    this.#dead = true;
    fail(TEEC.TEEC_ERROR_COMMUNICATION);
  }

  #authenticate(frames: Uint8Array, last: RpmbFrame, nonce: Uint8Array | undefined): void {
    if (nonce !== undefined && !timingSafeEqual(nonce, last.nonce)) fail(TEEC.TEEC_ERROR_SECURITY);
    const key = this.#key ?? fail(TEEC.TEEC_ERROR_GENERIC);
    if (!framesAuthentic(key, frames)) fail(TEEC.TEEC_ERROR_SECURITY);
  }

  #way(): Route {
    return this.#route ?? fail(TEEC.TEEC_ERROR_GENERIC);
  }
}

/** Result, type and address, in this order (RPMB-5.3.1 to 3); then `accept`. */
function checkFrame(frame: RpmbFrame, expected: Expected, accept?: () => void): void {
  const result = frame.result & RESULT_MASK;
  if (result === RPMB_RESULT.KEY_NOT_PROGRAMMED) fail(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  if (result !== RPMB_RESULT.OK) fail(TEEC.TEEC_ERROR_GENERIC);
  if (frame.type !== expected.type) fail(TEEC.TEEC_ERROR_GENERIC);
  if (expected.address !== undefined && frame.address !== expected.address) {
    fail(TEEC.TEEC_ERROR_GENERIC);
  }
  accept?.();
}

/** Why a part cannot be used for its size (RPMB-5.1.3). */
function infoFailure({ sizeMultiplier }: RpmbDeviceInfo): number | undefined {
  if (sizeMultiplier === 0) return TEEC.TEEC_ERROR_GENERIC;
  return sizeMultiplier * UNIT_BLOCKS - 1 > 0xffff ? TEEC.TEEC_ERROR_BAD_PARAMETERS : undefined;
}
