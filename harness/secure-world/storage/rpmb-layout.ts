import { octets, struct, type StructOf, u32 } from "../../optee-abi/index.ts";
import { FEK_SIZE } from "./keys.ts";

/** What lies at byte 0 of the partition (RPMB-5.6): 128 bytes, the rest of them reserved. */
export const RPMB_PARTITION = struct("rpmb_fs_partition", 128, {
  magic: u32(0),
  version: u32(4),
  writeCounter: u32(8),
  fatStart: u32(12),
});
export const RPMB_FS_MAGIC = 0x5250_4d42;
export const RPMB_FS_VERSION = 2;
export const FAT_START = 512;

export const NAME_LENGTH = 224;
/** An entry of the FAT: 256 bytes, one block. */
export const FAT_ENTRY = struct("rpmb_fat_entry", 256, {
  start: u32(0),
  size: u32(4),
  flags: u32(8),
  unused: u32(12),
  /** File encryption key, wrapped for the TA. */
  fek: octets(16, FEK_SIZE),
  filename: octets(32, NAME_LENGTH),
});
export type FatEntry = StructOf<typeof FAT_ENTRY>;

export const FAT_FLAG = { ACTIVE: 1, LAST: 2 } as const;

export const emptyFatEntry = (flags = 0): FatEntry => ({
  ...FAT_ENTRY.read(new Uint8Array(FAT_ENTRY.size)),
  flags,
});

/** The name in an entry, up to its NUL. */
export function nameIn({ filename }: FatEntry): string {
  const end = filename.indexOf(0);
  return Buffer.from(filename.subarray(0, end < 0 ? NAME_LENGTH : end)).toString("latin1");
}

/** A name as an entry has it; cut off where it does not fit. */
export function nameField(name: string): Uint8Array {
  const field = new Uint8Array(NAME_LENGTH);
  field.set(Buffer.from(name, "latin1").subarray(0, NAME_LENGTH));
  return field;
}
