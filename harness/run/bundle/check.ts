/** Checks for JSON from outside: each returns a clean value of a known type or throws `ShapeError`. */
export type Check<T> = (value: unknown, at: string) => T;

/** A JSON value that is not what it should be; `at` is the path to it, e.g. `cases[3].status`. */
export class ShapeError extends Error {
  readonly at: string;
  readonly expected: string;
  readonly seen: string;

  constructor(at: string, expected: string, value: unknown) {
    const seen = describe(value);
    super(`${at || "the document"} should be ${expected} but is ${seen}`);
    this.at = at;
    this.expected = expected;
    this.seen = seen;
  }
}

function describe(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null) return "null";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "object") return "an object";
  const shown = JSON.stringify(value);
  return shown.length > 60 ? `${shown.slice(0, 60)}…` : shown;
}

export const text: Check<string> = (value, at) => {
  if (typeof value !== "string") throw new ShapeError(at, "a text", value);
  return value;
};

export const number: Check<number> = (value, at) => {
  if (typeof value !== "number" || !Number.isFinite(value))
    throw new ShapeError(at, "a number", value);
  return value;
};

/** A count, size or offset: an integer from 0 to 2^53 - 1. */
export const count: Check<number> = (value, at) => {
  if (!Number.isSafeInteger(value) || (value as number) < 0) {
    throw new ShapeError(at, "a whole number, 0 or more", value);
  }
  return value as number;
};

export const flag: Check<boolean> = (value, at) => {
  if (typeof value !== "boolean") throw new ShapeError(at, "true or false", value);
  return value;
};

/** A text that matches `pattern`; `what` names it in the message. */
export function matching(pattern: RegExp, what: string): Check<string> {
  return (value, at) => {
    if (typeof value !== "string" || !pattern.test(value)) throw new ShapeError(at, what, value);
    return value;
  };
}

export function oneOf<const T extends string | number | boolean>(choices: readonly T[]): Check<T> {
  return (value, at) => {
    const found = choices.find((choice) => choice === value);
    if (found === undefined) {
      const names = choices.map(String).join(", ");
      throw new ShapeError(at, choices.length === 1 ? names : `one of ${names}`, value);
    }
    return found;
  };
}

export function list<T>(item: Check<T>): Check<T[]> {
  return (value, at) => {
    if (!Array.isArray(value)) throw new ShapeError(at, "a list", value);
    return value.map((one: unknown, i) => item(one, `${at}[${i}]`));
  };
}

export function record<T>(item: Check<T>): Check<Record<string, T>> {
  return (value, at) => {
    const entries = Object.entries(plainObject(value, at));
    return Object.fromEntries(entries.map(([key, one]) => [key, item(one, join(at, key))]));
  };
}

type Shape = Readonly<Record<string, Check<unknown>>>;
type Checked<S extends Shape> = { readonly [K in keyof S]: ReturnType<S[K]> };

/** An object with these fields. Fields that are not named are left out of the result. */
export function object<R extends Shape>(required: R): Check<Checked<R>>;
export function object<R extends Shape, O extends Shape>(
  required: R,
  optional: O,
): Check<Checked<R> & Partial<Checked<O>>>;
export function object(required: Shape, optional: Shape = {}): Check<Record<string, unknown>> {
  return (value, at) => {
    const source = plainObject(value, at);
    const entries: [string, unknown][] = [];
    for (const [key, check] of Object.entries(required)) {
      entries.push([key, check(own(source, key), join(at, key))]);
    }
    for (const [key, check] of Object.entries(optional)) {
      const field = own(source, key);
      if (field !== undefined) entries.push([key, check(field, join(at, key))]);
    }
    return Object.fromEntries(entries);
  };
}

function plainObject(value: unknown, at: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new ShapeError(at, "an object", value);
  }
  return value as Record<string, unknown>;
}

function own(source: Record<string, unknown>, key: string): unknown {
  return Object.hasOwn(source, key) ? source[key] : undefined;
}

function join(at: string, key: string): string {
  const name = /^[\w-]{1,60}$/.test(key) ? key : JSON.stringify(key.slice(0, 60));
  return at === "" ? name : `${at}.${name}`;
}
