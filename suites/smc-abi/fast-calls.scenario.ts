import { Registers } from "../../harness/machine/index.ts";
import { OPTEE_SMC, SEC_CAP } from "../../harness/optee-abi/index.ts";
import type { Data, Scenario, ScenarioContext } from "../../harness/platform/index.ts";

/** What the caller puts into x1 to x7, so that a register which comes back untouched is seen. */
const MARKS = [0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77];

/** x0 to x7, low words, after the fast call `fid` with `marks` in x1 to x7; a7 is 0 on the wire. */
function fastCall(context: ScenarioContext, fid: number, marks = MARKS): number[] {
  const registers = new Registers([fid, ...marks.slice(0, 6), 0]);
  context.conduit.smc(registers);
  return Array.from({ length: 8 }, (_, index) => registers.get(index));
}

const scenario = (
  clauses: readonly string[],
  run: (context: ScenarioContext) => Data,
): Scenario => ({ conduits: ["direct", "hwdom"], clauses, run });

type Name = keyof typeof OPTEE_SMC;
const simple = (name: Name, ...clauses: string[]): Scenario =>
  scenario([`SMC-1.${name}`, `SMC-3.${name}`, ...clauses], (context) =>
    fastCall(context, OPTEE_SMC[name]),
  );

export const callsCount = simple("CALLS_COUNT");
export const callsUid = simple("CALLS_UID", "SMC-11.3");
export const callsRevision = simple("CALLS_REVISION", "SMC-3.REGISTERS");
export const getOsUuid = simple("GET_OS_UUID");
export const getOsRevision = simple("GET_OS_REVISION");
export const getThreadCount = simple("GET_THREAD_COUNT", "SMC-2.OK");
export const l2ccMutex = simple("L2CC_MUTEX", "SMC-2.UNKNOWN_FUNCTION");
/** Function numbers 5 and 6 are unassigned, and owner 62 is between OP-TEE and EL3. */
export const unassigned = scenario(["SMC-1.UNASSIGNED", "SMC-2.UNKNOWN_FUNCTION"], (context) =>
  [0xb200_0005, 0xb200_0006, 0xbe00_0000].map((fid) => fastCall(context, fid)[0] ?? -1),
);

/** With nothing announced, with the one capability there is, and with one that there is not. */
export const exchangeCapabilities = scenario(
  [
    "SMC-1.EXCHANGE_CAPABILITIES",
    "SMC-3.EXCHANGE_CAPABILITIES",
    "SMC-3.1.UNIPROCESSOR",
    "SMC-3.1.UNREGISTERED_SHM",
    "SMC-3.1.MEMREF_NULL",
    "SMC-3.1.RPC_ARG",
    "SMC-3.1.STATELESS",
    "SMC-2.ENOTAVAIL",
  ],
  (context) => ({
    none: fastCall(context, OPTEE_SMC.EXCHANGE_CAPABILITIES, [0, 0x22, 0x33, 0x44, 0x55, 0x66]),
    uniprocessor: fastCall(
      context,
      OPTEE_SMC.EXCHANGE_CAPABILITIES,
      [1, 0x22, 0x33, 0x44, 0x55, 0x66],
    ),
    unknown: fastCall(
      context,
      OPTEE_SMC.EXCHANGE_CAPABILITIES,
      [0xffff, 0x22, 0x33, 0x44, 0x55, 0x66],
    ),
  }),
);

/** What the capability bits say about the static pool, and what the call for it answers. */
export const reservedMemory = scenario(
  ["SMC-1.GET_SHM_CONFIG", "SMC-3.GET_SHM_CONFIG", "SMC-3.1.HAVE_RESERVED_SHM"],
  (context) => {
    const caps = fastCall(context, OPTEE_SMC.EXCHANGE_CAPABILITIES, [0])[1] ?? 0;
    const config = fastCall(context, OPTEE_SMC.GET_SHM_CONFIG);
    return { announced: (caps & SEC_CAP.HAVE_RESERVED_SHM) !== 0, config };
  },
);

/** The cache is emptied and off, then on, then off again. */
export const shmCache = scenario(
  [
    "SMC-1.ENABLE_SHM_CACHE",
    "SMC-1.DISABLE_SHM_CACHE",
    "SMC-3.ENABLE_SHM_CACHE",
    "SMC-3.DISABLE_SHM_CACHE",
    "SMC-6.ENABLE",
    "SMC-6.DISABLE",
  ],
  (context) => [
    fastCall(context, OPTEE_SMC.DISABLE_SHM_CACHE)[0] ?? -1,
    fastCall(context, OPTEE_SMC.ENABLE_SHM_CACHE)[0] ?? -1,
    fastCall(context, OPTEE_SMC.DISABLE_SHM_CACHE)[0] ?? -1,
  ],
);
