/** Unsigned little-endian fields, one behind the other, by their size in bytes. */
export type Layout = Readonly<Record<string, 1 | 2 | 4 | 8>>;
export type Values<L extends Layout> = { readonly [K in keyof L]: number };

/** Bytes end before what should stand there. */
export class TooShort extends Error {}

export function sizeOf(layout: Layout): number {
  return Object.values(layout).reduce((sum, size) => sum + size, 0);
}

/** Throws RangeError where a value does not fit its field. */
export function encode<L extends Layout>(layout: L, values: Values<L>): Buffer {
  const out = Buffer.alloc(sizeOf(layout));
  let at = 0;
  for (const [name, size] of Object.entries(layout)) {
    const value = values[name] ?? 0;
    if (size === 8) out.writeBigUInt64LE(BigInt(value), at);
    else out.writeUIntLE(value, at, size);
    at += size;
  }
  return out;
}

/** Reads one thing after the other. Everything throws TooShort where the bytes end too early. */
export class ByteReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  bytes(count: number): Buffer {
    if (count > this.left) throw new TooShort(`${this.left} bytes where ${count} belong`);
    this.#at += count;
    return this.#bytes.subarray(this.#at - count, this.#at);
  }

  number(size: 1 | 2 | 4 | 8): number {
    const bytes = this.bytes(size);
    return size === 8 ? Number(bytes.readBigUInt64LE()) : bytes.readUIntLE(0, size);
  }

  decode<L extends Layout>(layout: L): Values<L> {
    const entries = Object.entries(layout).map(([name, size]) => [name, this.number(size)]);
    return Object.fromEntries(entries) as Values<L>;
  }
}
