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

const simple = (fid: number, ...clauses: string[]): Scenario =>
  scenario(clauses, (context) => fastCall(context, fid));

export const callsCount = simple(OPTEE_SMC.CALLS_COUNT, "SMC-3");
export const callsUid = simple(OPTEE_SMC.CALLS_UID, "SMC-3", "SMC-11.3");
export const callsRevision = simple(OPTEE_SMC.CALLS_REVISION, "SMC-3");
export const getOsUuid = simple(OPTEE_SMC.GET_OS_UUID, "SMC-3");
export const getOsRevision = simple(OPTEE_SMC.GET_OS_REVISION, "SMC-3");
export const getThreadCount = simple(OPTEE_SMC.GET_THREAD_COUNT, "SMC-3");
export const l2ccMutex = simple(OPTEE_SMC.L2CC_MUTEX, "SMC-3");
/** Function numbers 5 and 6 are unassigned. */
export const unassigned = simple(0xb200_0005, "SMC-1", "SMC-2");

/** With nothing announced, with the one capability there is, and with one that there is not. */
export const exchangeCapabilities = scenario(["SMC-3", "SMC-3.1"], (context) => ({
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
}));

/** What the capability bits say about the static pool, and what the call for it answers. */
export const reservedMemory = scenario(["SMC-3", "SMC-3.1"], (context) => {
  const caps = fastCall(context, OPTEE_SMC.EXCHANGE_CAPABILITIES, [0])[1] ?? 0;
  const config = fastCall(context, OPTEE_SMC.GET_SHM_CONFIG);
  return { announced: (caps & SEC_CAP.HAVE_RESERVED_SHM) !== 0, config };
});

/** The cache is emptied and off, then on, then off again. */
export const shmCache = scenario(["SMC-3", "SMC-6"], (context) => [
  fastCall(context, OPTEE_SMC.DISABLE_SHM_CACHE)[0] ?? -1,
  fastCall(context, OPTEE_SMC.ENABLE_SHM_CACHE)[0] ?? -1,
  fastCall(context, OPTEE_SMC.DISABLE_SHM_CACHE)[0] ?? -1,
]);
