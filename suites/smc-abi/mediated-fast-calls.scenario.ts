import { Registers } from "../../harness/machine/index.ts";
import { OPTEE_SMC } from "../../harness/optee-abi/index.ts";
import type { Scenario } from "../../harness/platform/index.ts";

/** x0 to x7 that a VM sees after each of `fids`, with 0x11 to 0x77 in x1 to x7. */
const calls = (fids: readonly number[], ...clauses: string[]): Scenario => ({
  conduits: ["vm"],
  clauses,
  run: (context) =>
    fids.map((fid) => {
      const registers = new Registers([fid, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77]);
      context.conduit.smc(registers);
      return registers.toArray();
    }),
});

export const callsCount = calls([OPTEE_SMC.CALLS_COUNT], "MED-020");
export const callsUid = calls([OPTEE_SMC.CALLS_UID], "MED-021", "MED-009");
export const callsRevision = calls([OPTEE_SMC.CALLS_REVISION], "MED-022");
export const getOsUuid = calls([OPTEE_SMC.GET_OS_UUID], "MED-023");
export const getOsRevision = calls([OPTEE_SMC.GET_OS_REVISION], "MED-024");
export const shmCache = calls(
  [OPTEE_SMC.ENABLE_SHM_CACHE, OPTEE_SMC.DISABLE_SHM_CACHE],
  "MED-025",
  "MED-026",
);
export const getShmConfig = calls([OPTEE_SMC.GET_SHM_CONFIG], "MED-027");
export const exchangeCapabilities = calls(
  [OPTEE_SMC.EXCHANGE_CAPABILITIES],
  "MED-028",
  "MED-030",
  "MED-032",
  "MED-034",
);
export const notForGuests = calls(
  [
    OPTEE_SMC.VM_CREATED,
    OPTEE_SMC.VM_DESTROYED,
    OPTEE_SMC.GET_THREAD_COUNT,
    OPTEE_SMC.CALL_WITH_RPC_ARG,
    OPTEE_SMC.CALL_WITH_REGD_ARG,
    OPTEE_SMC.ENABLE_ASYNC_NOTIF,
    OPTEE_SMC.GET_ASYNC_NOTIF_VALUE,
    OPTEE_SMC.L2CC_MUTEX,
    OPTEE_SMC.BOOT_SECONDARY,
    OPTEE_SMC.LOAD_IMAGE,
    OPTEE_SMC.GET_PROTMEM_CONFIG,
  ],
  "MED-029",
);
export const unknownThread = calls([OPTEE_SMC.RETURN_FROM_RPC], "MED-110");
export const misalignedArgument = calls([OPTEE_SMC.CALL_WITH_ARG], "MED-043");
