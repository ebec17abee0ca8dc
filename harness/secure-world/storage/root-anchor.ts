import { TEEC } from "../../optee-abi/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import type { StorageFile } from "./back-end.ts";
import { fail, unless } from "./failure.ts";
import { HASH_SIZE } from "./htree-layout.ts";
import type { RpmbFs } from "./rpmb-fs.ts";

/** File of the RPMB storage that holds the root hash of the REE-FS directory. */
const ANCHOR_FILE = "/dirfile.db.hash";

/** CFG_REE_FS_INTEGRITY_RPMB: the root hash of the REE-FS directory, kept in the RPMB partition. */
export class RootAnchor {
  readonly #rpmb: RpmbFs;
  #file: StorageFile | undefined;

  constructor(rpmb: RpmbFs) {
    this.#rpmb = rpmb;
  }

  /** The hash; undefined when none was stored yet. */
  *open(thread: Thread): SecureTask<Uint8Array | undefined> {
    const existing = this.#rpmb.openRaw(thread, ANCHOR_FILE, false);
    const file = yield* unless(TEEC.TEEC_ERROR_ITEM_NOT_FOUND, existing);
    if (file === undefined) {
      this.#file = yield* this.#rpmb.openRaw(thread, ANCHOR_FILE, true);
      return undefined;
    }
    this.#file = file;
    const hash = yield* file.read(thread, 0, HASH_SIZE);
    return hash.length === HASH_SIZE ? hash : undefined;
  }

  *store(thread: Thread, hash: Uint8Array): SecureTask {
    yield* this.#opened().write(thread, 0, hash);
  }

  *clear(thread: Thread): SecureTask {
    yield* this.#opened().truncate(thread, 0);
  }

  close(): void {
    this.#file = undefined;
  }

  #opened(): StorageFile {
    return this.#file ?? fail(TEEC.TEEC_ERROR_GENERIC);
  }
}
