import type { PlatformPort, Registers } from "../machine/index.ts";
import { HostCopy, type RawMemory } from "./host-copy.ts";
import type { FreeRam } from "./ram-window.ts";

/** A machine on which every call takes effect before it returns. */
export interface SynchronousMachine extends RawMemory {
  smc(registers: Registers): void;
}

/** A real machine as a platform: RAM within `window`, and its secure monitor call. */
export function createBridgedPort(machine: SynchronousMachine, window: FreeRam): PlatformPort {
  const memory = new HostCopy(machine, window);
  return {
    memory,
    smc: (registers) => {
      memory.flush();
      machine.smc(registers);
      memory.invalidate();
    },
  };
}
