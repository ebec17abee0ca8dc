/** Edit distance with adjacent transpositions (optimal string alignment). */
function distance(a: string, b: string): number {
  let before: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i += 1) {
    const row = [i];
    for (let j = 1; j <= b.length; j += 1) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min(
        (last[j] ?? 0) + 1,
        (row[j - 1] ?? 0) + 1,
        (last[j - 1] ?? 0) + (same ? 0 : 1),
      );
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (before[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    before = last;
    last = row;
  }
  return last[b.length] ?? 0;
}

/**
 * The candidate that was most likely meant by `word`, or undefined when none is close: at most two
 * edits, one for words under 4 letters, or the only candidate that begins with `word`.
 */
export function closest(word: string, candidates: Iterable<string>): string | undefined {
  const wanted = word.toLowerCase().slice(0, 64);
  let best: string | undefined;
  let bestDistance = (wanted.length < 4 ? 1 : 2) + 1;
  const starting: string[] = [];
  for (const candidate of candidates) {
    const at = distance(wanted, candidate.toLowerCase());
    if (at < bestDistance) [best, bestDistance] = [candidate, at];
    if (wanted.length >= 2 && candidate.toLowerCase().startsWith(wanted)) starting.push(candidate);
  }
  return best ?? (starting.length === 1 ? starting[0] : undefined);
}

/** `did you mean "x"?`, or undefined when nothing is close. */
export function didYouMean(word: string, candidates: Iterable<string>): string | undefined {
  const match = closest(word, candidates);
  return match === undefined ? undefined : `did you mean "${match}"?`;
}
