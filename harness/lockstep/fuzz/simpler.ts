import { type Choice, isMeant, type ShapeNode } from "./shape.ts";

/** The simplest value of a shape. */
export function smallest(shape: ShapeNode): unknown {
  switch (shape.kind) {
    case "nat":
      return 0;
    case "hex":
      return "0x0";
    case "text":
      return "";
    case "pick":
      return shape.from[0];
    case "list":
      return Array.from({ length: shape.min }, () => smallest(shape.of));
    case "record": {
      const value: Record<string, unknown> = {};
      for (const [name, field] of Object.entries(shape.fields)) {
        if (field.rare === 0) value[name] = smallest(field.shape);
      }
      return value;
    }
    case "either":
      return shape.from[0] === undefined ? undefined : smallest(shape.from[0].shape);
    default:
      return shape satisfies never;
  }
}

/** Values of the shape that are simpler than `value`, the boldest first. */
export function* simpler(shape: ShapeNode, value: unknown): Iterable<unknown> {
  switch (shape.kind) {
    case "nat": {
      const number = value as number;
      // 0, then ever smaller steps down, so that the least value is found in few attempts.
      for (let less = number; less >= 1; less = Math.floor(less / 2)) yield number - less;
      return;
    }
    case "hex":
      if (value !== "0x0") yield "0x0";
      return;
    case "text":
      return;
    case "pick": {
      const at = (shape.from as readonly unknown[]).indexOf(value);
      yield* new Set(shape.from.slice(0, Math.min(at, 3)));
      return;
    }
    case "list":
      yield* simplerList(shape, value as unknown[]);
      return;
    case "record": {
      const known = value as Record<string, unknown>;
      for (const [name, field] of Object.entries(shape.fields)) {
        if (field.rare === 0 || known[name] === undefined) continue;
        const { [name]: _dropped, ...rest } = known;
        yield rest;
      }
      for (const [name, field] of Object.entries(shape.fields)) {
        if (known[name] === undefined) continue;
        for (const next of simpler(field.shape, known[name])) yield { ...known, [name]: next };
      }
      return;
    }
    case "either":
      yield* simplerChoice(shape.from, value);
      return;
    default:
      shape satisfies never;
  }
}

function* simplerList(
  shape: Extract<ShapeNode, { kind: "list" }>,
  value: readonly unknown[],
): Iterable<unknown> {
  for (let size = value.length >> 1; size >= 1; size >>= 1) {
    if (value.length - size < shape.min) continue;
    for (let from = 0; from + size <= value.length; from += size) yield value.toSpliced(from, size);
  }
  if (value.length === 1 && shape.min === 0) yield [];
  for (const [index, entry] of value.entries()) {
    for (const next of simpler(shape.of, entry)) yield value.with(index, next);
  }
}

function* simplerChoice(from: readonly Choice[], value: unknown): Iterable<unknown> {
  const at = from.findIndex(({ shape }) => isMeant(shape, value));
  const tagged = from[at]?.shape.kind === "record";
  if (!tagged) for (const { shape } of from.slice(0, Math.max(0, at))) yield smallest(shape);
  const own = from[at];
  if (own !== undefined) yield* simpler(own.shape, value);
}
