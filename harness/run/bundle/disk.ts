import {
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createHash, type Hash } from "node:crypto";
import path from "node:path";
import { InfrastructureError, messageOf } from "../../base/index.ts";
import type { FileDigest } from "../model.ts";

const REASONS: Readonly<Record<string, string>> = {
  ENOSPC: "the disk is full",
  EDQUOT: "the disk quota is used up",
  EFBIG: "the file size limit is reached (ulimit -f)",
  EROFS: "the file system is read-only",
  EACCES: "permission denied",
  EPERM: "permission denied",
  EIO: "the disk reports an input/output error",
  ENOENT: "the folder has gone",
};

/** What a failed write of a bundle, or of reports of one, to `folder` means for a person. */
export function writeError(
  folder: string,
  error: unknown,
  what: "bundle" | "reports" = "bundle",
): InfrastructureError {
  const code = (error as { code?: unknown } | null)?.code;
  const reason = (typeof code === "string" ? REASONS[code] : undefined) ?? messageOf(error);
  const space = code === "ENOSPC" || code === "EDQUOT";
  const advice = space
    ? "Free space there or choose another folder with --out"
    : "Choose another folder with --out";
  return new InfrastructureError(`cannot write the ${what}: ${reason}`, {
    where: folder,
    next: what === "bundle" ? `${advice}; what was written so far is marked incomplete` : advice,
    cause: error,
  });
}

/** Writes all of `bytes`; a short write goes on where it ended. */
function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at);
}

/**
 * Replaces a file so that a reader sees the old or the new text, never a part: temporary file in
 * the same folder, fsync, rename.
 */
export function writeFileAtomic(file: string, data: string | Uint8Array): void {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.tmp`);
  try {
    const fd = openSync(temporary, "w", 0o644);
    try {
      writeFileSync(fd, data);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** Buffered text up to this many characters. */
const TEXT_BUFFER = 256 * 1024;

/** The same for a text that is too large to be held: written piece by piece, seen as a whole or not at all. */
export async function streamFileAtomic(
  file: string,
  produce: (write: (text: string) => void) => Promise<void>,
): Promise<void> {
  const temporary = path.join(path.dirname(file), `.${path.basename(file)}.tmp`);
  let pending: string[] = [];
  let size = 0;
  try {
    const fd = openSync(temporary, "w", 0o644);
    try {
      const drain = (): void => {
        writeAll(fd, Buffer.from(pending.join(""), "utf8"));
        pending = [];
        size = 0;
      };
      await produce((text) => {
        pending.push(text);
        size += text.length;
        if (size >= TEXT_BUFFER) drain();
      });
      drain();
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(temporary, file);
  } catch (error) {
    rmSync(temporary, { force: true });
    throw error;
  }
}

/** A file that only grows, buffered in memory until `drain`, with a running digest. */
export class AppendFile {
  readonly #fd: number;
  readonly #hash: Hash = createHash("sha256");
  #pending: Uint8Array[] = [];
  #bytes = 0;

  /** Creates the file; throws when it exists. */
  constructor(file: string) {
    this.#fd = openSync(file, "wx", 0o644);
  }

  append(data: Uint8Array): void {
    if (data.length > 0) this.#pending.push(data);
  }

  /** Hands everything to the operating system; it then survives the end of this process. */
  drain(): void {
    if (this.#pending.length === 0) return;
    const data = Buffer.concat(this.#pending);
    this.#pending = [];
    writeAll(this.#fd, data);
    this.#hash.update(data);
    this.#bytes += data.length;
  }

  /** Hands everything to the disk. */
  sync(): void {
    this.drain();
    fsyncSync(this.#fd);
  }

  digest(): FileDigest {
    return { bytes: this.#bytes, sha256: this.#hash.copy().digest("hex") };
  }

  close(): void {
    closeSync(this.#fd);
  }
}
