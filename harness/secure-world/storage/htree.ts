import {
  createCipheriv,
  createDecipheriv,
  createHash,
  type KeyObject,
  timingSafeEqual,
} from "node:crypto";
import { TEEC } from "../../optee-abi/index.ts";
import { intoKey } from "../../rpmb/index.ts";
import type { SecureTask, Thread } from "../thread.ts";
import { fail } from "./failure.ts";
import { fsRead, fsWrite } from "./fs-rpc.ts";
import {
  BLOCK_SIZE,
  HASH_SIZE,
  HEAD_IMAGE,
  type HeadImage,
  META,
  NODE_COMMITTED_BLOCK,
  NODE_IMAGE,
  nodeCommittedChild,
  type NodeImage,
  offsetOf,
} from "./htree-layout.ts";
import { FEK_SIZE } from "./keys.ts";
import type { StorageCore } from "./storage-core.ts";

interface TreeNode {
  readonly id: number;
  readonly parent: TreeNode | undefined;
  readonly children: [TreeNode | undefined, TreeNode | undefined];
  image: NodeImage;
  dirty: boolean;
  blockUpdated: boolean;
}

export interface TreeOptions {
  /** The hash that the root must have; without one the head with the larger counter is in force. */
  readonly hash?: Uint8Array | undefined;
  /** Smallest counter that is accepted. */
  readonly minCounter?: number;
}

const CORRUPT = TEEC.TEEC_ERROR_CORRUPT_OBJECT;
/** Bytes of the root's hash that the head is bound to: not all of them, for compatibility. */
const BOUND_HASH = 16;

const newNode = (id: number, parent?: TreeNode): TreeNode => ({
  id,
  parent,
  children: [undefined, undefined],
  image: {
    hash: new Uint8Array(HASH_SIZE),
    iv: new Uint8Array(16),
    tag: new Uint8Array(16),
    flags: 0,
  },
  dirty: false,
  blockUpdated: false,
});

/**
 * The hash tree of one file in the normal world: a binary tree of nodes, node n authenticating data
 * block n - 1, everything stored twice so that an update is in force only with its new head. It
 * detects any change; that a whole file is an older one only its root's hash shows. After a failure
 * the tree is closed, and every use is CORRUPT_OBJECT.
 */
export class HashTree {
  /** Bytes of data in the file; `touch` after a change. */
  length = 0;
  readonly #core: StorageCore;
  readonly #fd: number;
  readonly #uuid: string | undefined;
  #root = newNode(1);
  #head: HeadImage = HEAD_IMAGE.read(new Uint8Array(HEAD_IMAGE.size));
  #maxNodeId = 0;
  #fek: KeyObject | undefined;
  #dirty = false;
  #closed = false;

  constructor(core: StorageCore, fd: number, uuid: string | undefined) {
    this.#core = core;
    this.#fd = fd;
    this.#uuid = uuid;
  }

  get rootHash(): Uint8Array {
    return this.#root.image.hash;
  }

  get counter(): number {
    return this.#head.counter;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** What a use of the closed tree of an open file comes to. Before 4.10 the core read at address 0. */
  dead(): never {
    if (this.#core.since(4, 10)) return fail(CORRUPT);
    return this.#core.core.panic("a core data-abort in the REE file system", {
      expected: "no use of a file after a request of it failed",
      seen: "a read or write of a file whose hash tree was closed by a failure",
    });
  }

  /** Marks the length as changed. */
  touch(): void {
    this.#dirty = true;
    this.#root.dirty = true;
  }

  /** Makes an empty file of it. */
  *create(thread: Thread, minCounter = 0): SecureTask {
    const fek = this.#core.random(FEK_SIZE);
    this.#head.encFek = this.#core.keys.wrap(this.#uuid, fek);
    this.#fek = intoKey(fek);
    this.#root.image.hash = this.#hashOf(this.#root);
    this.touch();
    yield* this.sync(thread);
    const other = HEAD_IMAGE.read(new Uint8Array(HEAD_IMAGE.size));
    yield* this.#writeHead(thread, 0, { ...other, counter: minCounter });
  }

  /**
   * Reads the whole tree and checks it. CORRUPT_OBJECT for what was changed, SECURITY when no head
   * is in force or the one that is has too small a counter.
   */
  *open(thread: Thread, { hash, minCounter = 0 }: TreeOptions): SecureTask {
    yield* this.#readRoot(thread, hash);
    if (this.#head.counter < minCounter) fail(TEEC.TEEC_ERROR_SECURITY);
    const half = this.#head.counter === 0 && this.#head.tag.every((byte) => byte === 0);
    if (half && this.#core.since(4, 8)) yield* this.create(thread, minCounter);
    this.#openHead();
    for (let id = 2; id <= this.#maxNodeId; id += 1) {
      const parent = this.#closest(id);
      if (parent.id !== id >> 1) fail(TEEC.TEEC_ERROR_GENERIC);
      const version = (parent.image.flags & nodeCommittedChild(id & 1)) === 0 ? 0 : 1;
      const image = yield* this.#readNode(thread, id, version);
      const node = newNode(id, parent);
      node.image = image;
      parent.children[id & 1] = node;
    }
    this.#verify(this.#root);
  }

  *#readRoot(thread: Thread, hash: Uint8Array | undefined): SecureTask {
    if (hash !== undefined) {
      for (let version = 0; version < 2; version += 1) {
        this.#root.image = yield* this.#readNode(thread, 1, version);
        if (!Buffer.from(hash).equals(this.#root.image.hash)) continue;
        this.#head = yield* this.#readHead(thread, version);
        return;
      }
      fail(CORRUPT);
    }
    const heads = [yield* this.#readHead(thread, 0), yield* this.#readHead(thread, 1)] as const;
    const version = inForce(heads[0].counter, heads[1].counter) ?? fail(TEEC.TEEC_ERROR_SECURITY);
    this.#root.image = yield* this.#readNode(thread, 1, version);
    this.#head = heads[version];
  }

  #openHead(): void {
    const { iv, tag, encFek, imeta } = this.#head;
    this.#fek = this.#core.keys.unwrap(this.#uuid, encFek);
    const meta = META.read(open(this.#fek, this.#headBinding(), iv, tag, imeta));
    this.length = Number(meta.length);
    this.#maxNodeId = meta.maxNodeId;
  }

  #verify(node: TreeNode | undefined): void {
    if (node === undefined) return;
    for (const child of node.children) this.#verify(child);
    if (!timingSafeEqual(this.#hashOf(node), node.image.hash)) fail(CORRUPT);
  }

  /** Brings all changes into force. Gives the root's hash. */
  *sync(thread: Thread): SecureTask<Uint8Array> {
    if (this.#closed) fail(CORRUPT);
    if (!this.#dirty) return this.rootHash;
    try {
      yield* this.#syncNode(thread, this.#root);
      this.#head.counter = (this.#head.counter + 1) >>> 0;
      const meta = new Uint8Array(META.size);
      META.write(meta, { length: BigInt(this.length), maxNodeId: this.#maxNodeId });
      this.#head.iv = this.#core.random(16);
      const sealed = seal(this.#key(), this.#headBinding(), this.#head.iv, meta);
      this.#head.tag = sealed.tag;
      this.#head.imeta = sealed.bytes;
      yield* this.#writeHead(thread, this.#head.counter & 1, this.#head);
    } catch (error) {
      this.#closed = true;
      throw error;
    }
    this.#dirty = false;
    return this.rootHash;
  }

  /** Children before parents, since a child that is written dirties its parent. */
  *#syncNode(thread: Thread, node: TreeNode): SecureTask {
    for (const child of node.children) {
      if (child !== undefined) yield* this.#syncNode(thread, child);
    }
    if (!node.dirty) return;
    let version = (this.#head.counter & 1) === 0 ? 1 : 0;
    if (node.parent !== undefined) {
      const flag = nodeCommittedChild(node.id & 1);
      node.parent.dirty = true;
      node.parent.image.flags ^= flag;
      version = (node.parent.image.flags & flag) === 0 ? 0 : 1;
    }
    node.image.hash = this.#hashOf(node);
    node.dirty = false;
    node.blockUpdated = false;
    const bytes = new Uint8Array(NODE_IMAGE.size);
    NODE_IMAGE.write(bytes, node.image);
    yield* fsWrite(thread, this.#fd, offsetOf.node(node.id - 1, version), bytes);
  }

  /** Encrypts and writes a whole block; it is in force after `sync`. */
  *writeBlock(thread: Thread, index: number, block: Uint8Array): SecureTask {
    if (this.#closed) fail(CORRUPT);
    try {
      const node = this.#grow(index + 1);
      if (!node.blockUpdated) node.image.flags ^= NODE_COMMITTED_BLOCK;
      node.image.iv = this.#core.random(16);
      const sealed = seal(this.#key(), this.#blockBinding(), node.image.iv, block);
      node.image.tag = sealed.tag;
      const at = offsetOf.block(index, node.image.flags & NODE_COMMITTED_BLOCK);
      yield* fsWrite(thread, this.#fd, at, sealed.bytes);
      node.blockUpdated = true;
      node.dirty = true;
      this.#dirty = true;
    } catch (error) {
      this.#closed = true;
      throw error;
    }
  }

  /** Reads and decrypts a whole block. CORRUPT_OBJECT for one that was changed. */
  *readBlock(thread: Thread, index: number): SecureTask<Uint8Array> {
    if (this.#closed) fail(CORRUPT);
    try {
      const node = this.#closest(index + 1);
      if (node.id !== index + 1) fail(TEEC.TEEC_ERROR_GENERIC);
      const at = offsetOf.block(index, node.image.flags & NODE_COMMITTED_BLOCK);
      const bytes = yield* fsRead(thread, this.#fd, at, BLOCK_SIZE);
      return open(this.#key(), this.#blockBinding(), node.image.iv, node.image.tag, bytes);
    } catch (error) {
      this.#closed = true;
      throw error;
    }
  }

  /** Drops the nodes of all blocks after block `index`. */
  truncate(index: number): void {
    if (this.#closed) fail(CORRUPT);
    while (index + 1 < this.#maxNodeId) {
      const last = this.#closest(this.#maxNodeId);
      if (last.parent !== undefined) last.parent.children[last.id & 1] = undefined;
      this.#maxNodeId -= 1;
      this.#dirty = true;
    }
  }

  /** The node with this id, or where it hangs when it is not there. */
  #closest(id: number): TreeNode {
    let node = this.#root;
    for (let bit = 30 - Math.clz32(id); bit >= 0; bit -= 1) {
      const child = node.children[(id >> bit) & 1];
      if (child === undefined) return node;
      node = child;
    }
    return node;
  }

  #grow(id: number): TreeNode {
    let node = this.#closest(id);
    if (node.id === id) return node;
    for (let next = node.id + 1; next <= id; next += 1) {
      node = this.#closest(next);
      if (node.id === next) continue;
      const child = newNode(next, node);
      node.children[next & 1] = child;
      node = child;
    }
    if (id > this.#maxNodeId) this.#maxNodeId = id;
    return node;
  }

  #hashOf(node: TreeNode): Uint8Array {
    const hash = createHash("sha256");
    const image = new Uint8Array(NODE_IMAGE.size);
    NODE_IMAGE.write(image, node.image);
    hash.update(image.subarray(HASH_SIZE));
    if (node.parent === undefined) {
      const meta = new Uint8Array(8);
      new DataView(meta.buffer).setBigUint64(0, BigInt(this.length), true);
      hash.update(meta);
    }
    for (const child of node.children) if (child !== undefined) hash.update(child.image.hash);
    return Uint8Array.from(hash.digest());
  }

  #key(): KeyObject {
    return this.#fek ?? fail(TEEC.TEEC_ERROR_GENERIC);
  }

  #blockBinding(): Uint8Array {
    return this.#head.encFek;
  }

  #headBinding(): Uint8Array {
    const counter = new Uint8Array(4);
    new DataView(counter.buffer).setUint32(0, this.#head.counter, true);
    return Buffer.concat([this.rootHash.subarray(0, BOUND_HASH), counter, this.#head.encFek]);
  }

  *#readNode(thread: Thread, id: number, version: number): SecureTask<NodeImage> {
    const at = offsetOf.node(id - 1, version);
    return NODE_IMAGE.read(yield* fsRead(thread, this.#fd, at, NODE_IMAGE.size));
  }

  *#readHead(thread: Thread, version: number): SecureTask<HeadImage> {
    const at = offsetOf.head(version);
    return HEAD_IMAGE.read(yield* fsRead(thread, this.#fd, at, HEAD_IMAGE.size));
  }

  *#writeHead(thread: Thread, version: number, head: HeadImage): SecureTask {
    const bytes = new Uint8Array(HEAD_IMAGE.size);
    HEAD_IMAGE.write(bytes, head);
    yield* fsWrite(thread, this.#fd, offsetOf.head(version), bytes);
  }
}

/** Which head is in force: an even counter belongs in place 0, an odd one in place 1. */
function inForce(counter0: number, counter1: number): 0 | 1 | undefined {
  const valid0 = counter0 % 2 === 0;
  const valid1 = counter1 % 2 === 1;
  if (valid0 && valid1) return counter0 > counter1 ? 0 : 1;
  if (valid0) return 0;
  return valid1 ? 1 : undefined;
}

/** AES-128-GCM with a vector of 16 bytes, which is authenticated after `binding`. */
function seal(
  key: KeyObject,
  binding: Uint8Array,
  iv: Uint8Array,
  plain: Uint8Array,
): { readonly bytes: Uint8Array; readonly tag: Uint8Array } {
  const cipher = createCipheriv("aes-128-gcm", key, iv);
  cipher.setAAD(Buffer.concat([binding, iv]));
  const bytes = cipher.update(plain);
  cipher.final();
  return { bytes, tag: Uint8Array.from(cipher.getAuthTag()) };
}

function open(
  key: KeyObject,
  binding: Uint8Array,
  iv: Uint8Array,
  tag: Uint8Array,
  bytes: Uint8Array,
): Uint8Array {
  const cipher = createDecipheriv("aes-128-gcm", key, iv, { authTagLength: 16 });
  cipher.setAAD(Buffer.concat([binding, iv]));
  cipher.setAuthTag(tag);
  const plain = Uint8Array.from(cipher.update(bytes));
  try {
    cipher.final();
  } catch {
    fail(CORRUPT);
  }
  return plain;
}
