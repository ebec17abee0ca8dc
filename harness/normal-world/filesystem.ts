import { ERRNO } from "../tee-uapi/index.ts";

/** A file's contents. An open file keeps them although its name is gone. */
export interface FileNode {
  readonly kind: "file";
  bytes: Uint8Array;
}
interface DirectoryNode {
  readonly kind: "directory";
  readonly entries: Map<string, Node>;
}
type Node = FileNode | DirectoryNode;

export interface OpenFlags {
  readonly create?: boolean;
  readonly exclusive?: boolean;
  readonly truncate?: boolean;
  readonly write?: boolean;
}

const PATH_MAX = 4096;
const NAME_MAX = 255;

interface Place {
  readonly parent: DirectoryNode;
  readonly name: string;
}

const directory = (): DirectoryNode => ({ kind: "directory", entries: new Map() });

/**
 * The file system of an emulated Linux, in memory. Operations give a negative errno where Linux's
 * would. Paths are absolute; "." and ".." are followed.
 */
export class FileSystem {
  readonly #root = directory();
  /** Bytes that files may have together; beyond them writing is ENOSPC. */
  capacity = Number.POSITIVE_INFINITY;
  /** Mounted read-only: opening for writing and every change is EROFS. */
  readOnly = false;

  /** The file at `path`, opened; a negative errno when that fails. */
  open(path: string, flags: OpenFlags = {}): FileNode | number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    const node = place.name === "" ? place.parent : place.parent.entries.get(place.name);
    if (node === undefined) {
      if (flags.create !== true) return -ERRNO.ENOENT;
      if (this.readOnly) return -ERRNO.EROFS;
      const file: FileNode = { kind: "file", bytes: new Uint8Array(0) };
      place.parent.entries.set(place.name, file);
      return file;
    }
    if (flags.create === true && flags.exclusive === true) return -ERRNO.EEXIST;
    if (node.kind === "directory") return -ERRNO.EISDIR;
    if (flags.write === true && this.readOnly) return -ERRNO.EROFS;
    if (flags.truncate === true) node.bytes = new Uint8Array(0);
    return node;
  }

  /** Writes what there is room for; the bytes written, or ENOSPC when that is none. */
  write(file: FileNode, offset: number, bytes: Uint8Array): number {
    const count = Math.max(0, Math.min(bytes.length, this.#room(file) - offset));
    if (count === 0 && bytes.length > 0) return -ERRNO.ENOSPC;
    const next = new Uint8Array(Math.max(file.bytes.length, offset + count));
    next.set(file.bytes);
    next.set(bytes.subarray(0, count), offset);
    file.bytes = next;
    return count;
  }

  truncate(file: FileNode, length: number): number {
    const next = new Uint8Array(length);
    next.set(file.bytes.subarray(0, length));
    file.bytes = next;
    return 0;
  }

  /** The contents of the file at `path`; undefined when it cannot be opened. */
  read(path: string): Uint8Array | undefined {
    const file = this.open(path);
    return typeof file === "number" ? undefined : file.bytes;
  }

  /** Makes the file at `path` and the directories above it. Throws Error where Linux could not. */
  store(path: string, bytes: Uint8Array): void {
    const parts = path.split("/").slice(1, -1);
    for (const [index] of parts.entries()) this.mkdir(`/${parts.slice(0, index + 1).join("/")}`);
    const file = this.open(path, { create: true });
    if (typeof file === "number") throw new Error(`${path} cannot be made: errno ${-file}`);
    file.bytes = bytes;
  }

  mkdir(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    if (place.name === "" || place.parent.entries.has(place.name)) return -ERRNO.EEXIST;
    if (this.readOnly) return -ERRNO.EROFS;
    place.parent.entries.set(place.name, directory());
    return 0;
  }

  rmdir(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    const node = place.parent.entries.get(place.name);
    if (place.name === "") return -ERRNO.EBUSY;
    if (node === undefined) return -ERRNO.ENOENT;
    if (node.kind !== "directory") return -ERRNO.ENOTDIR;
    if (node.entries.size > 0) return -ERRNO.ENOTEMPTY;
    if (this.readOnly) return -ERRNO.EROFS;
    place.parent.entries.delete(place.name);
    return 0;
  }

  unlink(path: string): number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    const node = place.parent.entries.get(place.name);
    if (place.name === "" || node?.kind === "directory") return -ERRNO.EISDIR;
    if (node === undefined) return -ERRNO.ENOENT;
    if (this.readOnly) return -ERRNO.EROFS;
    place.parent.entries.delete(place.name);
    return 0;
  }

  /** renameat2; with `noReplace` an existing target is EEXIST. */
  rename(from: string, to: string, noReplace: boolean): number {
    const source = this.#place(from);
    if (typeof source === "number") return source;
    const target = this.#place(to);
    if (typeof target === "number") return target;
    const node = source.parent.entries.get(source.name);
    if (node === undefined) return -ERRNO.ENOENT;
    const there = target.parent.entries.get(target.name);
    if (there !== undefined && noReplace) return -ERRNO.EEXIST;
    if (there?.kind === "directory" && node.kind === "file") return -ERRNO.EISDIR;
    if (there?.kind === "file" && node.kind === "directory") return -ERRNO.ENOTDIR;
    if (this.readOnly) return -ERRNO.EROFS;
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, node);
    return 0;
  }

  /** Names in a directory, sorted; a negative errno when there is none. */
  list(path: string): readonly string[] | number {
    const place = this.#place(path);
    if (typeof place === "number") return place;
    const node = place.name === "" ? place.parent : place.parent.entries.get(place.name);
    if (node === undefined) return -ERRNO.ENOENT;
    return node.kind === "directory" ? [...node.entries.keys()].toSorted() : -ERRNO.ENOTDIR;
  }

  /** The directory that holds the last name of `path`; the name is empty for the root itself. */
  #place(path: string): Place | number {
    if (path.length >= PATH_MAX) return -ERRNO.ENAMETOOLONG;
    const above: DirectoryNode[] = [this.#root];
    const names = path.split("/").filter((name) => name !== "" && name !== ".");
    if (names.some((name) => name.length > NAME_MAX)) return -ERRNO.ENAMETOOLONG;
    let place: Place = { parent: this.#root, name: "" };
    for (const [index, name] of names.entries()) {
      const here = above.at(-1) ?? this.#root;
      if (name === "..") {
        if (above.length > 1) above.pop();
        place = { parent: above.at(-1) ?? this.#root, name: "" };
        continue;
      }
      place = { parent: here, name };
      if (index === names.length - 1) break;
      const next = here.entries.get(name);
      if (next === undefined) return -ERRNO.ENOENT;
      if (next.kind !== "directory") return -ERRNO.ENOTDIR;
      above.push(next);
      place = { parent: next, name: "" };
    }
    return place;
  }

  /** How long `file` could become. */
  #room(file: FileNode): number {
    if (this.capacity === Number.POSITIVE_INFINITY) return this.capacity;
    return this.capacity - this.#used(this.#root) + file.bytes.length;
  }

  #used(node: Node): number {
    if (node.kind === "file") return node.bytes.length;
    return [...node.entries.values()].reduce((sum, entry) => sum + this.#used(entry), 0);
  }
}
