import { expect } from "@jest/globals";
import { scenariosOf } from "./target.ts";

/** What an `RpmbRun` ends with. */
export interface RpmbOutcome {
  readonly steps: Readonly<Record<string, string>>;
  /** Whose key the part has: `derived`, `another` or `none`. */
  readonly key?: string;
  readonly counter?: number;
}

/** A step's result, and the frames that it took. */
export function split(step: string): { readonly result: string; readonly frames: string } {
  const [, result = "", frames = ""] = /^("(?:[^"\\]|\\.)*"|[^:]*)(?:: (.*))?$/s.exec(step) ?? [];
  return { result, frames };
}

/** Results of steps, without the frames. */
export const results = ({ steps }: RpmbOutcome): Record<string, string> =>
  Object.fromEntries(Object.entries(steps).map(([name, step]) => [name, split(step).result]));

export const framesOf = ({ steps }: RpmbOutcome, step: string): string =>
  split(steps[step] ?? "").frames;

type Check = (
  name: string,
  title: string,
  expected: Readonly<Record<string, string>>,
  more?: (outcome: RpmbOutcome) => void,
) => void;

/** Tests of the scenarios of a file that end with steps: what each came to, and what else is asked. */
export function stepsOf(file: string): Check {
  const test = scenariosOf(file);
  return (name, title, expected, more) => {
    test(title, name, async (run) => {
      const outcome = (await run()) as RpmbOutcome;
      expect(results(outcome)).toEqual(expected);
      more?.(outcome);
    });
  };
}
