import { TargetCrashError } from "../base/index.ts";
import { type Registers, UNKNOWN_FUNCTION } from "../machine/index.ts";
import {
  API_REVISION,
  API_UID,
  ASYNC_NOTIF,
  CALLS_COUNT_VALUE,
  NSEC_CAP,
  OPTEE_SMC,
  OS_UUID,
  RPC_ARG_PARAM_COUNT,
  SEC_CAP,
  SHM_CACHED,
  SMC_RETURN,
} from "../optee-abi/index.ts";
import { featuresOf, type OpteeBuild } from "./build.ts";
import type { Core } from "./core.ts";
import { ASYNC_VALUE_MAX } from "./notifications.ts";
import type { Partition } from "./partition.ts";
import type { Partitions } from "./partitions.ts";

/** Bits that a build announces in a1 of EXCHANGE_CAPABILITIES (SMC-3.1). */
export function secureCapabilities(build: OpteeBuild): number {
  const features = featuresOf(build);
  let caps = 0;
  if (features.nullMemrefs) caps |= SEC_CAP.MEMREF_NULL;
  if (features.rpcArg) caps |= SEC_CAP.RPC_ARG;
  if (build.reservedShm !== undefined) caps |= SEC_CAP.HAVE_RESERVED_SHM;
  if (build.dynamicShm) caps |= SEC_CAP.DYNAMIC_SHM;
  if (build.virtualization) caps |= SEC_CAP.VIRTUALIZATION;
  if (features.asyncNotif) caps |= SEC_CAP.ASYNC_NOTIF;
  if (features.rpmbProbe) caps |= SEC_CAP.RPMB_PROBE;
  if (features.protectedMemory === "lent") caps |= SEC_CAP.DYNAMIC_PROTMEM;
  else if (features.protectedMemory !== undefined) caps |= SEC_CAP.PROTMEM;
  return caps;
}

/**
 * Handles one fast call in place. Registers that a call does not write come back as they were
 * (SMC-3); `partition` is undefined for the hypervisor of a virtualized build.
 */
export function fastCall(
  registers: Registers,
  core: Core,
  partitions: Partitions,
  partition: Partition | undefined,
): void {
  const { build, features } = core;
  switch (registers.get(0)) {
    case OPTEE_SMC.CALLS_COUNT:
      registers.set(
        0,
        build.virtualization ? CALLS_COUNT_VALUE.virtualized : CALLS_COUNT_VALUE.plain,
      );
      return;
    case OPTEE_SMC.CALLS_UID:
      setAll(registers, API_UID);
      return;
    case OPTEE_SMC.CALLS_REVISION:
      setAll(registers, [API_REVISION.major, API_REVISION.minor]);
      return;
    case OPTEE_SMC.GET_OS_UUID:
      setAll(registers, OS_UUID);
      return;
    case OPTEE_SMC.GET_OS_REVISION:
      setAll(registers, [build.version.major, build.version.minor]);
      registers.set64(2, build.gitSha1);
      return;
    case OPTEE_SMC.GET_SHM_CONFIG:
      if (build.reservedShm === undefined) return unknown(registers);
      setAll(registers, [SMC_RETURN.OK, 0, 0, SHM_CACHED]);
      registers.set64(1, BigInt(build.reservedShm.base));
      registers.set64(2, BigInt(build.reservedShm.size));
      return;
    case OPTEE_SMC.EXCHANGE_CAPABILITIES:
      exchangeCapabilities(registers, core);
      return;
    case OPTEE_SMC.DISABLE_SHM_CACHE:
      disableCache(registers, partition);
      return;
    case OPTEE_SMC.ENABLE_SHM_CACHE:
      enableCache(registers, build, partition);
      return;
    case OPTEE_SMC.BOOT_SECONDARY:
      registers.set(0, bootSecondary(registers, build));
      return;
    case OPTEE_SMC.VM_CREATED:
      if (!build.virtualization) return unknown(registers);
      registers.set(0, vmCreated(registers, partitions));
      return;
    case OPTEE_SMC.VM_DESTROYED:
      if (!build.virtualization) return unknown(registers);
      registers.set(0, vmDestroyed(registers, partitions));
      return;
    case OPTEE_SMC.GET_THREAD_COUNT:
      if (!features.threadCount) return unknown(registers);
      setAll(registers, [SMC_RETURN.OK, build.threads]);
      return;
    case OPTEE_SMC.ENABLE_ASYNC_NOTIF:
      if (!features.asyncNotif) return unknown(registers);
      if (partition === undefined) {
        throw new TargetCrashError("OP-TEE panicked: asynchronous notifications of no guest", {
          expected: "ENABLE_ASYNC_NOTIF with the client id of a guest (SMC-8.7)",
          seen: "a7 is 0",
        });
      }
      partition.notifications.start();
      registers.set(0, SMC_RETURN.OK);
      return;
    case OPTEE_SMC.GET_ASYNC_NOTIF_VALUE:
      if (!features.asyncNotif) return unknown(registers);
      notificationValue(registers, partition);
      return;
    case OPTEE_SMC.GET_PROTMEM_CONFIG:
      if (typeof features.protectedMemory !== "object") return unknown(registers);
      protectedMemoryConfig(registers, features.protectedMemory.region);
      return;
    default:
      unknown(registers);
  }
}

/** The region of a static configuration; address width is that of a physical address on AArch64. */
function protectedMemoryConfig(
  registers: Registers,
  region: { readonly base: number; readonly size: number } | undefined,
): void {
  registers.set(0, region === undefined ? SMC_RETURN.ENOTAVAIL : SMC_RETURN.OK);
  registers.set64(1, BigInt(region?.base ?? 0));
  registers.set64(2, BigInt(region?.size ?? 0));
  registers.set(3, 64);
}

function setAll(registers: Registers, values: readonly number[]): void {
  for (const [index, value] of values.entries()) registers.set(index, value);
}

const unknown = (registers: Registers): void => registers.set(0, UNKNOWN_FUNCTION);

function exchangeCapabilities(registers: Registers, { build, features }: Core): void {
  // The upper half of x1 is not looked at.
  if ((registers.get(1) & ~NSEC_CAP.UNIPROCESSOR) !== 0) {
    registers.set(0, SMC_RETURN.ENOTAVAIL);
    return;
  }
  registers.set(0, SMC_RETURN.OK);
  registers.set(1, secureCapabilities(build));
  if (features.asyncNotif) registers.set(2, ASYNC_VALUE_MAX + 1 + build.threads);
  if (features.rpcArg) registers.set(3, RPC_ARG_PARAM_COUNT);
}

const anyThreadBusy = (partition: Partition): boolean =>
  partition.threads.some((thread) => thread.state !== "free");

/** One cookie for each call, ENOTAVAIL when none is left and the cache is now off (SMC-6). */
function disableCache(registers: Registers, partition: Partition | undefined): void {
  if (partition === undefined) {
    registers.set(0, SMC_RETURN.ENOTAVAIL);
    return;
  }
  if (anyThreadBusy(partition)) {
    registers.set(0, SMC_RETURN.EBUSY);
    return;
  }
  for (const thread of partition.threads) {
    const argument = thread.rpcArgument;
    if (argument === undefined) continue;
    thread.rpcArgument = undefined;
    const { cookieHigh, cookieLow, registered } = argument;
    if (registered !== undefined) partition.registered.drop(registered);
    setAll(registers, [SMC_RETURN.OK, cookieHigh]);
    // An AArch64 core leaves the whole cookie in a2: the reader masks it (SMC-3).
    registers.set64(2, (BigInt(cookieHigh) << 32n) | BigInt(cookieLow));
    return;
  }
  partition.preallocRpcCache = false;
  registers.set(0, SMC_RETURN.ENOTAVAIL);
}

function enableCache(
  registers: Registers,
  build: OpteeBuild,
  partition: Partition | undefined,
): void {
  if (build.preallocRpcCache && partition !== undefined) {
    if (anyThreadBusy(partition)) {
      registers.set(0, SMC_RETURN.EBUSY);
      return;
    }
    partition.preallocRpcCache = true;
  }
  registers.set(0, SMC_RETURN.OK);
}

/** Core 0 is up already; the entry point in a3 is the normal world's affair, a2 is not looked at. */
function bootSecondary(registers: Registers, { bootSecondary: built }: OpteeBuild): number {
  if (built === undefined) return SMC_RETURN.ENOTAVAIL;
  const core = registers.get(1);
  return core > 0 && core < built.cores ? SMC_RETURN.OK : SMC_RETURN.EBADCMD;
}

function notificationValue(registers: Registers, partition: Partition | undefined): void {
  const taken = partition?.notifications.take();
  let bits = 0;
  if (taken !== undefined) bits |= ASYNC_NOTIF.VALUE_VALID;
  if (taken?.more === true) bits |= ASYNC_NOTIF.VALUE_PENDING;
  setAll(registers, [SMC_RETURN.OK, taken?.value ?? 0, bits]);
}

/** Only the hypervisor may; id 0 is refused since 4.5.0; duplicates are not detected (SMC-8). */
function vmCreated(registers: Registers, partitions: Partitions): number {
  if (registers.get64(7) !== 0n) return SMC_RETURN.ENOTAVAIL;
  return partitions.create(registers.get(1) & 0xffff) ? SMC_RETURN.OK : SMC_RETURN.ENOTAVAIL;
}

function vmDestroyed(registers: Registers, partitions: Partitions): number {
  if (registers.get64(7) !== 0n) return SMC_RETURN.ENOTAVAIL;
  partitions.destroy(registers.get(1) & 0xffff);
  return SMC_RETURN.OK;
}
