import { readFile } from "node:fs/promises";
import path from "node:path";
import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { InfrastructureError } from "../base/index.ts";
import type { PreparedImage } from "./model.ts";

/** Fields of a newc header, eight hexadecimal digits each, behind the magic (cpio(5)). */
const HEADER = 110;
const FIELD = { mode: 1, filesize: 6, namesize: 11 } as const;
const MAGIC = "070701";
const TYPE_MASK = 0o170_000;
const REGULAR = 0o100_000;

const TA_FILE = /(?:^|\/)optee_armtz\/([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.ta$/;

/**
 * The trusted applications in an image's initramfs, by UUID. Throws InfrastructureError for an
 * archive that is not whole.
 */
export async function imageTas(image: PreparedImage): Promise<ReadonlyMap<string, Uint8Array>> {
  const packed = await readFile(image.files.initrd);
  const archive = await promisify(gunzip)(packed);
  const found = new Map<string, Uint8Array>();
  for (const { name, content } of filesOf(archive, image.files.initrd)) {
    const uuid = TA_FILE.exec(name)?.[1];
    if (uuid !== undefined) found.set(uuid, content);
  }
  return found;
}

/** The regular files of a newc archive. */
function* filesOf(
  archive: Buffer,
  where: string,
): Generator<{ readonly name: string; readonly content: Uint8Array }> {
  for (let at = 0; ;) {
    const header = archive.toString("latin1", at, at + HEADER);
    const field = (index: number): number =>
      Number.parseInt(header.slice(6 + index * 8, 14 + index * 8), 16);
    const [mode, size, nameSize] = [
      field(FIELD.mode),
      field(FIELD.filesize),
      field(FIELD.namesize),
    ];
    const data = align(at + HEADER + nameSize);
    if (!header.startsWith(MAGIC) || !(size >= 0) || data + size > archive.length) {
      throw new InfrastructureError(`${path.basename(where)} is no whole cpio archive`, {
        where,
        next: "Make the image again: lockstep prepare --rebuild",
      });
    }
    const name = archive.toString("utf8", at + HEADER, at + HEADER + nameSize - 1);
    if (name === "TRAILER!!!") return;
    if ((mode & TYPE_MASK) === REGULAR)
      yield { name, content: archive.subarray(data, data + size) };
    at = align(data + size);
  }
}

const align = (offset: number): number => Math.ceil(offset / 4) * 4;
