/** One fixed place in a little-endian structure. */
export interface Field<T> {
  readonly offset: number;
  readonly size: number;
  get(view: DataView, base: number): T;
  set(view: DataView, base: number, value: T): void;
}

type Fields = Readonly<
  Record<string, Field<never> | Field<number> | Field<bigint> | Field<Uint8Array>>
>;
type ValueOf<F> = F extends Field<infer T> ? T : never;
/** The decoded form of a structure. */
export type StructOf<S> =
  S extends Struct<infer F> ? { -readonly [K in keyof F]: ValueOf<F[K]> } : never;

export interface Struct<F extends Fields> {
  readonly name: string;
  readonly size: number;
  readonly fields: F;
  /** Throws RangeError when `bytes` ends before the structure does. */
  read(bytes: Uint8Array, at?: number): { -readonly [K in keyof F]: ValueOf<F[K]> };
  /** Writes every field and nothing else. Throws RangeError when there is no room. */
  write(bytes: Uint8Array, value: { readonly [K in keyof F]: ValueOf<F[K]> }, at?: number): void;
}

/** An unsigned 32-bit little-endian field. */
export const u32 = (offset: number): Field<number> => ({
  offset,
  size: 4,
  get: (view, base) => view.getUint32(base + offset, true),
  set: (view, base, value) => view.setUint32(base + offset, value, true),
});

/** An unsigned 16-bit little-endian field. */
export const u16 = (offset: number): Field<number> => ({
  offset,
  size: 2,
  get: (view, base) => view.getUint16(base + offset, true),
  set: (view, base, value) => view.setUint16(base + offset, value, true),
});

/** An unsigned 64-bit little-endian field, exact. */
export const u64 = (offset: number): Field<bigint> => ({
  offset,
  size: 8,
  get: (view, base) => view.getBigUint64(base + offset, true),
  set: (view, base, value) => view.setBigUint64(base + offset, value, true),
});

/** `size` raw bytes; reading copies them, writing needs exactly that many. */
export const octets = (offset: number, size: number): Field<Uint8Array> => ({
  offset,
  size,
  get: (view, base) => new Uint8Array(view.buffer, view.byteOffset + base + offset, size).slice(),
  set: (view, base, value) => {
    if (value.length !== size) throw new RangeError(`${value.length} bytes where ${size} belong`);
    new Uint8Array(view.buffer, view.byteOffset + base + offset, size).set(value);
  },
});

/**
 * Declares a structure of `size` bytes. Throws RangeError when a field lies outside it or on another
 * field: a layout is data, and wrong data must not load.
 */
export function struct<const F extends Fields>(name: string, size: number, fields: F): Struct<F> {
  const taken = new Map<number, string>();
  for (const [key, field] of Object.entries(fields)) {
    if (field.offset < 0 || field.offset + field.size > size) {
      throw new RangeError(`${name}.${key} lies outside the ${size} bytes of the structure`);
    }
    for (let byte = field.offset; byte < field.offset + field.size; byte += 1) {
      const other = taken.get(byte);
      if (other !== undefined) throw new RangeError(`${name}.${key} overlaps ${name}.${other}`);
      taken.set(byte, key);
    }
  }
  const entries = Object.entries(fields) as [string, Field<unknown>][];
  const viewOf = (bytes: Uint8Array, at: number): DataView => {
    if (at < 0 || at + size > bytes.length) {
      throw new RangeError(`${name} needs ${size} bytes at ${at}, there are ${bytes.length}`);
    }
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  return {
    name,
    size,
    fields,
    read: (bytes, at = 0) => {
      const view = viewOf(bytes, at);
      const out: Record<string, unknown> = {};
      for (const [key, field] of entries) out[key] = field.get(view, at);
      return out as { -readonly [K in keyof F]: ValueOf<F[K]> };
    },
    write: (bytes, value, at = 0) => {
      const view = viewOf(bytes, at);
      const source = value as Record<string, unknown>;
      for (const [key, field] of entries) field.set(view, at, source[key]);
    },
  };
}
