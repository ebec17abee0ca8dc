/** How many equal steps in a row end a difference. */
const STEADY = 6;
/** Longest edit that is looked for; beyond it two traces are taken to have nothing more in common. */
const MAX_EDITS = 400;

/** Where two sequences agree again: so many of either are skipped. */
export interface Resync {
  readonly left: number;
  readonly right: number;
}

/**
 * The nearest place behind `left` and `right` at which the sequences agree for `STEADY` steps, or up to
 * both ends: the shortest edit that leads to one (Myers' furthest-reaching paths, O(edits^2)).
 * Undefined where it is longer than 400.
 */
export function resynchronise(
  left: readonly number[],
  right: readonly number[],
  atLeft: number,
  atRight: number,
): Resync | undefined {
  const [n, m] = [left.length - atLeft, right.length - atRight];
  const agree = (x: number, y: number): number => {
    let steps = 0;
    while (
      steps < STEADY &&
      x + steps < n &&
      y + steps < m &&
      left[atLeft + x + steps] === right[atRight + y + steps]
    ) {
      steps += 1;
    }
    return steps;
  };
  const settled = (x: number, y: number, steps: number): boolean =>
    steps >= STEADY || (x + steps >= n && y + steps >= m);
  // reach[k]: how far to the left's end the diagonal k = x - y has come.
  const reach = new Map<number, number>([[1, 0]]);
  for (let edits = 0; edits <= Math.min(MAX_EDITS, n + m); edits += 1) {
    let found: (Resync & { readonly off: number }) | undefined;
    for (let k = -edits; k <= edits; k += 2) {
      const down = reach.get(k + 1) ?? -1;
      const across = (reach.get(k - 1) ?? -1) + 1;
      const start = k === -edits || (k !== edits && across <= down) ? down : across;
      const [x, y] = [start, start - k];
      if (x < 0 || y < 0 || x > n || y > m) {
        reach.set(k, -1);
        continue;
      }
      const steps = agree(x, y);
      // Where calls repeat, several places will do: the one that leaves the same on both sides is best.
      const off = Math.abs(n - m - k);
      if (edits > 0 && settled(x, y, steps) && (found === undefined || off < found.off)) {
        found = { left: x, right: y, off };
      }
      reach.set(k, x + steps);
    }
    if (found !== undefined) return found;
  }
  return undefined;
}
