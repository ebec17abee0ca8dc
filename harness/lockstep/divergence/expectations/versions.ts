/** The first dotted number of a version string: 4.5 of `Unknown_4.5`; undefined where it has none. */
export function versionNumbers(text: string): readonly number[] | undefined {
  const found = /\d+(?:\.\d+){1,3}/.exec(text)?.[0] ?? /^\D*(\d+)/.exec(text)?.[1];
  return found?.split(".").map(Number);
}

/** Below 0, 0 or above, comparing as far as `b` goes: 4.5.1 is 4.5. */
function compared(a: readonly number[], b: readonly number[]): number {
  for (const [index, part] of b.entries()) {
    const difference = (a[index] ?? 0) - part;
    if (difference !== 0) return difference;
  }
  return 0;
}

/** Whether a version is within a range such as `>=4.5 <4.6`; a bare number means that release and its points. */
export function inRange(version: string, range: string): boolean {
  const own = versionNumbers(version);
  if (own === undefined) return false;
  return range
    .trim()
    .split(/ +/)
    .every((part) => {
      const [, operator = "", number = ""] = /^([<>]=?|=)?(.+)$/.exec(part) ?? [];
      const order = compared(own, number.split(".").map(Number));
      switch (operator) {
        case "<":
          return order < 0;
        case "<=":
          return order <= 0;
        case ">":
          return order > 0;
        case ">=":
          return order >= 0;
        default:
          return order === 0;
      }
    });
}
