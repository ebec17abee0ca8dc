import { NIL_UUID, uuidOctets } from "../../base/index.ts";
import { octets, struct, TEEC, u32 } from "../../optee-abi/index.ts";
import { SecureMutex } from "../sync.ts";
import { uuidFromMemory } from "../tas/uuid-memory.ts";
import type { SecureTask, Thread } from "../thread.ts";
import type { BackEnd, StorageFile } from "./back-end.ts";
import { codeOf, fail, unless } from "./failure.ts";
import type { StorageCore } from "./storage-core.ts";

/** An installed TA in `ta.db`: what it is, the file with its code, and how that is encrypted. */
const INSTALLED_TA = struct("tadb_entry", 96, {
  uuid: octets(0, 16),
  version: u32(16),
  customSize: u32(20),
  binSize: u32(24),
  fileNumber: u32(28),
  iv: octets(32, 16),
  tag: octets(48, 16),
  key: octets(64, 32),
});

/** The version database: a header, then an entry for each TA that was loaded. */
const VERSIONS_HEADER = struct("ver_db_hdr", 8, { dbVersion: u32(0), entries: u32(4) });
const VERSIONS_ENTRY = struct("ver_db_entry", 20, { uuid: octets(0, 16), version: u32(16) });

/** A file of the core's own; its id includes the NUL. */
const ownFile = (name: string): { readonly uuid: string; readonly id: Uint8Array } => ({
  uuid: NIL_UUID,
  id: new TextEncoder().encode(`${name}\0`),
});
const INSTALLED = ownFile("ta.db");
const VERSIONS = ownFile("ta_ver.db");
const NOT_FOUND = TEEC.TEEC_ERROR_ITEM_NOT_FOUND;

/** What secure storage knows of TAs. All of it fails with `Failure`. */
export class TaStore {
  readonly #core: StorageCore;
  readonly #installed: BackEnd | undefined;
  readonly #versions: BackEnd | undefined;
  readonly #mutex = new SecureMutex();
  readonly #versionsMutex = new SecureMutex();
  #file: StorageFile | undefined;
  #users = 0;

  /** `installed` holds installed TAs where there is REE-FS storage, `versions` those seen. */
  constructor(core: StorageCore, installed: BackEnd | undefined, versions: BackEnd | undefined) {
    this.#core = core;
    this.#installed = installed;
    this.#versions = versions;
  }

  /** Ends well when a TA is installed in secure storage; ITEM_NOT_FOUND when it is not. */
  *find(thread: Thread, uuid: string): SecureTask {
    const backEnd = this.#installed ?? fail(NOT_FOUND);
    const file = yield* this.#mutex.hold(thread, this.#get(thread, backEnd));
    try {
      for (let index = 0; ; index += 1) {
        const bytes = yield* file.read(thread, index * INSTALLED_TA.size, INSTALLED_TA.size);
        if (bytes.length !== INSTALLED_TA.size) fail(NOT_FOUND);
        if (uuidFromMemory(INSTALLED_TA.read(bytes).uuid) === uuid) return;
      }
    } finally {
      yield* this.#mutex.hold(thread, this.#put(thread, file));
    }
  }

  *#get(thread: Thread, backEnd: BackEnd): SecureTask<StorageFile> {
    if (this.#file === undefined) {
      const opened = yield* unless(NOT_FOUND, backEnd.open(thread, INSTALLED));
      this.#file = opened?.file ?? (yield* backEnd.create(thread, INSTALLED, false, []));
    }
    this.#users += 1;
    return this.#file;
  }

  *#put(thread: Thread, file: StorageFile): SecureTask {
    this.#users -= 1;
    if (this.#users > 0) return;
    this.#file = undefined;
    yield* file.close(thread);
  }

  /**
   * Rollback protection: ACCESS_CONFLICT for a version below the highest seen; a higher one is noted.
   */
  checkVersion(thread: Thread, uuid: string, version: number): SecureTask {
    return this.#versionsMutex.hold(thread, this.#check(thread, uuid, version));
  }

  *#check(thread: Thread, uuid: string, version: number): SecureTask {
    const backEnd = this.#versions;
    if (backEnd === undefined) return;
    const opened = yield* unless(NOT_FOUND, backEnd.open(thread, VERSIONS));
    const file = opened?.file ?? (yield* this.#createVersions(thread, backEnd));
    try {
      const entries = opened === undefined ? 0 : yield* this.#entriesIn(thread, file);
      yield* note(thread, file, entries, uuidOctets(uuid), version);
    } finally {
      yield* file.close(thread);
    }
  }

  *#createVersions(thread: Thread, backEnd: BackEnd): SecureTask<StorageFile> {
    const header = new Uint8Array(VERSIONS_HEADER.size);
    // Since 4.7 the file is made with its header, so that it is never without.
    const parts = this.#core.since(4, 7) ? [header] : [];
    const file = yield* backEnd.create(thread, VERSIONS, false, parts);
    if (parts.length > 0) return file;
    const result = yield* codeOf(file.write(thread, 0, header));
    if (result === TEEC.TEEC_SUCCESS) return file;
    yield* file.close(thread);
    return fail(result);
  }

  *#entriesIn(thread: Thread, file: StorageFile): SecureTask<number> {
    const bytes = yield* file.read(thread, 0, VERSIONS_HEADER.size);
    if (bytes.length === VERSIONS_HEADER.size) return VERSIONS_HEADER.read(bytes).entries;
    if (bytes.length > 0 || !this.#core.since(4, 8)) fail(TEEC.TEEC_ERROR_BAD_STATE);
    yield* file.write(thread, 0, new Uint8Array(VERSIONS_HEADER.size));
    return 0;
  }
}

function* note(
  thread: Thread,
  file: StorageFile,
  entries: number,
  uuid: Uint8Array,
  version: number,
): SecureTask {
  const placeOf = (index: number): number => VERSIONS_HEADER.size + index * VERSIONS_ENTRY.size;
  const mine = new Uint8Array(VERSIONS_ENTRY.size);
  VERSIONS_ENTRY.write(mine, { uuid, version });
  for (let index = 0; index < entries; index += 1) {
    const bytes = yield* file.read(thread, placeOf(index), VERSIONS_ENTRY.size);
    if (bytes.length !== VERSIONS_ENTRY.size) fail(TEEC.TEEC_ERROR_BAD_STATE);
    const known = VERSIONS_ENTRY.read(bytes);
    if (!Buffer.from(known.uuid).equals(uuid)) continue;
    if (known.version > version) fail(TEEC.TEEC_ERROR_ACCESS_CONFLICT);
    if (known.version < version) yield* file.write(thread, placeOf(index), mine);
    return;
  }
  yield* file.write(thread, placeOf(entries), mine);
  const header = new Uint8Array(VERSIONS_HEADER.size);
  VERSIONS_HEADER.write(header, { dbVersion: 0, entries: entries + 1 });
  yield* file.write(thread, 0, header);
}
