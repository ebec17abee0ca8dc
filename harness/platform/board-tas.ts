import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import { BoardFileError, messageOf } from "../base/index.ts";
import { FileSystem, TA_DIRECTORY } from "../normal-world/index.ts";

const TA_NAME = /^([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.ta$/;

/** The `.ta` files of a folder, by UUID. Throws BoardFileError where it cannot be read. */
export async function folderTas(
  folder: string,
  where: string,
): Promise<ReadonlyMap<string, Uint8Array>> {
  const tas = new Map<string, Uint8Array>();
  try {
    for (const name of await readdir(folder)) {
      const uuid = TA_NAME.exec(name)?.[1];
      if (uuid !== undefined) tas.set(uuid, await readFile(path.join(folder, name)));
    }
  } catch (error) {
    throw new BoardFileError("the TAs of bridge.tas cannot be read", {
      where,
      seen: messageOf(error),
      next: "Name a folder of .ta files that you may read.",
    });
  }
  return tas;
}

/** A Linux's file system that notes which of `known` TAs were looked for and not found. */
export class TaDisk extends FileSystem {
  readonly #known: ReadonlySet<string>;
  readonly #onMissing: (uuid: string) => void;

  constructor(known: Iterable<string>, onMissing: (uuid: string) => void) {
    super();
    this.#known = new Set(known);
    this.#onMissing = onMissing;
  }

  override read(file: string): Uint8Array | undefined {
    const found = super.read(file);
    const uuid = TA_NAME.exec(path.posix.basename(file))?.[1] ?? "";
    if (found === undefined && file.startsWith(TA_DIRECTORY) && this.#known.has(uuid)) {
      this.#onMissing(uuid);
    }
    return found;
  }
}
