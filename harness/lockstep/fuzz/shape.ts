/**
 * A small language for the data that programs are made of. One description of a shape gives the
 * generator (`arbitrary.ts`), the check of files from outside (`check.ts`) and what a value may be
 * made smaller to (`simpler.ts`).
 */
export type Shape<T = unknown> = ShapeNode & {
  /** Never there: carries the type of the values. */
  readonly values?: T;
};

export type ShapeNode =
  | { readonly kind: "nat"; readonly max: number }
  | { readonly kind: "pick"; readonly from: readonly (string | number | boolean)[] }
  | { readonly kind: "hex" }
  | { readonly kind: "text"; readonly max: number }
  | { readonly kind: "list"; readonly of: Shape; readonly min: number; readonly max: number }
  | { readonly kind: "record"; readonly fields: Readonly<Record<string, Field>> }
  | { readonly kind: "either"; readonly from: readonly Choice[] };

export interface Field {
  readonly shape: Shape;
  /** Absent in all but one of this many values; always there when 0. */
  readonly rare: number;
}

export interface Choice {
  readonly weight: number;
  readonly shape: Shape;
}

export type Of<S> = S extends Shape<infer T> ? T : never;

/** An integer from 0 to `max`. */
export const nat = (max: number): Shape<number> => ({ kind: "nat", max });

/** One of these, the simplest first; weigh one more by naming it more often. */
export const pick = <const V extends readonly (string | number | boolean)[]>(
  ...from: V
): Shape<V[number]> => ({ kind: "pick", from });

/** A 64-bit value as text, `0x` and 1 to 16 digits. */
export const hex = (): Shape<string> => ({ kind: "hex" });

/** Text for people; never generated. */
export const text = (max: number): Shape<string> => ({ kind: "text", max });

export const list = <T>(of: Shape<T>, min: number, max: number): Shape<readonly T[]> => ({
  kind: "list",
  of,
  min,
  max,
});

/** A field that is there in one of `one in` values. */
export interface Rare<T> {
  readonly rare: number;
  readonly shape: Shape<T>;
}
export const rarely = <T>(oneIn: number, shape: Shape<T>): Rare<T> => ({ rare: oneIn, shape });

type Fields = Readonly<Record<string, Shape | Rare<unknown>>>;
type Needed<F> = { [K in keyof F]: F[K] extends Rare<unknown> ? never : K }[keyof F];
type Record_<F extends Fields> = {
  readonly [K in Needed<F>]: F[K] extends Shape<infer T> ? T : never;
} & { readonly [K in Exclude<keyof F, Needed<F>>]?: F[K] extends Rare<infer T> ? T : never };

export function record<const F extends Fields>(fields: F): Shape<Record_<F>> {
  const all: Record<string, Field> = {};
  for (const [name, field] of Object.entries<Shape | Rare<unknown>>(fields)) {
    all[name] = "rare" in field ? field : { shape: field, rare: 0 };
  }
  return { kind: "record", fields: all };
}

/** One of several shapes, the simplest first, each with its weight. */
export function either<const C extends readonly (readonly [number, Shape])[]>(
  ...from: C
): Shape<Of<C[number][1]>> {
  return { kind: "either", from: from.map(([weight, shape]) => ({ weight, shape })) };
}

/**
 * Whether `value` has this shape: undefined when it has, else where it has not and what is expected
 * there, as `steps[3].vm: an integer from 0 to 3`.
 */
export function mismatch(shape: ShapeNode, value: unknown, at = ""): string | undefined {
  const wrong = (expected: string): string => `${at === "" ? "the file" : at}: ${expected}`;
  switch (shape.kind) {
    case "nat":
      return typeof value === "number" &&
        Number.isInteger(value) &&
        value >= 0 &&
        value <= shape.max
        ? undefined
        : wrong(`an integer from 0 to ${shape.max}`);
    case "hex":
      return typeof value === "string" && /^0x[0-9a-f]{1,16}$/.test(value)
        ? undefined
        : wrong("a 64-bit number as text, e.g. 0x1f");
    case "text":
      return typeof value === "string" && value.length <= shape.max
        ? undefined
        : wrong(`text of at most ${shape.max} characters`);
    case "pick":
      return (shape.from as readonly unknown[]).includes(value)
        ? undefined
        : wrong(`one of ${[...new Set(shape.from)].map((one) => JSON.stringify(one)).join(", ")}`);
    case "list": {
      if (!Array.isArray(value) || value.length < shape.min || value.length > shape.max) {
        return wrong(`a list of ${shape.min} to ${shape.max} entries`);
      }
      for (const [index, entry] of value.entries()) {
        const found = mismatch(shape.of, entry, `${at}[${index}]`);
        if (found !== undefined) return found;
      }
      return undefined;
    }
    case "record":
      return recordMismatch(shape, value, at);
    case "either":
      return eitherMismatch(shape.from, value, at);
    default:
      return shape satisfies never;
  }
}

function recordMismatch(
  shape: Extract<ShapeNode, { kind: "record" }>,
  value: unknown,
  at: string,
): string | undefined {
  const inside = (name: string): string => (at === "" ? name : `${at}.${name}`);
  if (!isRecord(value)) return `${at === "" ? "the file" : at}: an object`;
  for (const name of Object.keys(value)) {
    if (!Object.hasOwn(shape.fields, name)) {
      return `${inside(name)}: no such field; there are ${Object.keys(shape.fields).join(", ")}`;
    }
  }
  for (const [name, field] of Object.entries(shape.fields)) {
    const entry = value[name];
    if (entry === undefined && field.rare > 0) continue;
    const found = mismatch(field.shape, entry, inside(name));
    if (found !== undefined) return found;
  }
  return undefined;
}

/** Of several records the one whose literal fields agree is meant, so that its error is told. */
function eitherMismatch(from: readonly Choice[], value: unknown, at: string): string | undefined {
  const found = from.map(({ shape }) => mismatch(shape, value, at));
  if (found.includes(undefined)) return undefined;
  const meant = from.findIndex(({ shape }) => isMeant(shape, value));
  if (meant >= 0) return found[meant];
  const tags = from.map(({ shape }) => tagOf(shape)).filter((tag) => tag !== undefined);
  const [first] = tags;
  if (first !== undefined && tags.length === from.length) {
    const names = new Set(tags.flatMap(({ values }) => values).map(String));
    return `${at}.${first.name}: one of ${[...names].join(", ")}`;
  }
  return `${at}: ${found.map((one) => one?.slice(at.length + 2)).join(", or ")}`;
}

interface Tag {
  readonly name: string;
  readonly values: readonly unknown[];
}

/** The field that tells a record from its alternatives: `do` or `as`. */
function tagOf(shape: ShapeNode): Tag | undefined {
  if (shape.kind !== "record") return undefined;
  for (const name of ["do", "as"]) {
    const field = shape.fields[name];
    if (field?.shape.kind === "pick") return { name, values: field.shape.from };
  }
  return undefined;
}

/** Whether a value belongs to this alternative: by its tag, or by its shape. */
export function isMeant(shape: ShapeNode, value: unknown): boolean {
  const tag = tagOf(shape);
  if (tag === undefined) return mismatch(shape, value) === undefined;
  return isRecord(value) && tag.values.includes(value[tag.name]);
}

const isRecord = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);
