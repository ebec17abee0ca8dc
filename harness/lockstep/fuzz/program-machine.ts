import type { GuestSpace, Registers } from "../../machine/index.ts";
import type { Trap } from "../../mediator/index.ts";
import type { Guest } from "./guest.ts";
import type { Param, Race, Step } from "./program.ts";

/** The TAs that programs open, as one machine has them. */
export interface TaShelf {
  /** The UUID of the TA of that name. Throws RangeError for a name that is none. */
  uuidOf(name: string): string;
  /** The `.ta` file that a supplicant finds. */
  imageOf(uuid: string): Uint8Array | undefined;
  /** What an invocation in a session with that TA says; undefined for one that nobody opened. */
  invocation(uuid: string | undefined, func: number, params: readonly Param[]): Invocation;
}

export interface Invocation {
  readonly func: number;
  readonly params: readonly Param[];
}

/** What a program runs on: VMs in slots behind a mediator and a secure world. */
export interface ProgramMachine {
  readonly tas: TaShelf;
  /** Pages that drivers have beyond those of every program, by number: room for large TAs. */
  readonly morePages: { readonly first: number; readonly count: number };
  /** Whether a session may be closed by a message of no driver's; left out where any may. */
  mayClose?(guest: Guest, session: number): boolean;
  /** The largest buffer that a driver allocates, in pages. */
  readonly largestBuffer: number;
  /** Step under way. */
  step: number;
  /** Lets something happen between two accesses, where that can be. */
  onRace: ((race: Race, frame: number, by: string) => void) | undefined;
  /** Every living guest. */
  readonly guests: readonly Guest[];
  /**
   * The guest of a slot, created when there is none that lives; undefined when that fails. It is not
   * tried `again` before some VM has died.
   */
  guest(slot: number, again?: boolean): Guest | undefined;
  /** A VM for a slot that has none; the secure world is made to `refuse`. */
  create(slot: number, refuse: boolean): void;
  /** Ends the VM of a slot, at once or, inside a call of its own, when that returns. */
  destroy(slot: number): void;
  beginStep(around: Step["with"]): void;
  endStep(): void;
  /** The program is over and its VMs are gone. */
  end(): void;
  /** Runs code under test; undefined when that throws, which is noted. */
  guarded<T>(work: () => T): T | undefined;
  /** One trapped instruction of a guest; `before` are its registers as they were. */
  trap(guest: Guest, trap: Trap, before: Registers): void;
  /** The bytes behind a page of a VM's RAM, past every check; undefined when none is mapped. */
  pageBytes(space: GuestSpace, page: number): Uint8Array | undefined;
  /** The bytes of a frame of RAM. */
  frameBytes(frame: number): Uint8Array | undefined;
  /** The VM whose call is under way, innermost first. */
  readonly caller: Guest | undefined;
}
