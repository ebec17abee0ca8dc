import { createReadStream } from "node:fs";

/** One line of a text file, without its line end. */
export interface Line {
  /** 1 for the first. */
  readonly number: number;
  readonly text: string;
  /** The line ended with a newline; false only for the last one of a file that was cut off. */
  readonly ended: boolean;
}

/** Longest line that is kept; a longer one is delivered as an empty, unparsable text. */
const MAX_LINE_BYTES = 16 * 1024 * 1024;

/** Reads a file line by line in bounded memory, whatever its size. */
export async function* readLines(file: string): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let size = 0;
  let number = 1;
  const take = (ended: boolean): Line => {
    const text = size > MAX_LINE_BYTES ? "" : Buffer.concat(parts).toString("utf8");
    parts = [];
    size = 0;
    return { number: number++, text, ended };
  };
  for await (const chunk of createReadStream(file, { highWaterMark: 256 * 1024 })) {
    const bytes = chunk as Buffer;
    let from = 0;
    for (let at = bytes.indexOf(0x0a); at !== -1; at = bytes.indexOf(0x0a, from)) {
      size += at - from;
      if (size <= MAX_LINE_BYTES) parts.push(bytes.subarray(from, at));
      yield take(true);
      from = at + 1;
    }
    size += bytes.length - from;
    if (size <= MAX_LINE_BYTES) parts.push(bytes.subarray(from));
    else parts = [];
  }
  if (size > 0) yield take(false);
}
