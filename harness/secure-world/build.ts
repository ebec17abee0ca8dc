/** How an OP-TEE was built: what its configuration options and version decide about behaviour. */
export interface OpteeBuild {
  readonly version: { readonly major: number; readonly minor: number };
  /** a2 of GET_OS_REVISION: leading digits of the git SHA-1, 0 when the build does not report it. */
  readonly gitSha1: bigint;
  /** CFG_NS_VIRTUALIZATION. */
  readonly virtualization: boolean;
  /** CFG_VIRT_GUEST_COUNT: how many guests the memory is divided for. */
  readonly guestCount: number;
  /** CFG_NUM_THREADS, of each guest when virtualized. */
  readonly threads: number;
  /** CFG_CORE_RESERVED_SHM: a physical range, whole pages; undefined when not built. */
  readonly reservedShm: { readonly base: number; readonly size: number } | undefined;
  /** CFG_CORE_DYN_SHM. */
  readonly dynamicShm: boolean;
  /** CFG_CORE_ASYNC_NOTIF. */
  readonly asyncNotif: boolean;
  /** CFG_RPMB_ANNOUNCE_PROBE_CAP. */
  readonly rpmbProbe: boolean;
  /** CFG_PREALLOC_RPC_CACHE. */
  readonly preallocRpcCache: boolean;
  /** Secure RAM for TAs in bytes; guests of a virtualized build share it equally. */
  readonly taRam: number;
  /** Secure RAM that each guest's partition of a virtualized build takes for itself, in bytes. */
  readonly partitionRam: number;
  /** Core heap for tables of shared-memory objects, in bytes, of each guest. */
  readonly heap: number;
}

/**
 * The Debian 13 build of OP-TEE 4.5.0 for QEMU, without virtualization: capabilities 0xf5, two
 * threads, reserved shared memory of 2 MiB (seen on the real thing).
 */
export const DEBIAN_4_5: OpteeBuild = {
  version: { major: 4, minor: 5 },
  gitSha1: 0n,
  virtualization: false,
  guestCount: 2,
  threads: 2,
  reservedShm: { base: 0x4200_0000, size: 0x20_0000 },
  dynamicShm: true,
  asyncNotif: true,
  rpmbProbe: true,
  preallocRpcCache: true,
  taRam: 12 * 1024 * 1024,
  partitionRam: 1024 * 1024,
  heap: 256 * 1024,
};

/** The same package's virtualized build: capabilities 0xfd, two partitions of two threads. */
export const DEBIAN_4_5_VIRTUALIZED: OpteeBuild = { ...DEBIAN_4_5, virtualization: true };
