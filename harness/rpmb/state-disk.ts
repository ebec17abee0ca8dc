import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  fdatasyncSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import path from "node:path";
import { errorCode, messageOf } from "../base/index.ts";
import type { StateFile } from "./state-journal.ts";
import { LARGEST_STATE, RpmbStateError } from "./state-layout.ts";

const MODE = 0o600;
const OTHERS = 0o077;
/** Exit code of flock(1) when somebody else holds the lock; chosen here. */
const HELD = 75;

export interface DiskOptions {
  /** Whether each change is brought to the disk before it counts. */
  readonly sync: boolean;
}

/**
 * A state file on disk, locked by this process until it is closed or the process ends. The lock is
 * the kernel's (flock) on the open file, so none is ever stale.
 */
export class StateOnDisk implements StateFile {
  readonly where: string;
  readonly #sync: boolean;
  #fd: number;

  private constructor(where: string, fd: number, { sync }: DiskOptions) {
    this.where = where;
    this.#fd = fd;
    this.#sync = sync;
  }

  /** Opens and locks; undefined where there is no such file. Throws RpmbStateError. */
  static open(where: string, options: DiskOptions): StateOnDisk | undefined {
    const fd = openLocked(where, constants.O_RDWR, "exclusive");
    return fd === undefined ? undefined : new StateOnDisk(where, fd, options);
  }

  /** Makes the file, whole or not at all, and locks it. Throws RpmbStateError, also if there is one. */
  static create(where: string, bytes: Uint8Array, options: DiskOptions): StateOnDisk {
    const fd = writeNew(where, bytes, () => {
      if (exists(where)) throw new RpmbStateError("another process has just made this file", where);
    });
    return new StateOnDisk(where, fd, options);
  }

  read(): Uint8Array {
    return readAll(this.#fd, this.where);
  }

  write(at: number, bytes: Uint8Array): void {
    attempt(this.where, "written", () => writeAll(this.#fd, at, bytes));
  }

  sync(): void {
    if (this.#sync) attempt(this.where, "kept", () => fdatasyncSync(this.#fd));
  }

  replace(bytes: Uint8Array): void {
    const fd = writeNew(this.where, bytes, () => {});
    closeSync(this.#fd);
    this.#fd = fd;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The file's contents, read while nobody may write it. Throws RpmbStateError. */
export function readStateFile(where: string): Uint8Array {
  const fd = openLocked(where, constants.O_RDONLY, "shared");
  if (fd === undefined) throw new RpmbStateError("there is no such state file", where);
  try {
    return readAll(fd, where);
  } finally {
    closeSync(fd);
  }
}

/** The file of that name, locked, of one's own only; undefined where there is none. */
function openLocked(
  where: string,
  flags: number,
  kind: "exclusive" | "shared",
): number | undefined {
  for (;;) {
    const fd = attempt(where, "opened", () => openIfThere(where, flags));
    if (fd === undefined) return undefined;
    try {
      if (!fstatSync(fd).isFile()) throw new RpmbStateError("this is no regular file", where);
      lock(fd, kind, where);
      // Who had it before may have put another file in its place.
      if (isStill(where, fd)) {
        checkMode(fd, where);
        return fd;
      }
    } catch (error) {
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
}

function openIfThere(where: string, flags: number): number | undefined {
  try {
    return openSync(where, flags | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    if (errorCode(error) === "ENOENT") return undefined;
    throw error;
  }
}

function checkMode(fd: number, where: string): void {
  const { mode } = fstatSync(fd);
  if ((mode & OTHERS) === 0) return;
  throw new RpmbStateError("others may use this file, which holds a part's key", where, {
    expected: "mode 0600",
    seen: `mode 0${(mode & 0o777).toString(8)}`,
    next: `Run chmod 600, and take the key for known if others were about`,
  });
}

function isStill(where: string, fd: number): boolean {
  const mine = fstatSync(fd);
  const there = statSync(where, { throwIfNoEntry: false });
  return there !== undefined && there.ino === mine.ino && there.dev === mine.dev;
}

const exists = (where: string): boolean => statSync(where, { throwIfNoEntry: false }) !== undefined;

/**
 * Writes a file beside `where` and puts it there when it is on the disk; the open file, locked. What
 * is left of one that never came so far is used again. `check` runs while nobody else can do the same.
 */
function writeNew(where: string, bytes: Uint8Array, check: () => void): number {
  const temporary = `${where}.new`;
  for (;;) {
    const fd = attempt(where, "made", () =>
      openSync(temporary, constants.O_RDWR | constants.O_CREAT | constants.O_NOFOLLOW, MODE),
    );
    let mine = false;
    try {
      lock(fd, "exclusive", where);
      mine = isStill(temporary, fd);
      if (mine) {
        checkMode(fd, temporary);
        check();
        attempt(where, "made", () => {
          ftruncateSync(fd, 0);
          writeAll(fd, 0, bytes);
          fsyncSync(fd);
          renameSync(temporary, where);
          syncFolder(path.dirname(where));
        });
        return fd;
      }
    } catch (error) {
      if (mine) rmSync(temporary, { force: true });
      closeSync(fd);
      throw error;
    }
    closeSync(fd);
  }
}

function syncFolder(folder: string): void {
  const fd = openSync(folder, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** The lock belongs to the open file, which the child shares: it stays when the child has ended. */
function lock(fd: number, kind: "exclusive" | "shared", where: string): void {
  const flags = [`--${kind}`, "--nonblock", "--conflict-exit-code", String(HELD)];
  const child = spawnSync("flock", [...flags, "3"], { stdio: ["ignore", "ignore", "ignore", fd] });
  if (child.error !== undefined) {
    throw new RpmbStateError("flock cannot be started", where, {
      next: "Install the package util-linux",
      cause: child.error,
    });
  }
  if (child.status === HELD) {
    throw new RpmbStateError("the state file is in use by another process", where, {
      next: "Stop that process (fuser names it), or give this part a file of its own",
    });
  }
  if (child.status !== 0) {
    throw new RpmbStateError(`flock ended with ${child.status ?? child.signal}`, where);
  }
}

function readAll(fd: number, where: string): Uint8Array {
  return attempt(where, "read", () => {
    const { size } = fstatSync(fd);
    // One byte more than any can have is enough to see that it is none.
    const bytes = new Uint8Array(Math.min(size, LARGEST_STATE + 1));
    let done = 0;
    while (done < bytes.length) {
      const got = readSync(fd, bytes, done, bytes.length - done, done);
      if (got === 0) break;
      done += got;
    }
    return bytes.subarray(0, done);
  });
}

function writeAll(fd: number, at: number, bytes: Uint8Array): void {
  let done = 0;
  while (done < bytes.length) {
    done += writeSync(fd, bytes, done, bytes.length - done, at + done);
  }
}

function attempt<T>(where: string, what: string, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw new RpmbStateError(`the state file cannot be ${what}`, where, {
      seen: messageOf(error),
      cause: error,
    });
  }
}
