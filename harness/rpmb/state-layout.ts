import { createHash } from "node:crypto";
import { type ErrorDetails, InfrastructureError } from "../base/index.ts";
import { MAX_SIZE_MULT, SIZE_UNIT } from "./frame.ts";
import { intoKey } from "./key.ts";
import { copyRegisters, type EmmcRegisters, EXT_CSD, extCsdField } from "./registers.ts";
import type { RpmbCells } from "./state.ts";

/** A state file cannot be used: damaged, of another kind, in use, or not to be read or written. */
export class RpmbStateError extends InfrastructureError {
  constructor(message: string, where: string, details: Omit<ErrorDetails, "where"> = {}) {
    super(message, { ...details, where });
  }
}

/**
 * The state file: pages of 4096 bytes, numbers little-endian. A header that never changes, two slots
 * for records, the partition's data. A record holds all cells, and the pages of data that its request
 * changes, whole; the records take the slots in turns.
 */
export const STATE_FILE = {
  page: 4096,
  version: 1,
  /** Pages of data that one record can hold: 32 blocks reach into three at most. */
  redoPages: 3,
  header: { page: 0, magic: { offset: 0, size: 8 }, version: 8, cid: 16, csd: 32, extCsd: 64 },
  slots: { page: 1, pages: 4, count: 2 },
  dataPage: 9,
  /** Last in the header, and in the first page of a record: SHA-256 of what is before it, and of the record's pages of data. */
  checksum: { offset: 4064, size: 32 },
} as const;

/** Offsets in the first page of a record. */
export const STATE_RECORD = {
  magic: { offset: 0, size: 8 },
  /** u64: 1 for a new file, then one more for each record. */
  sequence: 8,
  /** u32: bit 0 a key is programmed. */
  flags: 16,
  writeCounter: 20,
  secureWpEnable: 24,
  secureWpConfig: 25,
  /** u32: first page of the partition that the record changes, and how many. */
  firstPage: 28,
  pages: 32,
  key: { offset: 64, size: 32 },
  /** What `pageDigest` gives for every page of the partition after the change, XORed. */
  digest: { offset: 96, size: 16 },
} as const;

const HEADER_MAGIC = Buffer.from("LSRPMB\r\n", "latin1");
const RECORD_MAGIC = Buffer.from("LSRPMBJ\n", "latin1");
const KEY_PROGRAMMED = 1;
const { page: PAGE, checksum: CHECKSUM, header: HEADER, slots: SLOTS } = STATE_FILE;

export const SLOT_SIZE = SLOTS.pages * PAGE;
export const DATA_START = STATE_FILE.dataPage * PAGE;
export const SMALLEST_STATE = DATA_START + SIZE_UNIT;
export const LARGEST_STATE = DATA_START + MAX_SIZE_MULT * SIZE_UNIT;
export const slotStart = (slot: number): number => (SLOTS.page + slot * SLOTS.pages) * PAGE;

export interface StateRecord extends RpmbCells {
  readonly sequence: number;
  readonly firstPage: number;
  /** Whole pages, `STATE_FILE.redoPages` at most. */
  readonly pages: Uint8Array;
  readonly digest: Uint8Array;
}

/** 16 bytes that depend on a page's contents and place. */
export function pageDigest(index: number, page: Uint8Array): Uint8Array {
  const place = new Uint8Array(4);
  new DataView(place.buffer).setUint32(0, index, true);
  const digest = createHash("sha256").update(place).update(page).digest();
  return digest.subarray(0, STATE_RECORD.digest.size);
}

export function xorInto(sum: Uint8Array, other: Uint8Array): void {
  for (const [at, byte] of other.entries()) sum[at] = (sum[at] ?? 0) ^ byte;
}

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

function checksumOf(bytes: Uint8Array): Uint8Array {
  return createHash("sha256")
    .update(bytes.subarray(0, CHECKSUM.offset))
    .update(bytes.subarray(PAGE))
    .digest();
}

const isSound = (bytes: Uint8Array): boolean =>
  Buffer.from(checksumOf(bytes)).equals(bytes.subarray(CHECKSUM.offset, PAGE));

export function encodeHeader(
  { cid, csd, extCsd }: EmmcRegisters,
  version: number = STATE_FILE.version,
): Uint8Array {
  const bytes = new Uint8Array(PAGE);
  bytes.set(HEADER_MAGIC, HEADER.magic.offset);
  viewOf(bytes).setUint32(HEADER.version, version, true);
  bytes.set(cid, HEADER.cid);
  bytes.set(csd, HEADER.csd);
  bytes.set(extCsd, HEADER.extCsd);
  bytes.set(checksumOf(bytes), CHECKSUM.offset);
  return bytes;
}

/** Throws RpmbStateError unless the file has a sound header and the size that it says. */
export function decodeHeader(file: Uint8Array, where: string): EmmcRegisters {
  const { magic } = HEADER;
  if (!HEADER_MAGIC.equals(file.subarray(magic.offset, magic.offset + magic.size))) {
    throw new RpmbStateError("this is no state file of an emulated RPMB part", where, {
      next: "Name a file that lockstep made, or one that does not exist yet",
    });
  }
  const bytes = file.subarray(0, PAGE);
  if (bytes.length < PAGE || !isSound(bytes)) throw damaged("the header is damaged", where);
  const version = viewOf(bytes).getUint32(HEADER.version, true);
  if (version !== STATE_FILE.version) {
    throw new RpmbStateError("the state file has another version", where, {
      expected: `version ${STATE_FILE.version}`,
      seen: `version ${version}`,
      next: "Use the lockstep that made it",
    });
  }
  const registers = copyRegisters({
    cid: bytes.subarray(HEADER.cid, HEADER.csd),
    csd: bytes.subarray(HEADER.csd, HEADER.csd + 16),
    extCsd: bytes.subarray(HEADER.extCsd, HEADER.extCsd + EXT_CSD.size),
  });
  const multiplier = extCsdField(registers.extCsd, "RPMB_SIZE_MULT");
  const size = DATA_START + multiplier * SIZE_UNIT;
  if (multiplier < 1 || multiplier > MAX_SIZE_MULT || file.length !== size) {
    throw damaged("the state file has another size than its part", where, size, file.length);
  }
  return registers;
}

/** Throws RpmbStateError, for damage that nothing can be made of. */
export function damaged(
  message: string,
  where: string,
  expected?: number,
  seen?: number,
): RpmbStateError {
  return new RpmbStateError(message, where, {
    ...(expected === undefined ? {} : { expected: `${expected} bytes` }),
    ...(seen === undefined ? {} : { seen: `${seen} bytes` }),
    next: "Restore a copy, or remove the file to begin with a blank part",
  });
}

/** `bytes`, zeroes where the first page goes, may hold the record's pages already. */
export function encodeRecord(
  record: StateRecord,
  bytes: Uint8Array = new Uint8Array(PAGE + record.pages.length),
): Uint8Array {
  const view = viewOf(bytes);
  bytes.set(RECORD_MAGIC, STATE_RECORD.magic.offset);
  view.setBigUint64(STATE_RECORD.sequence, BigInt(record.sequence), true);
  view.setUint32(STATE_RECORD.flags, record.key === undefined ? 0 : KEY_PROGRAMMED, true);
  view.setUint32(STATE_RECORD.writeCounter, record.writeCounter, true);
  bytes[STATE_RECORD.secureWpEnable] = record.secureWp.enable;
  bytes[STATE_RECORD.secureWpConfig] = record.secureWp.config;
  view.setUint32(STATE_RECORD.firstPage, record.firstPage, true);
  view.setUint32(STATE_RECORD.pages, record.pages.length / PAGE, true);
  if (record.key !== undefined) {
    const raw = record.key.export();
    bytes.set(raw, STATE_RECORD.key.offset);
    raw.fill(0);
  }
  bytes.set(record.digest, STATE_RECORD.digest.offset);
  if (record.pages.buffer !== bytes.buffer) bytes.set(record.pages, PAGE);
  bytes.set(checksumOf(bytes), CHECKSUM.offset);
  return bytes;
}

/**
 * The record in a slot; undefined where there is none whole, be it torn or hostile. `dataPages` is
 * how many pages the partition has.
 */
export function decodeRecord(slot: Uint8Array, dataPages: number): StateRecord | undefined {
  const { magic, key, digest } = STATE_RECORD;
  if (slot.length !== SLOT_SIZE) return undefined;
  if (!RECORD_MAGIC.equals(slot.subarray(magic.offset, magic.offset + magic.size)))
    return undefined;
  const view = viewOf(slot);
  const pages = view.getUint32(STATE_RECORD.pages, true);
  if (pages > STATE_FILE.redoPages) return undefined;
  const bytes = slot.subarray(0, (1 + pages) * PAGE);
  if (!isSound(bytes)) return undefined;
  const firstPage = view.getUint32(STATE_RECORD.firstPage, true);
  const sequence = Number(view.getBigUint64(STATE_RECORD.sequence, true));
  const flags = view.getUint32(STATE_RECORD.flags, true);
  if (firstPage + pages > dataPages || !Number.isSafeInteger(sequence) || flags > KEY_PROGRAMMED) {
    return undefined;
  }
  // A copy, since making a key of bytes overwrites them.
  const raw = new Uint8Array(bytes.subarray(key.offset, key.offset + key.size));
  return {
    sequence,
    firstPage,
    pages: new Uint8Array(bytes.subarray(PAGE)),
    digest: new Uint8Array(bytes.subarray(digest.offset, digest.offset + digest.size)),
    key: flags === KEY_PROGRAMMED ? intoKey(raw) : undefined,
    writeCounter: view.getUint32(STATE_RECORD.writeCounter, true),
    secureWp: {
      enable: view.getUint8(STATE_RECORD.secureWpEnable),
      config: view.getUint8(STATE_RECORD.secureWpConfig),
    },
  };
}
