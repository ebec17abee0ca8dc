import { PAGE_SIZE } from "../../machine/index.ts";

/**
 * Every VM's memory is filled with a 32-bit word of its own, the host's with that of serial 0: 16
 * bits that mark it and the serial number twice, so that no change of one byte makes another tag of
 * it. Found anywhere else, it was carried there.
 */
const MARK = 0x9d3c;
const TWIST = 0x5c;
export const MAX_SERIAL = 0xff;
export const HOST_SERIAL = 0;

export const tagOf = (serial: number): number =>
  ((MARK << 16) | (serial << 8) | (serial ^ TWIST)) >>> 0;

const isTag = (word: number): boolean =>
  word >>> 16 === MARK && ((word >>> 8) & 0xff) === ((word & 0xff) ^ TWIST);

/** The serial of a tag, also of one that was copied to another alignment; -1 for any other word. */
export function serialOf(word: number): number {
  for (let shift = 0; shift < 32; shift += 8) {
    const turned = shift === 0 ? word : ((word << shift) | (word >>> (32 - shift))) >>> 0;
    if (isTag(turned)) return (turned >>> 8) & 0xff;
  }
  return -1;
}

export function fillPage(page: Uint8Array, serial: number): void {
  new Uint32Array(page.buffer, page.byteOffset, PAGE_SIZE / 4).fill(tagOf(serial));
}

/** A window of machine addresses that no guest may ever learn of. */
export interface SecretWindow {
  readonly name: string;
  readonly base: number;
  readonly size: number;
}

/** Machine addresses as they would appear: 64 bits, or two registers, high word first or second. */
export class Secrets {
  readonly #windows: readonly { high: number; low: number; end: number; name: string }[];

  /** The last serial that was given out; larger ones are chance. */
  lastSerial = HOST_SERIAL;

  /** Windows must not cross a multiple of 2^32. */
  constructor(windows: readonly SecretWindow[]) {
    this.#windows = windows.map(({ base, size, name }) => {
      const low = base % 2 ** 32;
      return { high: Math.floor(base / 2 ** 32), low, end: low + size, name };
    });
  }

  /** The window that the address `high:low` lies in, by name. */
  of(high: number, low: number): string | undefined {
    for (const window of this.#windows) {
      if (high === window.high && low >= window.low && low < window.end) return window.name;
    }
    return undefined;
  }

  /** Whether a 32-bit word alone is the low half of such an address. */
  lowHalf(word: number): string | undefined {
    for (const window of this.#windows) {
      if (word >= window.low && word < window.end) return window.name;
    }
    return undefined;
  }

  /**
   * What is wrong with bytes that were written for the VM of `serial`: words `from` to `to` of a
   * page, as 32-bit words.
   */
  inWords(
    words: Uint32Array,
    from: number,
    to: number,
    serial: number,
  ): { readonly kind: "address" | "data"; readonly at: number; readonly what: string } | undefined {
    for (let index = from; index < to; index += 1) {
      const word = words[index] ?? 0;
      const next = index + 1 < words.length ? (words[index + 1] ?? 0) : 0;
      const name = this.of(next, word);
      if (name !== undefined) return { kind: "address", at: index * 4, what: `of the ${name}` };
      const found = serialOf(word);
      if (found >= 0 && found !== serial && found <= this.lastSerial) {
        return { kind: "data", at: index * 4, what: `${whose(found)} (0x${word.toString(16)})` };
      }
    }
    return undefined;
  }
}

export const whose = (serial: number): string =>
  serial === HOST_SERIAL ? "the host's memory" : `VM ${serial}'s memory`;
