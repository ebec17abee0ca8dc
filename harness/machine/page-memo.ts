/** Power of two: few pages are used again and again by one VM. */
const SLOTS = 16;

/**
 * What was made of the bytes of a page, used again while the page has the same bytes: making a
 * DataView costs as much as thirty accesses through it. A page takes the slot of its number.
 */
export class PageMemo<T> {
  readonly #make: (bytes: Uint8Array) => T;
  readonly #bytes: (Uint8Array | undefined)[] = [];
  readonly #made: T[] = [];

  constructor(make: (bytes: Uint8Array) => T) {
    this.#make = make;
  }

  of(page: number, bytes: Uint8Array): T {
    const slot = page & (SLOTS - 1);
    const known = this.#made[slot];
    if (known !== undefined && this.#bytes[slot] === bytes) return known;
    const made = this.#make(bytes);
    this.#bytes[slot] = bytes;
    this.#made[slot] = made;
    return made;
  }
}

export const dataViewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
