import type { Deadline } from "../base/index.ts";
import { LineTooBad, type LoaderPrompt } from "./loader-prompt.ts";

const LONG_LINE_ATTEMPTS = 4;

/**
 * Types commands that bear repetition at a boot loader's prompt, as many to a line as it takes and the
 * wire carries.
 */
export class LoaderLines {
  readonly #prompt: LoaderPrompt;
  #length: number;
  /** Whether the boot loader knows compound commands. */
  hush = true;

  /** `limit` is the longest line that the boot loader takes, in characters. */
  constructor(prompt: LoaderPrompt, limit: number) {
    this.#prompt = prompt;
    this.#length = limit;
  }

  /** A line that does nothing until it is there to its end: an Enter out of noise cannot start half of it. */
  whole(line: string): string {
    return this.hush ? `if true;then ${line};fi` : line;
  }

  /**
   * Runs `commands` and, in the last line, `last`; gives what the last line printed. `busyMs` is how
   * long `last` may be silent for.
   */
  async run(
    commands: readonly string[],
    last: string,
    deadline: Deadline,
    busyMs?: number,
  ): Promise<string[]> {
    for (let done = 0; ;) {
      const { count, withLast } = this.#fit(commands, done, last);
      const parts = commands.slice(done, done + count);
      const line = this.whole((withLast ? [...parts, last] : parts).join(";"));
      const isLong = parts.length + (withLast ? 1 : 0) > 1;
      try {
        const printed = await this.#prompt.run(line, deadline, {
          ...(isLong ? { attempts: LONG_LINE_ATTEMPTS } : {}),
          ...(withLast && busyMs !== undefined ? { busyMs } : {}),
        });
        done += count;
        if (withLast) return printed;
      } catch (error) {
        // A long line rarely comes through whole where characters are lost.
        if (!isLong || !(error instanceof LineTooBad)) throw error;
        this.#length = Math.floor(this.#length / 2);
      }
    }
  }

  /** How many of the commands from `done` on a line takes, and whether `last` goes with them. */
  #fit(
    commands: readonly string[],
    done: number,
    last: string,
  ): { readonly count: number; readonly withLast: boolean } {
    let length = this.whole("").length;
    let count = 0;
    for (const command of commands.slice(done)) {
      length += command.length + 1;
      if (count > 0 && length > this.#length) return { count, withLast: false };
      count += 1;
    }
    const withLast = count === 0 || length + last.length < this.#length;
    return { count, withLast };
  }
}

const hex = (value: number): string => value.toString(16);

/** `mw` commands for bytes at any address; eight at a time where it is aligned. */
export function* memoryWrites(at: number, bytes: Uint8Array): Generator<string> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let done = 0; done < bytes.length;) {
    const address = at + done;
    if (address % 8 === 0 && bytes.length - done >= 8) {
      const word = view.getBigUint64(done, true);
      let run = 1;
      while (
        done + run * 8 + 8 <= bytes.length &&
        view.getBigUint64(done + run * 8, true) === word
      ) {
        run += 1;
      }
      yield `mw.q ${hex(address)} ${word.toString(16)}${run > 1 ? ` ${hex(run)}` : ""}`;
      done += run * 8;
    } else {
      yield `mw.b ${hex(address)} ${hex(bytes[done] ?? 0)}`;
      done += 1;
    }
  }
}
