import type { CanonicalRecord } from "./model.ts";
import { resynchronise } from "./align.ts";

/** A step of two traces: a record of either side or of both. */
export interface Step {
  readonly left?: number;
  readonly right?: number;
}

/** Score of two records that are one step, and that are one step gone another way. */
const SAME = 3;
const ALIKE = 1;
/** Largest region that is paired as well as possible; a larger one is paired from its beginning. */
const MAX_CELLS = 250_000;

/**
 * Pairs the records of two traces by their skeletons. Linear where they agree; where they do not, the
 * shortest way back to agreement is looked for. Where there is none within bounds, `undefined` ends the
 * steps: the rest has no counterpart.
 */
export function* pairRecords(
  left: readonly CanonicalRecord[],
  right: readonly CanonicalRecord[],
): Generator<Step | undefined> {
  const numbers = new Map<string, number>();
  const keyOf = ({ skeleton }: CanonicalRecord): number => {
    const known = numbers.get(skeleton) ?? numbers.size;
    numbers.set(skeleton, known);
    return known;
  };
  const leftKeys = left.map((one) => keyOf(one));
  const rightKeys = right.map((one) => keyOf(one));
  let [i, j] = [0, 0];
  while (i < left.length || j < right.length) {
    if (i < left.length && j < right.length && leftKeys[i] === rightKeys[j]) {
      yield { left: i, right: j };
      i += 1;
      j += 1;
      continue;
    }
    const skip = resynchronise(leftKeys, rightKeys, i, j);
    if (skip === undefined) {
      yield undefined;
      return;
    }
    yield* pairRegion(left, right, i, i + skip.left, j, j + skip.right);
    i += skip.left;
    j += skip.right;
  }
}

function score(left: CanonicalRecord | undefined, right: CanonicalRecord | undefined): number {
  if (left === undefined || right === undefined) return 0;
  if (left.skeleton === right.skeleton) return SAME;
  return left.outline === right.outline ? ALIKE : 0;
}

/** The pairs of a region in order, chosen for the highest score, with what has no counterpart between. */
function pairRegion(
  left: readonly CanonicalRecord[],
  right: readonly CanonicalRecord[],
  l0: number,
  l1: number,
  r0: number,
  r1: number,
): readonly Step[] {
  const [n, m] = [l1 - l0, r1 - r0];
  const steps: Step[] = [];
  const alone = (): void => {
    for (let i = l0; i < l1; i += 1) steps.push({ left: i });
    for (let j = r0; j < r1; j += 1) steps.push({ right: j });
  };
  if (n === 0 || m === 0 || n * m > MAX_CELLS) {
    alone();
    return steps;
  }
  // best[i][j]: the highest score of what is left from i and j on.
  const best = Array.from({ length: n + 1 }, () => new Int32Array(m + 1));
  const at = (i: number, j: number): number => best[i]?.[j] ?? 0;
  for (let i = n - 1; i >= 0; i -= 1) {
    const row = best[i];
    if (row === undefined) continue;
    for (let j = m - 1; j >= 0; j -= 1) {
      const paired = score(left[l0 + i], right[r0 + j]);
      const taken = paired === 0 ? 0 : paired + at(i + 1, j + 1);
      row[j] = Math.max(taken, at(i + 1, j), at(i, j + 1));
    }
  }
  let [i, j] = [0, 0];
  while (i < n && j < m) {
    const paired = score(left[l0 + i], right[r0 + j]);
    if (paired > 0 && at(i, j) === paired + at(i + 1, j + 1)) {
      steps.push({ left: l0 + i, right: r0 + j });
      i += 1;
      j += 1;
    } else if (at(i, j) === at(i + 1, j)) {
      steps.push({ left: l0 + i });
      i += 1;
    } else {
      steps.push({ right: r0 + j });
      j += 1;
    }
  }
  for (; i < n; i += 1) steps.push({ left: l0 + i });
  for (; j < m; j += 1) steps.push({ right: r0 + j });
  return steps;
}
