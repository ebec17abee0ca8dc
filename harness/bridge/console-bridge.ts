import { randomInt } from "node:crypto";
import { crc32 } from "node:zlib";
import { type Deadline, InfrastructureError } from "../base/index.ts";
import type { Pa, Registers } from "../machine/index.ts";
import {
  type Answer,
  CONSOLE_PAGE,
  goArguments,
  OPERATION,
  readAnswer,
  WordRows,
} from "./console-page.ts";
import { LineTooBad, type LoaderPrompt } from "./loader-prompt.ts";
import type { RamWindow } from "./ram-window.ts";

export interface ConsoleBridgeOptions {
  readonly prompt: LoaderPrompt;
  readonly window: RamWindow;
  /** The assembled boards/bridge/console.s. */
  readonly program: Uint8Array;
  /** Longest line that the boot loader takes, in characters. */
  readonly lineLimit: number;
  /** Milliseconds after which an SMC that did not return counts as lost; default 30,000. */
  readonly smcMs?: number;
}

const SMC_MS = 30_000;
/** Bytes that are written, or read, and then checked together. */
const CHUNK = 1024;
/** Larger than any second-level cache of the family: what is written before it is in RAM after it. */
const EVICTION = 4 * 1024 * 1024;
const TRIES = 8;
const MAX_READS = 200;
const LONG_LINE_ATTEMPTS = 4;

/**
 * Memory and SMCs of a machine that stands at its boot loader's prompt, through nothing but `mw`, `md`
 * and `go`. Whatever is read has been checked against a CRC-32 that the machine made itself, and an
 * SMC is carried out once, however often its answer has to be asked for.
 */
export class ConsoleBridge {
  readonly #prompt: LoaderPrompt;
  readonly #window: RamWindow;
  #lineLength: number;
  readonly #smcMs: number;
  readonly #page: Pa;
  #sequence = BigInt(randomInt(1, 2 ** 32));
  #hush = true;

  private constructor(options: ConsoleBridgeOptions) {
    this.#prompt = options.prompt;
    this.#window = options.window;
    this.#lineLength = options.lineLimit;
    this.#smcMs = options.smcMs ?? SMC_MS;
    this.#page = options.window.take(CONSOLE_PAGE.size);
  }

  /**
   * Puts the program in place and proves that it runs. Throws InfrastructureError when the boot loader
   * lacks `mw`, `md` or `go` or the line is too bad, TargetCrashError when the board is lost.
   */
  static async start(options: ConsoleBridgeOptions, deadline: Deadline): Promise<ConsoleBridge> {
    const bridge = new ConsoleBridge(options);
    await bridge.#load(options.program, deadline);
    return bridge;
  }

  /**
   * One SMC: x0..x7 go in; x0..x3, and x4..x7 where they changed, come back in place. Throws
   * TargetCrashError when it does not return.
   */
  async smc(registers: Registers, deadline: Deadline): Promise<void> {
    const operands = Array.from({ length: 8 }, (_, index) => registers.get64(index));
    const { words, upperChanged } = await this.#go(OPERATION.smc, operands, deadline);
    for (const [index, word] of words.entries()) registers.set64(index, word);
    if (upperChanged) {
      for (const [index, word] of (await this.#upper(deadline)).entries()) {
        registers.set64(4 + index, word);
      }
    }
  }

  /** A copy of `length` bytes of free RAM. Throws RangeError outside it. */
  async read(at: Pa, length: number, deadline: Deadline): Promise<Uint8Array> {
    this.#window.check(at, length);
    const out = new Uint8Array(length);
    for (let done = 0; done < length; done += CHUNK) {
      const size = Math.min(CHUNK, length - done);
      out.set(await this.#readChunk(at + done, size, deadline), done);
    }
    return out;
  }

  /** Writes `bytes` into free RAM and checks that they arrived. Throws RangeError outside it. */
  async write(at: Pa, bytes: Uint8Array, deadline: Deadline): Promise<void> {
    this.#window.check(at, bytes.length);
    for (let done = 0; done < bytes.length; done += CHUNK) {
      const chunk = bytes.subarray(done, done + CHUNK);
      const check = BigInt(crc32(chunk));
      await this.#insist(`writing 0x${(at + done).toString(16)}`, async () => {
        await this.#put(at + done, chunk, deadline);
        return (await this.#checksum(at + done, chunk.length, deadline)) === check;
      });
    }
  }

  async #load(program: Uint8Array, deadline: Deadline): Promise<void> {
    if (program.length > CONSOLE_PAGE.codeSize) throw new RangeError("the program is too large");
    await this.#requireCommands(deadline);
    const code = new Uint8Array(CONSOLE_PAGE.codeSize);
    code.set(program);
    await this.#insist("loading the bridge's program", async () => {
      await this.#put(this.#page, code, deadline);
      await this.#fill(this.#page + CONSOLE_PAGE.answer, CONSOLE_PAGE.answerWords, deadline);
      const seen = await this.#readBack(this.#page, code.length, deadline);
      return Buffer.from(seen).equals(code);
    });
    await this.#makeFetchable(deadline);
    const own = await this.#checksum(this.#page, code.length, deadline);
    if (own !== BigInt(crc32(code)))
      throw unreliable("the bridge's program is not what was loaded");
  }

  /** Which commands there are, and whether a line may be a compound one. */
  async #requireCommands(deadline: Deadline): Promise<void> {
    const needed = ["mw", "md", "go"];
    const help = await this.#look("help mw md go", deadline, (text) =>
      needed.every((name) => new RegExp(`^${name} - `, "m").test(text)),
    );
    const missing = needed.filter((name) => !new RegExp(`^${name} - `, "m").test(help));
    if (missing.length > 0) {
      throw new InfrastructureError(`the boot loader lacks ${missing.join(", ")}`, {
        expected: "a U-Boot with mw, md and go (CONFIG_CMD_MEMORY, CONFIG_CMD_GO)",
        seen: help.slice(0, 300),
        next: "Boot a boot loader that has them.",
      });
    }
    const compound = /^hush$/m;
    const answer = await this.#look("if true;then echo hush;fi", deadline, (text) =>
      compound.test(text),
    );
    this.#hush = compound.test(answer);
  }

  /** What `command` printed in all attempts together, until it is `good` or was tried often enough. */
  async #look(
    command: string,
    deadline: Deadline,
    good: (text: string) => boolean,
  ): Promise<string> {
    let text = "";
    for (let turn = 0; turn < TRIES && !good(text); turn += 1) {
      text += `${(await this.#prompt.run(command, deadline)).join("\n")}\n`;
    }
    return text;
  }

  /**
   * The data cache may hold the program where instruction fetches do not look (Arm DDI 0487, B2.7.4).
   * `dcache flush` and `icache flush` where U-Boot has them; else so much other memory is written that
   * every line of the program has been evicted. It has never been fetched since the board's reset, so
   * no stale instruction can stand in the instruction cache.
   */
  async #makeFetchable(deadline: Deadline): Promise<void> {
    const said = await this.#prompt.run("dcache flush;icache flush", deadline);
    // Both say nothing when they worked.
    if (said.every((line) => line.trim() === "")) return;
    const scratch = this.#window.take(EVICTION);
    const fill = `mw.q ${hex(scratch)} 0 ${hex(EVICTION / 8)}`;
    await this.#prompt.run(this.#whole(fill), deadline);
  }

  async #checksum(at: number, length: number, deadline: Deadline): Promise<bigint> {
    const { words } = await this.#go(OPERATION.checksum, [BigInt(at), BigInt(length)], deadline);
    return words[0] ?? 0n;
  }

  async #go(operation: bigint, operands: readonly bigint[], deadline: Deadline): Promise<Answer> {
    this.#sequence += 1n;
    const sequence = this.#sequence;
    const answer = this.#page + CONSOLE_PAGE.answer;
    const count = CONSOLE_PAGE.answerWords;
    const go = `go ${hex(this.#page)} ${goArguments(sequence, operation, operands)}`;
    for (let turn = 0; turn < TRIES; turn += 1) {
      const rows = new WordRows(answer, count);
      const line = this.#whole(`${go};md.q ${hex(answer)} ${hex(count)}`);
      rows.add(await this.#prompt.run(line, deadline, { busyMs: this.#smcMs }));
      const found = readAnswer(await this.#complete(rows, deadline), sequence, operation);
      if (found !== undefined) return found;
    }
    throw unreliable(`the bridge's program gave no answer ${TRIES} times`);
  }

  /** Asks for the rows that are missing until all are there. */
  async #complete(rows: WordRows, deadline: Deadline): Promise<readonly bigint[]> {
    for (let turn = 0; turn < MAX_READS; turn += 1) {
      const { missing } = rows;
      if (missing === undefined) return rows.words;
      const command = `md.q ${hex(missing.at)} ${hex(missing.count)}`;
      rows.add(await this.#prompt.run(this.#whole(command), deadline));
    }
    throw unreliable("memory cannot be read");
  }

  async #upper(deadline: Deadline): Promise<readonly bigint[]> {
    const at = this.#page + CONSOLE_PAGE.upper;
    const size = CONSOLE_PAGE.upperWords * 8;
    const bytes = await this.#readChunk(at, size, deadline);
    const view = new DataView(bytes.buffer, bytes.byteOffset, size);
    return Array.from({ length: 4 }, (_, index) => view.getBigUint64(index * 8, true));
  }

  async #readChunk(at: number, length: number, deadline: Deadline): Promise<Uint8Array> {
    let bytes: Uint8Array = new Uint8Array(0);
    await this.#insist(`reading 0x${at.toString(16)}`, async () => {
      bytes = await this.#readBack(at, length, deadline);
      return BigInt(crc32(bytes)) === (await this.#checksum(at, length, deadline));
    });
    return bytes;
  }

  /** `length` bytes as `md.q` shows them, unchecked. */
  async #readBack(at: number, length: number, deadline: Deadline): Promise<Uint8Array> {
    const first = at - (at % 8);
    const count = Math.ceil((at + length - first) / 8);
    const words = await this.#complete(new WordRows(first, count), deadline);
    const out = Buffer.alloc(count * 8);
    for (const [index, word] of words.entries()) out.writeBigUInt64LE(word, index * 8);
    return out.subarray(at - first, at - first + length);
  }

  /** Types `bytes` as `mw` commands, as many to a line as it takes; unchecked. */
  async #put(at: number, bytes: Uint8Array, deadline: Deadline): Promise<void> {
    const commands = Array.from(writes(at, bytes));
    for (let done = 0; done < commands.length;) {
      let count = 1;
      const line = (): string => this.#whole(commands.slice(done, done + count).join(";"));
      while (done + count < commands.length && line().length < this.#lineLength) count += 1;
      if (count > 1 && line().length > this.#lineLength) count -= 1;
      try {
        await this.#prompt.run(line(), deadline, count > 1 ? { attempts: LONG_LINE_ATTEMPTS } : {});
        done += count;
      } catch (error) {
        // A long line rarely comes through whole where characters are lost.
        if (count === 1 || !(error instanceof LineTooBad)) throw error;
        this.#lineLength = Math.floor(this.#lineLength / 2);
      }
    }
  }

  async #fill(at: number, words: number, deadline: Deadline): Promise<void> {
    await this.#prompt.run(this.#whole(`mw.q ${hex(at)} 0 ${hex(words)}`), deadline);
  }

  /** A line that does nothing until it is there to its end: an Enter out of noise cannot start half of it. */
  #whole(line: string): string {
    return this.#hush ? `if true;then ${line};fi` : line;
  }

  async #insist(what: string, attempt: () => Promise<boolean>): Promise<void> {
    for (let turn = 0; turn < TRIES; turn += 1) if (await attempt()) return;
    throw unreliable(`${what} failed ${TRIES} times`);
  }
}

const hex = (value: number): string => value.toString(16);

const unreliable = (what: string): InfrastructureError =>
  new InfrastructureError(what, {
    expected: "memory that holds what was written",
    next: "Check bridge.free_ram in the board file: nothing else may use that memory.",
  });

/** `mw` commands for bytes at any address; eight at a time where it is aligned. */
function* writes(at: number, bytes: Uint8Array): Generator<string> {
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
