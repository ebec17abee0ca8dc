import { TEEC } from "../../optee-abi/index.ts";
import { BLOCK_SIZE } from "../../rpmb/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { BlockPool } from "./block-pool.ts";
import { fail } from "./failure.ts";
import type { RpmbBytes } from "./rpmb-bytes.ts";
import {
  emptyFatEntry,
  FAT_ENTRY,
  FAT_FLAG,
  FAT_START,
  type FatEntry,
  nameIn,
  RPMB_FS_MAGIC,
  RPMB_FS_VERSION,
  RPMB_PARTITION,
} from "./rpmb-layout.ts";
import type { StorageCore } from "./storage-core.ts";

/** A file as its user knows it; brought up to date whenever it is looked for. */
export interface FatHandle {
  path: string;
  readonly uuid: string;
  /** Byte address of the entry; 0 before it is known. */
  address: number;
  entry: FatEntry;
}

interface FatParameters {
  readonly fatStart: number;
  /** Blocks that files and FAT share: the very last is never used. */
  readonly blocks: number;
}

/** The FAT of the RPMB storage, read eight entries at a time and kept nowhere. */
export class Fat {
  readonly #core: StorageCore;
  readonly #bytes: RpmbBytes;
  #parameters: FatParameters | undefined;

  constructor(core: StorageCore, bytes: RpmbBytes) {
    this.#core = core;
    this.#bytes = bytes;
  }

  /**
   * Once a boot: reads the partition data, writes it back to outdate writes that were held up, and
   * makes an empty FAT where there is none (RPMB-5.5, 6 to 10). ACCESS_DENIED for another version.
   */
  *setup(thread: Thread): SecureTask {
    if (this.#parameters !== undefined) return;
    const blocks = yield* this.#bytes.partition.maxBlock(thread);
    const first = yield* this.#bytes.read(thread, 0, BLOCK_SIZE);
    yield* this.#bytes.write(thread, 0, first);
    const bytes = yield* this.#bytes.read(thread, 0, RPMB_PARTITION.size);
    const found = RPMB_PARTITION.read(bytes);
    if (this.#core.build.rpmbResetFat || found.magic !== RPMB_FS_MAGIC) {
      const last = emptyFatEntry(FAT_FLAG.LAST);
      yield* this.#writeEntry(thread, FAT_START, last);
      const data = {
        ...found,
        magic: RPMB_FS_MAGIC,
        version: RPMB_FS_VERSION,
        fatStart: FAT_START,
      };
      RPMB_PARTITION.write(bytes, data);
      yield* this.#bytes.write(thread, 0, bytes);
      this.#parameters = { fatStart: FAT_START, blocks };
      return;
    }
    if (found.version !== RPMB_FS_VERSION) fail(TEEC.TEEC_ERROR_ACCESS_DENIED);
    this.#parameters = { fatStart: found.fatStart, blocks };
  }

  /** Finds the active entry of `handle.path`. ITEM_NOT_FOUND for a file that never had one. */
  *find(thread: Thread, handle: FatHandle): SecureTask {
    yield* this.setup(thread);
    yield* this.each(thread, (entry, address) => {
      if (!isFile(entry, handle.path)) return true;
      Object.assign(handle, { address, entry });
      return false;
    });
    if (handle.address === 0) fail(TEEC.TEEC_ERROR_ITEM_NOT_FOUND);
  }

  /**
   * Finds the entry, or a free one to use for it, and gives the room that is left. Where the last
   * entry has to be used the FAT grows by one.
   */
  *findForWriting(thread: Thread, handle: FatHandle): SecureTask<BlockPool> {
    yield* this.setup(thread);
    const pool = new BlockPool(this.#parameters?.blocks ?? 0);
    const seen = { file: false, lastIsUsed: false, last: 0 };
    yield* this.each(thread, (entry, address) => {
      seen.last = address;
      if (!seen.file && isFile(entry, handle.path)) {
        seen.file = true;
        Object.assign(handle, { address, entry });
      }
      const active = (entry.flags & FAT_FLAG.ACTIVE) !== 0;
      if (active && entry.size > 0) {
        const from = Math.floor(entry.start / BLOCK_SIZE);
        const to = Math.ceil((entry.start + entry.size) / BLOCK_SIZE);
        if (!pool.take(from, to - from)) fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
      }
      if (!active && handle.address === 0) Object.assign(handle, { address, entry });
      if ((entry.flags & FAT_FLAG.LAST) !== 0 && handle.address === address) {
        seen.lastIsUsed = true;
      }
      return true;
    });
    const end = seen.last + FAT_ENTRY.size;
    const whole = seen.lastIsUsed ? end + FAT_ENTRY.size : end;
    if (!pool.take(0, Math.ceil(whole / BLOCK_SIZE))) fail(TEEC.TEEC_ERROR_OUT_OF_MEMORY);
    if (seen.lastIsUsed) yield* this.#writeEntry(thread, end, emptyFatEntry(FAT_FLAG.LAST));
    return pool;
  }

  write(thread: Thread, { address, entry }: FatHandle): SecureTask {
    return this.#writeEntry(thread, address, entry);
  }

  /** Shows the entries in order to `visit`, until it gives false or the last was shown. */
  *each(thread: Thread, visit: (entry: FatEntry, address: number) => boolean): SecureTask {
    const start = this.#parameters?.fatStart ?? fail(TEEC.TEEC_ERROR_NO_DATA);
    const perRead = this.#core.build.rpmbReadEntries;
    for (let first = 0; ; first += perRead) {
      // Only the first read starts where the partition data says.
      const from = (first === 0 ? start : FAT_START) + first * FAT_ENTRY.size;
      const bytes = yield* this.#bytes.read(thread, from, perRead * FAT_ENTRY.size);
      for (let index = 0; index < perRead; index += 1) {
        const entry = FAT_ENTRY.read(bytes, index * FAT_ENTRY.size);
        if (!visit(entry, FAT_START + (first + index) * FAT_ENTRY.size)) return;
        if ((entry.flags & FAT_FLAG.LAST) !== 0) return;
      }
    }
  }

  *#writeEntry(thread: Thread, address: number, entry: FatEntry): SecureTask {
    if (address < RPMB_PARTITION.size) fail(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    if (address % FAT_ENTRY.size !== 0) fail(TEEC.TEEC_ERROR_BAD_PARAMETERS);
    const bytes = new Uint8Array(FAT_ENTRY.size);
    FAT_ENTRY.write(bytes, entry);
    yield* this.#bytes.write(thread, address, bytes);
  }
}

const isFile = (entry: FatEntry, path: string): boolean =>
  (entry.flags & FAT_FLAG.ACTIVE) !== 0 && nameIn(entry) === path;
