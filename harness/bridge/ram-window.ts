import { BoardFileError } from "../base/index.ts";
import { PAGE_SIZE, type Pa } from "../machine/index.ts";

/** RAM that a board file declares free while the board stands at its boot loader. Addresses in bytes. */
export interface FreeRam {
  readonly base: number;
  readonly size: number;
}

/** Hands out whole pages of a board's free RAM from its start, and refuses every address outside it. */
export class RamWindow {
  /** All of it. */
  readonly free: FreeRam;
  /** The board file. */
  readonly where: string;
  readonly #base: number;
  readonly #end: number;
  #next: number;

  /** Throws BoardFileError unless `free` is whole pages below 2^52. `where` is the board file. */
  constructor(free: FreeRam, where: string) {
    const { base, size } = free;
    const end = base + size;
    const whole = base > 0 && size > 0 && base % PAGE_SIZE === 0 && size % PAGE_SIZE === 0;
    if (!whole || end > 2 ** 52) {
      throw new BoardFileError("bridge.free_ram is not whole pages of RAM", {
        where,
        expected: "base and size as multiples of 4 KiB, base above 0",
        seen: `base 0x${base.toString(16)}, size 0x${size.toString(16)}`,
      });
    }
    this.free = free;
    this.where = where;
    this.#base = base;
    this.#end = end;
    this.#next = base;
  }

  /** The address of `bytes` of RAM of its own, whole pages. Throws RangeError when there is none left. */
  take(bytes: number): Pa {
    const size = Math.ceil(bytes / PAGE_SIZE) * PAGE_SIZE;
    const at = this.#next;
    if (size <= 0 || at + size > this.#end) {
      throw new RangeError(`${bytes} bytes do not fit into what is left of the board's free RAM`);
    }
    this.#next = at + size;
    return at as Pa;
  }

  /** What has not been taken. */
  get rest(): FreeRam {
    return { base: this.#next, size: this.#end - this.#next };
  }

  /** Throws RangeError unless [at, at + length) lies within the free RAM. */
  check(at: number, length: number): void {
    if (at >= this.#base && length >= 0 && at + length <= this.#end) return;
    throw new RangeError(
      `0x${at.toString(16)} and ${length} bytes are outside the board's free RAM, 0x${this.#base.toString(16)} to 0x${this.#end.toString(16)}`,
    );
  }
}
