import { createReadStream } from "node:fs";
import { createGunzip } from "node:zlib";
import { messageOf, UsageError } from "../../base/index.ts";

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
const CHUNK = 256 * 1024;

/** Reads a file line by line in bounded memory, whatever its size. */
export function readLines(file: string): AsyncGenerator<Line> {
  return linesOf(createReadStream(file, { highWaterMark: CHUNK }));
}

/**
 * The same for a file of gzip members; one that ends in the middle of a member is read as far as it
 * goes. Throws UsageError when it is no gzip file, or holds more than `max` bytes.
 */
export function readGzipLines(file: string, max: number): AsyncGenerator<Line> {
  return linesOf(unpacked(file, max));
}

async function* unpacked(file: string, max: number): AsyncGenerator<Buffer> {
  let size = 0;
  const unzip = createGunzip({ chunkSize: CHUNK });
  const source = createReadStream(file, { highWaterMark: CHUNK });
  source.on("error", (error) => unzip.destroy(error));
  try {
    for await (const chunk of source.pipe(unzip)) {
      const bytes = chunk as Buffer;
      size += bytes.length;
      if (size > max) {
        throw new UsageError(`holds more than ${max / 1024 / 1024} MiB`, { where: file });
      }
      yield bytes;
    }
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    if (code === "Z_BUF_ERROR") return;
    if (!code.startsWith("Z_")) throw error;
    throw new UsageError(`is damaged: ${messageOf(error)}`, { where: file, cause: error });
  } finally {
    source.destroy();
  }
}

async function* linesOf(chunks: AsyncIterable<unknown>): AsyncGenerator<Line> {
  let parts: Buffer[] = [];
  let size = 0;
  let number = 1;
  const take = (ended: boolean): Line => {
    const text = size > MAX_LINE_BYTES ? "" : Buffer.concat(parts).toString("utf8");
    parts = [];
    size = 0;
    return { number: number++, text, ended };
  };
  for await (const chunk of chunks) {
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
