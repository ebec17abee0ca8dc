import { constants } from "node:fs";
import { type FileHandle, link, lstat, open, rename, unlink } from "node:fs/promises";
import path from "node:path";
import { errorCode, InfrastructureError, messageOf, UsageError } from "./errors.ts";

const OTHERS = 0o077;

export interface PrivateRead {
  /** For messages: `the key file`, `the HUK`. */
  readonly what: string;
  /** Most bytes that such a file has; more is refused. */
  readonly limit: number;
}

/**
 * Reads a file that other users must not be able to read. Pipes and devices are taken as they are.
 * The caller overwrites what it gets. Throws UsageError, without any of the content, for a file that
 * cannot be read, is open to group or others, or is longer than `limit`.
 */
export async function readPrivateFile(file: string, read: PrivateRead): Promise<Buffer> {
  let handle: FileHandle | undefined;
  try {
    handle = await open(file, "r");
    const stat = await handle.stat();
    if (stat.isDirectory()) throw new UsageError(`${read.what} is a folder`, { where: file });
    if (stat.isFile() && (stat.mode & OTHERS) !== 0) {
      throw new UsageError(`the file with ${read.what} is open to other users`, {
        where: file,
        expected: "mode 0600",
        seen: `mode 0${(stat.mode & 0o777).toString(8)}`,
        next: "Close it with `chmod 600`, and ask who could read it until now.",
      });
    }
    return await readUpTo(handle, file, read);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    throw new UsageError(`cannot read ${read.what}`, {
      where: file,
      seen: errorCode(error) ?? "an error",
      cause: error,
    });
  } finally {
    await handle?.close();
  }
}

async function readUpTo(handle: FileHandle, file: string, read: PrivateRead): Promise<Buffer> {
  const buffer = Buffer.alloc(read.limit + 1);
  let size = 0;
  for (;;) {
    const { bytesRead } = await handle.read(buffer, size, buffer.length - size, null);
    size += bytesRead;
    if (size > read.limit) {
      buffer.fill(0);
      throw new UsageError(`${read.what} is far too long`, {
        where: file,
        expected: `at most ${read.limit} bytes`,
      });
    }
    if (bytesRead === 0) return buffer.subarray(0, size);
  }
}

/**
 * Creates a file of mode 0600 that is there in full or not at all, on disk before this returns.
 * Throws as `PrivateFile` does.
 */
export async function createPrivateFile(file: string, bytes: Uint8Array): Promise<void> {
  const out = await PrivateFile.create(file);
  try {
    await out.write(bytes);
    await out.commit();
  } finally {
    await out.discard();
  }
}

/**
 * A new file of mode 0600 that is written piece by piece under another name and gets its own in one
 * step, or never. Every method throws UsageError where something of its name exists or the folder
 * cannot be written, InfrastructureError for a full disk and the like.
 */
export class PrivateFile {
  readonly #file: string;
  readonly #part: string;
  #handle: FileHandle | undefined;

  private constructor(file: string, part: string, handle: FileHandle) {
    this.#file = file;
    this.#part = part;
    this.#handle = handle;
  }

  static async create(file: string): Promise<PrivateFile> {
    const part = `${file}.${process.pid}.part`;
    return await guarded(file, async () => {
      if (await lstat(file).catch(() => undefined)) throw exists(file);
      await unlink(part).catch(() => {});
      const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW } = constants;
      const handle = await open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0o600);
      return new PrivateFile(file, part, handle);
    });
  }

  async write(bytes: Uint8Array): Promise<void> {
    await guarded(this.#file, async () => await this.#handle?.writeFile(bytes));
  }

  /** Gives the file its name. Nothing happens once it was discarded. */
  async commit(): Promise<void> {
    const handle = this.#handle;
    if (handle === undefined) return;
    await guarded(this.#file, async () => {
      await handle.sync();
      try {
        // Unlike a rename, a link never takes the place of what is there.
        await link(this.#part, this.#file);
      } catch (error) {
        if (!NO_LINKS.has(errorCode(error) ?? "")) throw error;
        await (await open(this.#file, "wx", 0o600)).close();
        await rename(this.#part, this.#file);
      }
      await syncFolder(path.dirname(this.#file));
    });
  }

  /** Removes what has not got its name; for `finally`. Never throws. */
  async discard(): Promise<void> {
    const handle = this.#handle;
    this.#handle = undefined;
    if (handle === undefined) return;
    await handle.close().catch(() => {});
    await unlink(this.#part).catch(() => {});
  }
}

const exists = (file: string): UsageError =>
  new UsageError("the file exists already, and is never overwritten", {
    where: file,
    next: "Give another name, or move it away yourself.",
  });

async function guarded<T>(file: string, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (error) {
    if (error instanceof UsageError) throw error;
    const code = errorCode(error) ?? "";
    if (code === "EEXIST") throw exists(file);
    const kind = FOLDER_FAULTS.has(code) ? UsageError : InfrastructureError;
    throw new kind(`cannot write the file: ${messageOf(error)}`, { where: file, cause: error });
  }
}

/** File systems without hard links, such as FAT. */
const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOTSUP", "EOPNOTSUPP", "ENOSYS"]);
const FOLDER_FAULTS: ReadonlySet<string> = new Set(["ENOENT", "ENOTDIR", "EACCES", "EROFS"]);

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
