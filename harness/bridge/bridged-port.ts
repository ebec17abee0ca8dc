import type { PlatformPort, Registers } from "../machine/index.ts";
import { HostCopy, type RawMemory } from "./host-copy.ts";
import type { FreeRam } from "./ram-window.ts";
import { type WireAccess, WireCopy } from "./wire-copy.ts";

/** A machine on which every call takes effect before it returns. */
export interface SynchronousMachine extends RawMemory {
  smc(registers: Registers): void;
}

/**
 * A real machine as a platform: RAM within `window`, and its secure monitor call. Where each access is
 * a round trip, as few bytes as can be go over the wire.
 */
export function createBridgedPort(
  machine: SynchronousMachine | (SynchronousMachine & WireAccess),
  window: FreeRam,
): PlatformPort {
  if ("checksums" in machine) {
    const memory = new WireCopy(machine, window);
    return { memory, smc: (registers) => memory.smc(registers) };
  }
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
