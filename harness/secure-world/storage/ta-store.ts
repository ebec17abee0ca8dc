import { createHmac, timingSafeEqual } from "node:crypto";
import { uuidOctets } from "../../base/index.ts";
import { TEEC } from "../../optee-abi/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fsClose, fsCreate, fsOpen, fsRead, fsWrite } from "./ree-fs.ts";

/** Directory file of the REE-FS secure storage, where installed TAs would be listed. */
const DIRECTORY = "dirf.db";
/** The version database: 32 bytes of authentication, then 20 bytes a TA (UUID, version). */
const VERSIONS = "ta_ver.db";
const MAC_SIZE = 32;
const ENTRY_SIZE = 20;
const MAX_ENTRIES = 200;
/** Stands in for the key that a device derives from its hardware unique key. */
const VERSION_KEY = "lockstep emulated platform: TA version database";

/** Whether a TA is installed in secure storage. This model installs none there. */
export function* secureStorageHasTa(thread: Thread, _uuid: string): SecureTask<boolean> {
  const { result, value } = yield* fsOpen(thread, DIRECTORY);
  if (result !== TEEC.TEEC_SUCCESS) return false;
  yield* fsClose(thread, value);
  return false;
}

/**
 * Rollback protection: refuses a version below the highest seen (ACCESS_CONFLICT), records a higher
 * one. SECURITY when the database was tampered with; the file's error when it cannot be used.
 */
export function* checkTaVersion(thread: Thread, uuid: string, version: number): SecureTask<number> {
  let file = yield* fsOpen(thread, VERSIONS);
  let entries: Uint8Array = new Uint8Array(0);
  if (file.result === TEEC.TEEC_ERROR_ITEM_NOT_FOUND) {
    file = yield* fsCreate(thread, VERSIONS);
    if (file.result !== TEEC.TEEC_SUCCESS) return file.result;
  } else if (file.result !== TEEC.TEEC_SUCCESS) {
    return file.result;
  } else {
    const read = yield* fsRead(thread, file.value, 0, MAC_SIZE + MAX_ENTRIES * ENTRY_SIZE);
    const checked = read.result === TEEC.TEEC_SUCCESS ? authentic(read.value) : undefined;
    if (checked === undefined) {
      yield* fsClose(thread, file.value);
      return read.result === TEEC.TEEC_SUCCESS ? TEEC.TEEC_ERROR_SECURITY : read.result;
    }
    entries = checked;
  }
  const result = yield* update(thread, file.value, entries, uuid, version);
  yield* fsClose(thread, file.value);
  return result;
}

function* update(
  thread: Thread,
  file: number,
  entries: Uint8Array,
  uuid: string,
  version: number,
): SecureTask<number> {
  const name = uuidOctets(uuid);
  let at = 0;
  while (at < entries.length && !Buffer.from(entries.subarray(at, at + 16)).equals(name)) {
    at += ENTRY_SIZE;
  }
  const known = at < entries.length;
  const view = new DataView(entries.buffer, entries.byteOffset, entries.byteLength);
  const highest = known ? view.getUint32(at + 16, true) : -1;
  if (version < highest) return TEEC.TEEC_ERROR_ACCESS_CONFLICT;
  if (version === highest) return TEEC.TEEC_SUCCESS;
  if (!known && at >= MAX_ENTRIES * ENTRY_SIZE) return TEEC.TEEC_ERROR_STORAGE_NO_SPACE;
  const next = new Uint8Array(Math.max(entries.length, at + ENTRY_SIZE));
  next.set(entries);
  next.set(name, at);
  new DataView(next.buffer).setUint32(at + 16, version, true);
  const image = new Uint8Array(MAC_SIZE + next.length);
  image.set(macOf(next));
  image.set(next, MAC_SIZE);
  return yield* fsWrite(thread, file, 0, image);
}

/**
 * The entries of a database file, undefined unless its authentication holds. An empty file is one
 * that was created and never written.
 */
function authentic(file: Uint8Array): Uint8Array | undefined {
  if (file.length === 0) return file;
  if (file.length < MAC_SIZE || (file.length - MAC_SIZE) % ENTRY_SIZE !== 0) return undefined;
  const entries = file.slice(MAC_SIZE);
  return timingSafeEqual(file.subarray(0, MAC_SIZE), macOf(entries)) ? entries : undefined;
}

const macOf = (entries: Uint8Array): Uint8Array =>
  createHmac("sha256", VERSION_KEY).update(entries).digest();
