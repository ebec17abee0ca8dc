import type { PlatformPort } from "../machine/index.ts";
import { OPTEE_SMC } from "../optee-abi/index.ts";

/** SMCCC_VERSION, SMCCC_ARCH_FEATURES, PSCI_VERSION and PSCI_FEATURES. */
const ARCHITECTURE = [0x8000_0000, 0x8000_0001, 0x8400_0000, 0x8400_000a];
/** Functions that only tell what there is, and change nothing in the secure world. */
const ASKING: ReadonlySet<number> = new Set([
  ...ARCHITECTURE,
  OPTEE_SMC.CALLS_COUNT,
  OPTEE_SMC.CALLS_UID,
  OPTEE_SMC.CALLS_REVISION,
  OPTEE_SMC.GET_OS_UUID,
  OPTEE_SMC.GET_OS_REVISION,
  OPTEE_SMC.GET_SHM_CONFIG,
  OPTEE_SMC.EXCHANGE_CAPABILITIES,
  OPTEE_SMC.GET_THREAD_COUNT,
]);

/** Whether a function only tells what there is: it changes nothing, and may be called again. */
export const onlyAsks = (fid: number): boolean => ASKING.has(fid);

/** Whether the calls of a scenario can have left anything behind in a secure world. */
export class Touched {
  #clean = true;

  /** True while every call only asked what there is. */
  get clean(): boolean {
    return this.#clean;
  }

  watch(port: PlatformPort): PlatformPort {
    return {
      ...port,
      smc: (registers) => {
        if (!onlyAsks(registers.get(0))) this.#clean = false;
        port.smc(registers);
      },
    };
  }
}
