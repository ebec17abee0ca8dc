import {
  MAILBOX_SCRATCH,
  type SharedRamMachine,
  type SynchronousMachine,
} from "../bridge/index.ts";
import { InternalError, Random } from "../base/index.ts";
import { type Ipa, type Pa, PAGE_SIZE, Registers } from "../machine/index.ts";
import type { StrangersPage } from "./scenario.ts";

/** Hypercall numbers and sub-commands of Xen's public interface, and what stands for oneself in it. */
const MEMORY_OP = 12;
const REMOVE_FROM_PHYSMAP = 15;
const DOMID_SELF = 0x7ff0;

/**
 * Has Xen take `page` out of the address space of its guest, which runs boards/bridge/dom0.s at
 * `program`. Throws InternalError where Xen refuses.
 */
export function removeFromPhysmap(machine: SharedRamMachine, program: Pa, page: Ipa): void {
  // domid (16 bits), padding, page number (64 bits); the guest's addresses are those of the machine.
  const order = Buffer.alloc(16);
  order.writeUInt16LE(DOMID_SELF, 0);
  order.writeBigUInt64LE(BigInt(page / PAGE_SIZE), 8);
  const at = program + MAILBOX_SCRATCH;
  machine.write(at, order);
  const registers = new Registers([REMOVE_FROM_PHYSMAP, at, 0, 0, 0, 0, 0, MEMORY_OP]);
  machine.hypercall(registers);
  const result = BigInt.asIntN(64, registers.get64(0));
  if (result !== 0n)
    throw new InternalError(`Xen does not remove page 0x${page.toString(16)}: ${result}`);
}

/** Shortest and longest time until an interrupt, as powers of 2 in ticks: 4 µs and 4 ms on QEMU. */
const TICKS = { from: 8, to: 18 } as const;

/** The machine with a timer that fires in the middle of so many SMCs in a thousand, at random times. */
export function withInterrupts(
  machine: SharedRamMachine,
  perThousand: number,
  seed: number,
): SynchronousMachine {
  const random = new Random(seed);
  return {
    read: (at, target) => machine.read(at, target),
    write: (at, bytes) => machine.write(at, bytes),
    smc: (registers) =>
      machine.smc(
        registers,
        random.below(1000) < perThousand
          ? random.below(2 ** (TICKS.from + 1 + random.below(TICKS.to - TICKS.from)))
          : undefined,
      ),
  };
}

/** A page of the machine as it is seen from outside of every guest. */
export function pageOf(machine: SharedRamMachine, pa: Pa): StrangersPage {
  return {
    pa: BigInt(pa),
    read: () => {
      const bytes = new Uint8Array(PAGE_SIZE);
      machine.read(pa, bytes);
      return bytes;
    },
    write: (bytes) => machine.write(pa, bytes),
  };
}
