/** A seeded generator (xoshiro128**), so that every run that used chance can be repeated. */
export class Random {
  readonly seed: number;
  readonly #s: Uint32Array;

  /** `seed` is any 32-bit unsigned integer. */
  constructor(seed: number) {
    this.seed = seed >>> 0;
    let z = this.seed;
    this.#s = Uint32Array.from({ length: 4 }, () => {
      z = (z + 0x9e3779b9) >>> 0;
      let t = z ^ (z >>> 16);
      t = Math.imul(t, 0x21f0aaad);
      t ^= t >>> 15;
      t = Math.imul(t, 0x735a2d97);
      return (t ^ (t >>> 15)) >>> 0;
    });
  }

  /** A uniform 32-bit unsigned integer. */
  u32(): number {
    const s = this.#s;
    const [a = 0, b = 0, c = 0, d = 0] = s;
    const x = Math.imul(b, 5);
    const result = Math.imul((x << 7) | (x >>> 25), 9) >>> 0;
    const t = b << 9;
    const c2 = c ^ a;
    const d2 = d ^ b;
    s[1] = b ^ c2;
    s[0] = a ^ d2;
    s[2] = c2 ^ t;
    s[3] = (d2 << 11) | (d2 >>> 21);
    return result;
  }

  /** A uniform integer in [0, bound). Throws RangeError unless 1 <= bound <= 2^32. */
  below(bound: number): number {
    if (!Number.isInteger(bound) || bound < 1 || bound > 0x1_0000_0000) {
      throw new RangeError(`bound ${bound} is not an integer from 1 to 2^32`);
    }
    const limit = 0x1_0000_0000 - (0x1_0000_0000 % bound);
    for (;;) {
      const x = this.u32();
      if (x < limit) return x % bound;
    }
  }

  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.u32() >>> 24);
  }
}
