import { randomBytes } from "node:crypto";
import { closeSync, openSync, readSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { BoardFileError, type Deadline, InfrastructureError } from "../base/index.ts";
import type { Pa } from "../machine/index.ts";
import { DOM0_PAGE } from "./dom0-page.ts";
import type { FreeRam } from "./ram-window.ts";
import type { Resident } from "./resident.ts";
import { SharedRamMachine } from "./shared-ram.ts";

const LOOK_EVERY_MS = 50;
const PROBE_MS = 2000;

/** Where a machine's RAM is: the file that it is, the address of its first byte and its size in bytes. */
export interface MachineRam {
  readonly file: string;
  readonly base: number;
  readonly size: number;
}

/**
 * boards/bridge/dom0.s as a kernel in a file: what a hypervisor is given as its first guest. Each
 * `write` makes a program that can be told from those of earlier boots, which RAM may still hold.
 */
export class Dom0Program {
  readonly #file: string;
  readonly #code: Uint8Array;
  #number = Buffer.alloc(8);

  constructor(file: string, code: Uint8Array) {
    this.#file = file;
    this.#code = code;
  }

  /** Before the machine is switched on. */
  async write(): Promise<void> {
    this.#number = randomBytes(8);
    const image = Buffer.from(this.#code);
    this.#number.copy(image, DOM0_PAGE.announcement);
    await writeFile(this.#file, image);
  }

  /**
   * Waits until the program says in RAM where it is. `window` must be RAM of that guest, at the same
   * addresses as in the machine: the program is asked to read what the host wrote there. Throws
   * DeadlineError, or BoardFileError for a wrong window.
   */
  async found(
    ram: MachineRam,
    window: FreeRam,
    deadline: Deadline,
    smcMs?: number,
  ): Promise<Resident> {
    let page = this.#look(ram);
    while (page === undefined) {
      await deadline.race(sleep(LOOK_EVERY_MS));
      page = this.#look(ram);
    }
    const resident = { file: ram.file, base: ram.base, page };
    mustSeeTheSame(resident, window);
    return { ...resident, ...(smcMs === undefined ? {} : { smcMs }) };
  }

  #look(ram: MachineRam): Pa | undefined {
    const fd = openSync(ram.file, "r");
    try {
      const seen = Buffer.alloc(DOM0_PAGE.announcementSize);
      for (let at = 0; at + DOM0_PAGE.size <= ram.size; at += DOM0_PAGE.boundary) {
        seen.fill(0);
        readSync(fd, seen, 0, seen.length, at + DOM0_PAGE.announcement);
        const address = BigInt(ram.base + at);
        if (seen.subarray(0, 8).equals(this.#number) && seen.readBigUInt64LE(8) === address) {
          return Number(address) as Pa;
        }
      }
      return undefined;
    } finally {
      closeSync(fd);
    }
  }
}

function mustSeeTheSame(resident: Resident, { base, size }: FreeRam): void {
  const machine = new SharedRamMachine({ ...resident, smcMs: PROBE_MS });
  try {
    for (const at of [base, base + size - 8]) {
      const mark = randomBytes(8);
      machine.write(at, mark);
      const seen = machine.load(at as Pa);
      if (seen === mark.readBigUInt64LE()) continue;
      throw new BoardFileError("bridge.free_ram is not RAM of the hypervisor's first guest", {
        expected: "RAM of that guest at the same addresses as in the machine",
        seen: `0x${at.toString(16)} ${seen === undefined ? "cannot be read" : "reads as something else"} there`,
        next: "Compare it with the RAM that the hypervisor says it gives that guest.",
      });
    }
    const end = resident.page + DOM0_PAGE.size;
    if (resident.page < base + size && base < end) {
      throw new InfrastructureError("the program lies in bridge.free_ram", {
        seen: `0x${resident.page.toString(16)}`,
        next: "Move bridge.free_ram away from the start of the guest's RAM.",
      });
    }
  } finally {
    machine.close();
  }
}
