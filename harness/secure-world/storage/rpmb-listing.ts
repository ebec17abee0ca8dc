import {
  FAT_ENTRY,
  FAT_FLAG,
  nameIn,
  RPMB_FS_MAGIC,
  RPMB_FS_VERSION,
  RPMB_PARTITION,
} from "./rpmb-layout.ts";

/** A file of OP-TEE's RPMB storage as its FAT entry has it (RPMB-5.6). */
export interface RpmbFsFile {
  /** As stored; what it holds is any byte but NUL. */
  readonly name: string;
  /** First byte of its data in the partition, and how many. */
  readonly start: number;
  readonly size: number;
  readonly flags: number;
  /** Byte address of the entry itself. */
  readonly entry: number;
}

export interface RpmbFsListing {
  readonly version: number;
  readonly fatStart: number;
  /** The field of the partition data; OP-TEE does not use it. */
  readonly writeCounter: number;
  readonly files: readonly RpmbFsFile[];
  /** Entries that no file uses, the last one included. */
  readonly freeEntries: number;
  /** What OP-TEE would stumble over. */
  readonly problems: readonly string[];
}

/** Gives `length` bytes of the partition from byte `at` on; undefined where they cannot be had. */
export type ReadBytes = (at: number, length: number) => Promise<Uint8Array | undefined>;

/** Entries read at once: as OP-TEE does. */
const ENTRIES = 8;

/**
 * Lists OP-TEE's storage in a partition of `size` bytes; undefined where there is none. Everything in
 * it is hostile: what makes no sense is a problem of the listing.
 */
export async function listRpmbFs(
  read: ReadBytes,
  size: number,
): Promise<RpmbFsListing | undefined> {
  const first = await read(0, FAT_ENTRY.size);
  if (first === undefined || first.length < RPMB_PARTITION.size) return undefined;
  const { magic, version, fatStart, writeCounter } = RPMB_PARTITION.read(first);
  if (magic !== RPMB_FS_MAGIC) return undefined;
  const files: RpmbFsFile[] = [];
  const problems: string[] = [];
  const known = { version, fatStart, writeCounter, files, problems };
  if (version !== RPMB_FS_VERSION) {
    problems.push(`version ${version}, which OP-TEE refuses: it knows ${RPMB_FS_VERSION}`);
    return { ...known, freeEntries: 0 };
  }
  if (fatStart % FAT_ENTRY.size !== 0 || fatStart < FAT_ENTRY.size || fatStart >= size) {
    problems.push(`the FAT is said to begin at byte ${fatStart}`);
    return { ...known, freeEntries: 0 };
  }
  let free = 0;
  for (let at = fatStart; at < size; at += ENTRIES * FAT_ENTRY.size) {
    const length = Math.min(ENTRIES * FAT_ENTRY.size, size - at);
    const bytes = await read(at, length);
    if (bytes?.length !== length) {
      problems.push(`the FAT cannot be read from byte ${at} on`);
      return { ...known, freeEntries: free };
    }
    for (let offset = 0; offset < length; offset += FAT_ENTRY.size) {
      const entry = FAT_ENTRY.read(bytes, offset);
      if ((entry.flags & FAT_FLAG.ACTIVE) === 0) free += 1;
      else {
        const file = fileIn(entry, at + offset);
        files.push(file);
        if (file.start + file.size > size) {
          problems.push(`${JSON.stringify(file.name)} reaches beyond the end of the partition`);
        }
      }
      if ((entry.flags & FAT_FLAG.LAST) !== 0) return { ...known, freeEntries: free };
    }
  }
  problems.push("no entry of the FAT is marked as its last");
  return { ...known, freeEntries: free };
}

function fileIn(entry: ReturnType<typeof FAT_ENTRY.read>, at: number): RpmbFsFile {
  const { start, size, flags } = entry;
  return { name: nameIn(entry), start, size, flags, entry: at };
}
