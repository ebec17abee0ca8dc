/** An I2C adapter of the machine, as the kernel's I2C core uses it. */
export interface I2cBus {
  /** Whether the controller can send 10-bit addresses. */
  readonly tenBit: boolean;
  /** Bytes from `chip`; undefined when nothing acknowledges. */
  read(chip: number, length: number, tenBit: boolean): Uint8Array | undefined;
  /** False when nothing acknowledges. */
  write(chip: number, bytes: Uint8Array, tenBit: boolean): boolean;
}

/** Something on an emulated bus. */
export interface I2cChip {
  read(length: number): Uint8Array;
  write(bytes: Uint8Array): void;
}

/** A bus in memory: chips by address, 7-bit and 10-bit ones apart. */
export class EmulatedI2cBus implements I2cBus {
  readonly tenBit: boolean;
  readonly chips = new Map<number, I2cChip>();
  readonly tenBitChips = new Map<number, I2cChip>();

  constructor(options: { readonly tenBit?: boolean } = {}) {
    this.tenBit = options.tenBit ?? false;
  }

  read(chip: number, length: number, tenBit: boolean): Uint8Array | undefined {
    return this.#chip(chip, tenBit)?.read(length);
  }

  write(chip: number, bytes: Uint8Array, tenBit: boolean): boolean {
    const found = this.#chip(chip, tenBit);
    found?.write(bytes);
    return found !== undefined;
  }

  #chip(address: number, tenBit: boolean): I2cChip | undefined {
    return (tenBit ? this.tenBitChips : this.chips).get(address);
  }
}

/**
 * A serial EEPROM with one address byte: a write sets the address and stores what follows, a read
 * goes on from there. Addresses wrap at the end.
 */
export class I2cEeprom implements I2cChip {
  readonly contents = new Uint8Array(256).fill(0xff);
  #at = 0;

  read(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.contents[this.#next()] ?? 0);
  }

  write(bytes: Uint8Array): void {
    const [address, ...data] = bytes;
    this.#at = address ?? this.#at;
    for (const byte of data) this.contents[this.#next()] = byte;
  }

  #next(): number {
    const at = this.#at;
    this.#at = (at + 1) % this.contents.length;
    return at;
  }
}
