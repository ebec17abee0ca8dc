import type * as fc from "fast-check";
import type { Shape, ShapeNode } from "./shape.ts";

type FastCheck = typeof fc;

/** Makes values of `shape` from seeds; the same seed gives the same value. Loads fast-check. */
export async function generator<T>(shape: Shape<T>): Promise<(seed: number) => T> {
  const fastCheck: FastCheck = await import("fast-check");
  // The weights below are the distribution that is wanted: no bias towards small values on top.
  const arbitrary = fastCheck.noBias(arbitraryOf(fastCheck, shape)) as fc.Arbitrary<T>;
  return (seed) => {
    const [value] = fastCheck.sample(arbitrary, { seed: seed | 0, numRuns: 1 });
    return value as T;
  };
}

/** The fast-check arbitrary of a shape. */
export function arbitraryOf(fastCheck: FastCheck, shape: ShapeNode): fc.Arbitrary<unknown> {
  switch (shape.kind) {
    case "nat":
      return fastCheck.nat(shape.max);
    case "hex":
      return fastCheck.bigInt({ min: 0n, max: 2n ** 64n - 1n }).map((n) => `0x${n.toString(16)}`);
    case "text":
      return fastCheck.string({ maxLength: shape.max });
    case "pick":
      return fastCheck.constantFrom(...shape.from);
    case "list":
      return fastCheck.array(arbitraryOf(fastCheck, shape.of), {
        minLength: shape.min,
        maxLength: shape.max,
        size: "max",
      });
    case "record": {
      const fields: Record<string, fc.Arbitrary<unknown>> = {};
      for (const [name, field] of Object.entries(shape.fields)) {
        const inner = arbitraryOf(fastCheck, field.shape);
        fields[name] =
          field.rare === 0
            ? inner
            : fastCheck.oneof(
                { weight: field.rare - 1, arbitrary: fastCheck.constant(undefined) },
                { weight: 1, arbitrary: inner },
              );
      }
      return fastCheck.record(fields, { noNullPrototype: true });
    }
    case "either":
      return fastCheck.oneof(
        ...shape.from.map(({ weight, shape: inner }) => ({
          weight,
          arbitrary: arbitraryOf(fastCheck, inner),
        })),
      );
    default:
      return shape satisfies never;
  }
}
