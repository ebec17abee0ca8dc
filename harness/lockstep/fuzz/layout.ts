import { messageOf } from "../../base/index.ts";
import { PAGE_SIZE, type Window } from "../../machine/index.ts";
import { RAM_PAGES } from "./program.ts";

/** Where a VM sees its RAM: above 4 GiB, so that both words of an address count. */
export const RAM_BASE = 0x2_4000_0000;
/** Pages behind the RAM that are no RAM of the VM's: a device, a grant, a foreign page. */
export const MAPPED_PAGES = { mmio: RAM_PAGES + 1, grant: RAM_PAGES + 2, foreign: RAM_PAGES + 3 };
/** The last page of the program's own is read-only. */
export const ROM_PAGE = RAM_PAGES - 1;

/** Machine memory that a guest may guess: host RAM, OP-TEE's reserved shared memory, secure RAM. */
export const KNOWN = {
  host: { base: 0x4800_0000, size: 16 * PAGE_SIZE },
  reserved: { base: 0x4200_0000, size: 16 * PAGE_SIZE },
  secure: { base: 0x0e10_0000, size: 16 * PAGE_SIZE },
} as const satisfies Record<string, Window>;

/** Thrown through the code under test by hooks of the fuzzer that are wrong themselves. */
export class FuzzerBug extends Error {
  constructor(cause: unknown) {
    super(`the fuzzer itself: ${messageOf(cause)}`, { cause });
    this.name = "FuzzerBug";
  }
}
