import { functionName, OPTEE_SMC } from "./functions.ts";
import { nameTable } from "./names.ts";

/** Calls of the architecture and of PSCI that every EL3 answers (SMCCC, Arm DEN 0028; PSCI, DEN 0022). */
export const ARM_SMC = {
  SMCCC_VERSION: 0x8000_0000,
  SMCCC_ARCH_FEATURES: 0x8000_0001,
  PSCI_VERSION: 0x8400_0000,
  PSCI_FEATURES: 0x8400_000a,
} as const;

const armName = nameTable(ARM_SMC);

/**
 * The function identifier of a name, OP-TEE's with or without `OPTEE_SMC_`, in any case, or one of
 * `ARM_SMC`. Undefined for any other.
 */
export function smcByName(name: string): number | undefined {
  const plain = name.toUpperCase().replace(/^OPTEE_SMC_/, "");
  return Object.entries({ ...OPTEE_SMC, ...ARM_SMC }).find(([known]) => known === plain)?.[1];
}

/** The name of a function identifier, undefined where it has none. */
export const smcName = (fid: number): string | undefined =>
  armName.find(fid) ?? functionName.find(fid);

/** All names that `smcByName` takes. */
export const smcNames = (): string[] => Object.keys({ ...OPTEE_SMC, ...ARM_SMC });
