import { TEEC } from "../../optee-abi/index.ts";
import { BLOCK_SIZE } from "../../rpmb/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail } from "./failure.ts";
import type { FatHandle } from "./rpmb-fat.ts";
import { type BlockCipher, RpmbPartition } from "./rpmb-partition.ts";
import type { StorageCore } from "./storage-core.ts";

/** The partition by byte addresses; what is not whole blocks is read first. */
export class RpmbBytes {
  readonly partition: RpmbPartition;
  readonly #core: StorageCore;

  constructor(core: StorageCore) {
    this.#core = core;
    this.partition = new RpmbPartition(core);
  }

  /** How a file's data is encrypted. SECURITY for a file that was made without encryption. */
  cipherOf({ uuid, entry }: FatHandle): BlockCipher {
    return (direction, index, block) => {
      if (entry.fek.every((byte) => byte === 0)) fail(TEEC.TEEC_ERROR_SECURITY);
      return this.#core.keys.cryptBlock(direction, uuid, entry.fek, index, block);
    };
  }

  *read(thread: Thread, at: number, length: number, cipher?: BlockCipher): SecureTask<Uint8Array> {
    const offset = at % BLOCK_SIZE;
    const index = (at - offset) / BLOCK_SIZE;
    const count = Math.ceil((offset + length) / BLOCK_SIZE);
    const data = yield* this.partition.readBlocks(thread, index, count, cipher);
    return data.slice(offset, offset + length);
  }

  *write(thread: Thread, at: number, bytes: Uint8Array, cipher?: BlockCipher): SecureTask {
    const offset = at % BLOCK_SIZE;
    const index = (at - offset) / BLOCK_SIZE;
    if (offset === 0 && bytes.length % BLOCK_SIZE === 0) {
      yield* this.partition.writeBlocks(thread, index, bytes, cipher);
      return;
    }
    const count = Math.ceil((offset + bytes.length) / BLOCK_SIZE);
    const whole = yield* this.partition.readBlocks(thread, index, count, cipher);
    whole.set(bytes, offset);
    yield* this.partition.writeBlocks(thread, index, whole, cipher);
  }
}
