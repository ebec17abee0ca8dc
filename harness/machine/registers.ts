/**
 * SMCCC argument and result registers x0..x7, 64 bits each, held as 32-bit lanes so that the common
 * case (SMC32: the low word) costs no bigint. Index 0 is x0 (`a0` in OP-TEE's words).
 */
export class Registers {
  readonly #words: Uint32Array;
  // Made on first use: most calls never look at 64 bits at once.
  #quads: BigUint64Array | undefined;

  constructor(low: readonly number[] = []) {
    const words = new Uint32Array(16);
    for (let index = 0; index < low.length; index += 1) words[index * 2] = low[index] ?? 0;
    this.#words = words;
  }

  /** The low 32 bits of x`index`, unsigned. */
  get(index: number): number {
    return this.#words[index * 2] ?? 0;
  }

  /** The high 32 bits of x`index`, unsigned. */
  high(index: number): number {
    return this.#words[index * 2 + 1] ?? 0;
  }

  /** Sets x`index` to a zero-extended 32-bit value. */
  set(index: number, value: number): void {
    this.#words[index * 2] = value;
    this.#words[index * 2 + 1] = 0;
  }

  get64(index: number): bigint {
    return this.#wide()[index] ?? 0n;
  }

  set64(index: number, value: bigint): void {
    this.#wide()[index] = value;
  }

  /** Splits a number below 2^53 over two registers, high word first, as the OP-TEE ABI does. */
  setPair(highIndex: number, value: number): void {
    this.set(highIndex, Math.floor(value / 0x1_0000_0000));
    this.set(highIndex + 1, value >>> 0);
  }

  /** The 64-bit value of a pair as a number: the low words of x`highIndex` and of the next. */
  pair(highIndex: number): number {
    return this.get(highIndex) * 0x1_0000_0000 + this.get(highIndex + 1);
  }

  /** Sets x`index` to what it is in `other`, all 64 bits. */
  copyRegister(index: number, other: Registers): void {
    this.#words[index * 2] = other.#words[index * 2] ?? 0;
    this.#words[index * 2 + 1] = other.#words[index * 2 + 1] ?? 0;
  }

  /** Sets x`index` to all ones, which is how -1 comes back in a 64-bit register. */
  setAllOnes(index: number): void {
    this.#words[index * 2] = 0xffff_ffff;
    this.#words[index * 2 + 1] = 0xffff_ffff;
  }

  copyFrom(other: Registers): void {
    this.#words.set(other.#words);
  }

  clone(): Registers {
    const copy = new Registers();
    copy.copyFrom(this);
    return copy;
  }

  /** All eight as bigints, for traces and tests. */
  toArray(): bigint[] {
    return [...this.#wide()];
  }

  #wide(): BigUint64Array {
    return (this.#quads ??= new BigUint64Array(this.#words.buffer));
  }
}
