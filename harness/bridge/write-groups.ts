import { MAX_PIECES } from "./console-page.ts";
import type { MemoryWrite } from "./wire-machine.ts";

/**
 * Writes in groups that are made and checked together: repeated ones alone, pieces of more than `most`
 * bytes cut, and as many small ones in a group as one checksum covers.
 */
export function* groupsOf(
  writes: readonly MemoryWrite[],
  most: number,
): Generator<readonly MemoryWrite[]> {
  let group: MemoryWrite[] = [];
  let size = 0;
  for (const write of writes) {
    if (write.length !== undefined) {
      yield [write];
      continue;
    }
    const { length } = write.bytes;
    for (let done = 0; done < length;) {
      const bytes = write.bytes.subarray(done, done + most - size);
      group.push({ at: write.at + done, bytes });
      size += bytes.length;
      done += bytes.length;
      if (size < most && group.length < MAX_PIECES) continue;
      yield group;
      group = [];
      size = 0;
    }
  }
  if (group.length > 0) yield group;
}
