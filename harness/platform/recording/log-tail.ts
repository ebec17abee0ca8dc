import { closeSync, fstatSync, openSync, readSync } from "node:fs";

/** What is read of a log at once, in bytes. */
const CHUNK = 64 * 1024;

/**
 * The lines that a console log grows by, read synchronously: QEMU writes what the machine sends to the
 * file before the machine goes on.
 */
export class LogTail {
  readonly #fd: number;
  readonly #chunk = Buffer.alloc(CHUNK);
  /** Bytes before this were given out as lines. */
  #at: number;
  /** The beginning of a line whose end has not come. */
  #rest = "";

  /** From byte `from` of `file` on, its present end when left out. Throws when it cannot be opened. */
  constructor(file: string, from?: number) {
    this.#fd = openSync(file, "r");
    this.#at = from ?? fstatSync(this.#fd).size;
  }

  /** Where the first line begins that was not given out. */
  get offset(): number {
    return this.#at - Buffer.byteLength(this.#rest, "latin1");
  }

  /** The lines that were completed since, without their ends; with `all` a beginning of one as well. */
  lines(all = false): string[] {
    for (;;) {
      const count = readSync(this.#fd, this.#chunk, 0, CHUNK, this.#at);
      if (count === 0) break;
      this.#rest += this.#chunk.toString("latin1", 0, count);
      this.#at += count;
    }
    if (this.#rest === "") return [];
    const lines = this.#rest.split("\n");
    this.#rest = lines.pop() ?? "";
    if (all && this.#rest !== "") {
      lines.push(this.#rest);
      this.#rest = "";
    }
    // Each line was cut out of what is one byte a character.
    return lines.map((line) => Buffer.from(line, "latin1").toString("utf8").replace(/\r+$/, ""));
  }

  close(): void {
    closeSync(this.#fd);
  }
}
