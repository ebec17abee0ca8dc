import { type Access, NOBODY, PAGE_SIZE } from "../../machine/index.ts";
import type { Guest } from "./guest.ts";
import { FuzzerBug } from "./layout.ts";
import type { FuzzMachine } from "./machine.ts";
import type { Race } from "./program.ts";
import { whose } from "./taint.ts";

/** One SMC under way. */
export interface Entry {
  readonly guest: Guest;
  /** Writes of the mediator to memory of VMs so far. */
  mediatorWrites: number;
  /** The secure world has asked for the call to be made again. */
  retry: boolean;
}

interface Written {
  readonly at: number;
  readonly length: number;
  readonly by: string;
  /** The VM that it was written for. */
  readonly guest: Guest;
}

/** Deeper than this nothing further happens between two accesses. */
const MAX_DEPTH = 2;

/**
 * Sees every access of mediator and secure world: who may touch what, what was written for guests,
 * and lets things happen between two accesses.
 */
export class Watch {
  /** The calls under way, innermost last: a race may let another vCPU enter. */
  readonly entries: Entry[] = [];
  races: readonly Race[] = [];
  /** How a race acts; the executor puts it there. */
  onRace: ((race: Race, frame: number, by: string) => void) | undefined;
  readonly #machine: FuzzMachine;
  readonly #written: Written[] = [];
  /** For whom the mediator last used each page of its memory, by serial. */
  readonly #heapUser: Int32Array;
  readonly #firstHeapFrame: number;
  #accesses = 0;

  constructor(machine: FuzzMachine) {
    this.#machine = machine;
    this.#heapUser = new Int32Array(machine.heap.size / PAGE_SIZE).fill(-1);
    this.#firstHeapFrame = machine.heap.base / PAGE_SIZE;
  }

  beginStep(races: readonly Race[]): void {
    this.races = races;
    this.#accesses = 0;
  }

  enter(guest: Guest): Entry {
    const entry: Entry = { guest, mediatorWrites: 0, retry: false };
    this.entries.push(entry);
    this.#machine.memory.probe = this.#probe;
    return entry;
  }

  leave(): void {
    this.flush();
    this.entries.pop();
    if (this.entries.length === 0) this.#machine.memory.probe = undefined;
  }

  /** Whether the mediator uses this page of its memory for `guest`. */
  isHeapOf(pa: number, guest: Guest): boolean {
    return this.#heapUser[pa / PAGE_SIZE - this.#firstHeapFrame] === guest.serial;
  }

  /** Looks at what was written since the last access. */
  flush(): void {
    for (const written of this.#written.splice(0)) this.#look(written);
  }

  readonly #probe = (access: Access): void => {
    if (this.#written.length > 0) this.flush();
    const { by, at } = access;
    const entry = this.entries.at(-1);
    if ((by !== "mediator" && by !== "secure") || entry === undefined) return;
    const { guest } = entry;
    const frame = Math.floor(at / PAGE_SIZE);
    const heap = frame - this.#firstHeapFrame;
    if (heap >= 0 && heap < this.#heapUser.length) {
      if (by === "mediator") this.#heapUser[heap] = guest.serial;
      else if (this.#heapUser[heap] !== guest.serial) {
        this.#machine.report(
          "secure-reach",
          `${describe(access)}, which is not there for the caller`,
        );
      }
      return;
    }
    if (by === "mediator") this.#mediatorMay(access, frame, guest);
    else if (!this.pinnedFor(frame, guest)) {
      this.#machine.report("secure-reach", `${describe(access)}: ${this.#nameOf(frame)}`);
    }
    if (access.kind === "write") {
      if (by === "mediator") entry.mediatorWrites += 1;
      this.#written.push({ at, length: access.length, by, guest });
    }
    this.#race(frame, by);
  };

  /** A page that the mediator looks at is the caller's, and held by a reference meanwhile. */
  #mediatorMay(access: Access, frame: number, guest: Guest): void {
    const { frames } = this.#machine.mediator;
    const owner = frames.owner(frame);
    const held = frames.pins(frame) > 0;
    if (held && (owner === guest.vm.space.owner || owner === NOBODY)) return;
    this.#machine.report("mediator-reach", `${describe(access)}: ${this.#nameOf(frame)}`);
  }

  /** Whether a frame is pinned for this guest, by a record of its own. */
  pinnedFor(frame: number, guest: Guest): boolean {
    const { frames } = this.#machine.mediator;
    if (frames.pins(frame) === 0) return false;
    const owner = frames.owner(frame);
    if (owner === guest.vm.space.owner) return true;
    if (owner !== NOBODY) return false;
    for (const record of frames.records(guest.vm.space.owner)) {
      for (const one of record.frames()) if (one === frame) return true;
    }
    return false;
  }

  #race(frame: number, by: string): void {
    const index = this.#accesses;
    this.#accesses += 1;
    if (this.races.length === 0 || this.entries.length > MAX_DEPTH) return;
    for (const race of this.races) {
      if (race.at !== index) continue;
      try {
        this.onRace?.(race, frame, by);
      } catch (error) {
        throw error instanceof FuzzerBug ? error : new FuzzerBug(error);
      }
    }
  }

  /** Bytes written for a guest hold no machine address and nothing of other VMs. */
  #look({ at, length, by, guest: caller }: Written): void {
    const machine = this.#machine;
    const frame = Math.floor(at / PAGE_SIZE);
    const page = machine.frameBytes(frame);
    if (page === undefined) return;
    const { frames } = machine.mediator;
    const owner = frames.owner(frame);
    // A page that was taken away meanwhile is nobody's, and still written for whom it was.
    const guest = machine.guests.find((one) => one.vm.space.owner === owner) ?? caller;
    const words = new Uint32Array(page.buffer, page.byteOffset, PAGE_SIZE / 4);
    const from = at % PAGE_SIZE;
    // One word before and behind: an address may be written in halves.
    const first = Math.max(0, Math.floor(from / 4) - 1);
    const end = Math.min(words.length, Math.ceil((from + length) / 4) + 1);
    const found = machine.secrets.inWords(words, first, end, guest.serial);
    if (found === undefined) return;
    machine.report(
      found.kind === "address" ? "no-address-shown" : "no-foreign-data",
      `${by} wrote ${found.kind} ${found.what} for VM ${guest.serial}, at byte ${found.at} of a page`,
    );
  }

  #nameOf(frame: number): string {
    const { frames } = this.#machine.mediator;
    const at = frame * PAGE_SIZE;
    const { guestRam } = this.#machine;
    if (at < guestRam.base || at >= guestRam.base + guestRam.size) {
      return this.#machine.memory.find(at)?.spec.name ?? "nothing";
    }
    const owner = frames.owner(frame);
    const guest = this.#machine.guests.find((one) => one.vm.space.owner === owner);
    const pinned = frames.pins(frame) === 0 ? "not pinned" : "pinned";
    return `${guest === undefined ? "nobody's memory" : whose(guest.serial)}, ${pinned}`;
  }
}

const describe = ({ by, kind, at }: Access): string =>
  `${by === "secure" ? "the secure world" : "the mediator"}: ${kind} at 0x${at.toString(16)}`;
