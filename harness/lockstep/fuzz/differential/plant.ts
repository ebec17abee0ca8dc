import type { PlatformPort } from "../../../machine/index.ts";

type Smc = PlatformPort["smc"];

/** A bug that is planted in the model, for tests: another way into it. */
export interface Plant {
  /** Whose answers it spoils: the secure world's at the port, or the mediator's at a VM. */
  readonly where: "secure world" | "mediator";
  plant(smc: Smc, memory: PlantMemory): Smc;
}

/** Memory by the addresses that the registers of those SMCs have. */
export interface PlantMemory {
  read(at: number, length: number): Uint8Array;
  write(at: number, bytes: Uint8Array): void;
}
