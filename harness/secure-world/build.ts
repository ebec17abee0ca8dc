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
  /** CFG_SHM_VASPACE_SIZE: what the core can map of dynamic shared memory, in bytes. */
  readonly shmAddressSpace: number;
  /** CFG_CORE_ASYNC_NOTIF. */
  readonly asyncNotif: boolean;
  /** CFG_RPMB_ANNOUNCE_PROBE_CAP. */
  readonly rpmbProbe: boolean;
  /** CFG_BOOT_SECONDARY_REQUEST: cores that wait in the secure world; PSCI starts them otherwise. */
  readonly bootSecondary?: { readonly cores: number };
  /** CFG_TEE_CORE_DEBUG: the core checks itself, and that can be seen from outside. */
  readonly coreDebug: boolean;
  /** CFG_REE_FS. */
  readonly reeFs: boolean;
  /** CFG_REE_FS_ALLOW_RESET: a directory that was taken away is made anew. */
  readonly reeFsAllowReset: boolean;
  /** CFG_RPMB_FS, and with it CFG_REE_FS_INTEGRITY_RPMB. */
  readonly rpmbFs: boolean;
  /** CFG_RPMB_FS_DEV_ID. */
  readonly rpmbDevId: number;
  /** CFG_RPMB_WRITE_KEY. */
  readonly rpmbWriteKey: boolean;
  /** CFG_RPMB_TESTKEY. */
  readonly rpmbTestKey: boolean;
  /** CFG_RPMB_RESET_FAT. */
  readonly rpmbResetFat: boolean;
  /** CFG_RPMB_FS_RD_ENTRIES. */
  readonly rpmbReadEntries: number;
  /** CFG_CORE_HUK_SUBKEY_COMPAT. */
  readonly hukSubkeyCompat: boolean;
  /** CFG_PREALLOC_RPC_CACHE. */
  readonly preallocRpcCache: boolean;
  /** Secure RAM for TAs in bytes; guests of a virtualized build share it equally. */
  readonly taRam: number;
  /** Secure RAM for the core's own data of each guest of a virtualized build, in bytes. */
  readonly partitionRam: number;
  /** Secure RAM for the translation tables of each guest, in bytes. */
  readonly partitionTables: number;
  /**
   * CFG_SECURE_DATA_PATH (4.9 and later): memory that is protected from the normal world, either a
   * region that is so from the start, or whatever the normal world lends (CFG_CORE_DYN_PROTMEM).
   */
  readonly protectedMemory?:
    | "lent"
    | { readonly region: { readonly base: number; readonly size: number } | undefined };
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
  shmAddressSpace: 32 * 1024 * 1024,
  asyncNotif: true,
  rpmbProbe: true,
  coreDebug: true,
  reeFs: true,
  reeFsAllowReset: false,
  rpmbFs: false,
  rpmbDevId: 0,
  rpmbWriteKey: false,
  rpmbTestKey: false,
  rpmbResetFat: false,
  rpmbReadEntries: 8,
  hukSubkeyCompat: true,
  preallocRpcCache: true,
  taRam: 12 * 1024 * 1024,
  partitionRam: 1024 * 1024,
  partitionTables: 64 * 1024,
  heap: 256 * 1024,
};

/** The same package's virtualized build: capabilities 0xfd, two partitions of two threads. */
export const DEBIAN_4_5_VIRTUALIZED: OpteeBuild = { ...DEBIAN_4_5, virtualization: true };

/**
 * The build of Debian's OP-TEE 4.10.0-2 with RPMB that `lockstep prepare qemu-virt-rpmb` makes:
 * capabilities 0xf5, two threads, reserved shared memory of 2 MiB; it programs the key of a blank part
 * (seen on the real thing). Heap and RAM as its configuration and its memory map at boot give them.
 */
export const DEBIAN_4_10_RPMB: OpteeBuild = {
  ...DEBIAN_4_5,
  version: { major: 4, minor: 10 },
  rpmbFs: true,
  rpmbWriteKey: true,
  taRam: 13 * 1024 * 1024,
  partitionRam: 0x4_a000,
  partitionTables: 0x3000,
  heap: 192 * 1024,
};

/** The same virtualized, as image `qemu-virt-rpmb-hyp` has it: capabilities 0xfd, two partitions. */
export const DEBIAN_4_10_RPMB_VIRTUALIZED: OpteeBuild = {
  ...DEBIAN_4_10_RPMB,
  virtualization: true,
};

/** A plain build of OP-TEE 4.10 for QEMU with four threads, announcing what 4.10 can. */
export const OPTEE_4_10: OpteeBuild = {
  ...DEBIAN_4_5,
  version: { major: 4, minor: 10 },
  gitSha1: 0xd500_1fe0_a000_0000n,
  threads: 4,
};

/** Whether the build is of release `major`.`minor` or later. */
export function isSince({ version }: OpteeBuild, major: number, minor: number): boolean {
  return version.major > major || (version.major === major && version.minor >= minor);
}

/** What changed from release to release and can be seen from outside (SMC-10, MSG-6). */
export interface Features {
  /** GET_THREAD_COUNT and the calls for virtualization. */
  readonly threadCount: boolean;
  /** A thread is resumed only with the client id that it was started with. */
  readonly checksClientOnResume: boolean;
  /** NULL references. */
  readonly nullMemrefs: boolean;
  readonly asyncNotif: boolean;
  /** RPC arguments that come with the call. */
  readonly rpcArg: boolean;
  /** A yielding call of an unknown client is refused; earlier it stopped the core. */
  readonly refusesUnknownClient: boolean;
  readonly rpmbProbe: boolean;
  /** VM_CREATED with id 0 is refused. */
  readonly refusesClientZero: boolean;
  /** A TA may ask that its crashed instance is kept. */
  readonly keepCrashed: boolean;
  readonly protectedMemory: OpteeBuild["protectedMemory"];
  /** A session is locked while it is opened; earlier others could use it before its TA was there. */
  readonly locksOpening: boolean;
  /** Temporary buffers in pages end with their call; earlier each stayed, and its cookie with it. */
  readonly dropsTemporary: boolean;
}

export function featuresOf(build: OpteeBuild): Features {
  return {
    threadCount: isSince(build, 3, 5),
    checksClientOnResume: !isSince(build, 3, 7),
    nullMemrefs: isSince(build, 3, 9),
    asyncNotif: build.asyncNotif && isSince(build, 3, 16),
    rpcArg: isSince(build, 3, 17),
    refusesUnknownClient: isSince(build, 4, 2),
    rpmbProbe: build.rpmbProbe && isSince(build, 4, 4),
    refusesClientZero: isSince(build, 4, 5),
    keepCrashed: isSince(build, 4, 7),
    protectedMemory: isSince(build, 4, 9) ? build.protectedMemory : undefined,
    locksOpening: isSince(build, 4, 10),
    dropsTemporary: isSince(build, 4, 11),
  };
}
