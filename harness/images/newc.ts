/** One entry of an initramfs. Owner and group are always root; times are `mtime` of the archive. */
export type ArchiveEntry =
  | { readonly kind: "file"; readonly mode: number; readonly content: Uint8Array }
  | { readonly kind: "directory"; readonly mode: number }
  | { readonly kind: "link"; readonly target: string }
  | {
      readonly kind: "character-device";
      readonly mode: number;
      readonly major: number;
      readonly minor: number;
    };

/** File type bits of st_mode (inode(7)). */
const TYPE = {
  file: 0o100000,
  directory: 0o040000,
  link: 0o120000,
  "character-device": 0o020000,
} as const;

const NAME_MAX = 4096;
const SIZE_MAX = 0xffff_ffff;

/**
 * Writes a `newc` cpio archive (magic 070701), the format that Linux unpacks as initramfs. Names are
 * absolute (`/usr/bin/x`) and written in the order of the map, so a folder must come before what is
 * in it. Throws RangeError for a name or size that the format cannot hold.
 */
export function writeNewc(entries: ReadonlyMap<string, ArchiveEntry>, mtime: number): Buffer {
  const parts: Uint8Array[] = [];
  let inode = 1;
  for (const [name, entry] of entries) {
    if (!name.startsWith("/") || name === "/")
      throw new RangeError(`not an absolute path: ${name}`);
    append(parts, name.slice(1), entry, inode, mtime);
    inode += 1;
  }
  append(parts, "TRAILER!!!", { kind: "file", mode: 0, content: new Uint8Array() }, 0, 0);
  const size = parts.reduce((sum, part) => sum + part.length, 0);
  parts.push(new Uint8Array((512 - (size % 512)) % 512));
  return Buffer.concat(parts);
}

function append(
  parts: Uint8Array[],
  name: string,
  entry: ArchiveEntry,
  inode: number,
  mtime: number,
): void {
  const content =
    entry.kind === "file"
      ? entry.content
      : Buffer.from(entry.kind === "link" ? entry.target : "", "utf8");
  const nameBytes = Buffer.from(`${name}\0`, "utf8");
  if (nameBytes.length > NAME_MAX) throw new RangeError(`name too long for an archive: ${name}`);
  if (content.length > SIZE_MAX) throw new RangeError(`file too large for an archive: ${name}`);
  const isTrailer = inode === 0;
  const mode = isTrailer ? 0 : TYPE[entry.kind] | (entry.kind === "link" ? 0o777 : entry.mode);
  const [major, minor] = entry.kind === "character-device" ? [entry.major, entry.minor] : [0, 0];
  const links = entry.kind === "directory" ? 2 : 1;
  const fields = [
    inode,
    mode,
    0, // uid
    0, // gid
    links,
    mtime,
    content.length,
    0, // device that held the file, major
    0, // and minor
    major,
    minor,
    nameBytes.length,
    0, // checksum: none in this variant
  ];
  const header = Buffer.from(
    `070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`,
    "latin1",
  );
  parts.push(header, nameBytes, padding(header.length + nameBytes.length));
  parts.push(content, padding(content.length));
}

/** Header with name, and content, each end on a multiple of four bytes. */
const padding = (length: number): Uint8Array => new Uint8Array((4 - (length % 4)) % 4);
