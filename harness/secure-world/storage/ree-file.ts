import type { SecureTask, Thread } from "../thread.ts";
import { codeOf } from "./failure.ts";
import { fsClose, fsCreate, fsOpen, fsRemove, fsTruncate } from "./fs-rpc.ts";
import { BLOCK_SIZE, offsetOf } from "./htree-layout.ts";
import { HashTree, type TreeOptions } from "./htree.ts";
import type { StorageCore } from "./storage-core.ts";

/** Name of the directory file, and of the object file with this number. */
export const fileName = (number: number | undefined): string =>
  number === undefined ? "/dirf.db" : `/${number.toString(16)}`;

/** Where a file is known from in the directory. */
export interface DirectoryPlace {
  /** Position of its entry; undefined before it has one. */
  index: number | undefined;
  readonly fileNumber: number;
  /** The root hash of its tree. */
  hash: Uint8Array;
}

/** A file of the normal world with a hash tree: bytes at positions, in force after `sync`. */
export class ReeFile {
  readonly tree: HashTree;
  readonly place: DirectoryPlace | undefined;
  readonly #fd: number;

  constructor(fd: number, tree: HashTree, place: DirectoryPlace | undefined) {
    this.#fd = fd;
    this.tree = tree;
    this.place = place;
  }

  /** At most `length` bytes, fewer at the end. */
  *read(thread: Thread, at: number, length: number): SecureTask<Uint8Array> {
    if (this.tree.closed) this.tree.dead();
    const size = Math.max(0, Math.min(length, this.tree.length - at));
    if (size === 0) return new Uint8Array(0);
    return yield* thread.partition.mempool.hold(thread, this.#readBlocks(thread, at, size));
  }

  *#readBlocks(thread: Thread, at: number, size: number): SecureTask<Uint8Array> {
    const out = new Uint8Array(size);
    for (let done = 0; done < size;) {
      const from = (at + done) % BLOCK_SIZE;
      const block = yield* this.tree.readBlock(thread, Math.floor((at + done) / BLOCK_SIZE));
      const part = block.subarray(from, Math.min(BLOCK_SIZE, from + size - done));
      out.set(part, done);
      done += part.length;
    }
    return out;
  }

  /** Writes; what lies between the end and `at` becomes zeros. */
  *write(thread: Thread, at: number, bytes: Uint8Array): SecureTask {
    if (bytes.length === 0) return;
    if (this.tree.closed) this.tree.dead();
    if (at > this.tree.length) yield* this.truncate(thread, at);
    yield* this.#outOfPlace(thread, at, bytes);
  }

  #outOfPlace(thread: Thread, at: number, bytes: Uint8Array): SecureTask {
    return thread.partition.mempool.hold(thread, this.#writeBlocks(thread, at, bytes));
  }

  /** Sets the length: cuts off, or appends zeros. */
  *truncate(thread: Thread, length: number): SecureTask {
    const { tree } = this;
    if (tree.closed) tree.dead();
    if (length > tree.length) {
      yield* this.#outOfPlace(thread, tree.length, new Uint8Array(length - tree.length));
      return;
    }
    const end = offsetOf.block(Math.ceil(length / BLOCK_SIZE), 1) + BLOCK_SIZE;
    tree.truncate(Math.floor(length / BLOCK_SIZE));
    yield* fsTruncate(thread, this.#fd, end);
    tree.length = length;
    tree.touch();
  }

  /** Whole blocks are read, changed and written to their other place. */
  *#writeBlocks(thread: Thread, at: number, bytes: Uint8Array): SecureTask {
    const { tree } = this;
    const known = Math.ceil(tree.length / BLOCK_SIZE);
    for (let done = 0; done < bytes.length;) {
      const index = Math.floor((at + done) / BLOCK_SIZE);
      const from = (at + done) % BLOCK_SIZE;
      const part = bytes.subarray(done, done + BLOCK_SIZE - from);
      const block =
        index < known ? yield* tree.readBlock(thread, index) : new Uint8Array(BLOCK_SIZE);
      block.set(part, from);
      yield* tree.writeBlock(thread, index, block);
      done += part.length;
    }
    if (at + bytes.length > tree.length) {
      tree.length = at + bytes.length;
      tree.touch();
    }
  }

  /** Brings all changes into force and notes the new root hash in `place`. */
  *sync(thread: Thread): SecureTask<Uint8Array> {
    const hash = Uint8Array.from(yield* this.tree.sync(thread));
    if (this.place !== undefined) this.place.hash = hash;
    return hash;
  }

  *close(thread: Thread): SecureTask {
    yield* codeOf(fsClose(thread, this.#fd));
  }
}

export interface OpenOptions extends TreeOptions {
  readonly create: boolean;
  readonly uuid: string | undefined;
  readonly place: DirectoryPlace | undefined;
}

/** Opens or creates a file; what was half created, or has nothing to be held against, is removed. */
export function* openReeFile(
  thread: Thread,
  core: StorageCore,
  { create, uuid, place, hash, minCounter = 0 }: OpenOptions,
): SecureTask<ReeFile> {
  const name = fileName(place?.fileNumber);
  let fd: number | undefined;
  try {
    fd = create ? yield* fsCreate(thread, name) : yield* fsOpen(thread, name);
    const tree = new HashTree(core, fd, uuid);
    if (create) yield* tree.create(thread, minCounter);
    else yield* tree.open(thread, { hash, minCounter });
    return new ReeFile(fd, tree, place);
  } catch (error) {
    if (fd !== undefined) yield* codeOf(fsClose(thread, fd));
    const unprotected = hash === undefined && minCounter === 0 && core.since(4, 10);
    if (create || unprotected) yield* codeOf(fsRemove(thread, name));
    throw error;
  }
}
