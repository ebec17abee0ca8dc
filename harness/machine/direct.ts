import type { Ipa, Pa } from "./address.ts";
import type { Conduit, GuestMemory, PhysicalMemory, PlatformPort } from "./port.ts";
import type { Registers } from "./registers.ts";

/** Guest memory of a normal world that runs without stage 2: its addresses are physical ones. */
export class IdentityMemory implements GuestMemory {
  readonly #memory: PhysicalMemory;

  constructor(memory: PhysicalMemory) {
    this.#memory = memory;
  }

  read(at: Ipa, length: number): Uint8Array {
    return this.#memory.read(at as number as Pa, length);
  }

  write(at: Ipa, bytes: Uint8Array): void {
    this.#memory.write(at as number as Pa, bytes);
  }

  page(at: Ipa): Uint8Array | undefined {
    return this.#memory.page(at as number as Pa);
  }

  dirty(at: Ipa, length: number): void {
    this.#memory.dirty(at as number as Pa, length);
  }
}

/**
 * The conduit of a driver that runs at the normal world's highest privilege: addresses are physical
 * and every SMC goes straight to the port. `ram` is what the driver may use, in bytes.
 */
export function createDirectConduit(
  port: PlatformPort,
  ram: { readonly base: number; readonly size: number },
): Conduit {
  return {
    kind: "direct",
    memory: new IdentityMemory(port.memory.as?.("host") ?? port.memory),
    ram: { base: ram.base as Ipa, size: ram.size },
    ...(port.notifications === undefined ? {} : { notifications: port.notifications }),
    smc: (registers: Registers): void => port.smc(registers),
  };
}
