import { octets, struct, type StructOf, u16, u32, u64 } from "../../optee-abi/index.ts";

/** Data is encrypted and stored in blocks of this many bytes. */
export const BLOCK_SIZE = 4096;
export const HASH_SIZE = 32;

/** One node of the tree: 66 bytes; the hash covers what follows it and the children's hashes. */
export const NODE_IMAGE = struct("tee_fs_htree_node_image", 66, {
  hash: octets(0, HASH_SIZE),
  iv: octets(32, 16),
  tag: octets(48, 16),
  flags: u16(64),
});
export type NodeImage = StructOf<typeof NODE_IMAGE>;

/** The head of a file: 68 bytes. The larger counter is in force; its low bit says which root is. */
export const HEAD_IMAGE = struct("tee_fs_htree_image", 68, {
  iv: octets(0, 16),
  tag: octets(16, 16),
  encFek: octets(32, 16),
  /** `META`, encrypted. */
  imeta: octets(48, 16),
  counter: u32(64),
});
export type HeadImage = StructOf<typeof HEAD_IMAGE>;

export const META = struct("tee_fs_htree_imeta", 16, { length: u64(0), maxNodeId: u32(8) });

/** Bits of a node's flags: which of two copies is in force. */
export const NODE_COMMITTED_BLOCK = 1;
export const nodeCommittedChild = (child: number): number => 1 << (1 + child);

const NODES_PER_GROUP = Math.floor(BLOCK_SIZE / (NODE_IMAGE.size * 2));

/**
 * Where things are in a file, in bytes. Block 0 holds both heads; then groups of one block with both
 * copies of 31 nodes, and 61 copies of data blocks, two for each block of data.
 */
export const offsetOf = {
  head: (version: number): number => HEAD_IMAGE.size * version,
  /** `index` counts from 0; node ids from 1. */
  node: (index: number, version: number): number =>
    (1 + Math.floor(index / NODES_PER_GROUP) * NODES_PER_GROUP * 2) * BLOCK_SIZE +
    2 * NODE_IMAGE.size * (index % NODES_PER_GROUP) +
    NODE_IMAGE.size * version,
  block: (index: number, version: number): number => {
    const copy = 2 * index + version;
    return (2 + copy + Math.floor(copy / (NODES_PER_GROUP * 2 - 1))) * BLOCK_SIZE;
  },
} as const;
