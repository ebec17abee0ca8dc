import { randomInt } from "node:crypto";
import { crc32 } from "node:zlib";
import { type Deadline, InfrastructureError } from "../base/index.ts";
import type { Pa, Registers } from "../machine/index.ts";
import {
  type Answer,
  CONSOLE_PAGE,
  goArguments,
  MAX_BLOCKS,
  OPERATION,
  readAnswer,
  WordRows,
} from "./console-page.ts";
import { mustBeFree } from "./loader-memory.ts";
import { LoaderModem } from "./loader-modem.ts";
import type { LoaderPrompt } from "./loader-prompt.ts";
import { LoaderLines, memoryWrites } from "./loader-writes.ts";
import type { RamWindow } from "./ram-window.ts";
import { groupsOf } from "./write-groups.ts";
import type { MemoryWrite, WireMachine } from "./wire-machine.ts";

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
/** Bytes that the slowest machine fills in a millisecond. */
const FILL_PER_MS = 8 * 1024;
const FILL_MS = 2000;
/** Bytes that are written, or read, and then checked together. */
const CHUNK = 1024;
/** Bytes that are sent as a file, at most. */
const FILE = 64 * 1024;
/** Larger than any second-level cache of the family: what is written before it is in RAM after it. */
const EVICTION = 4 * 1024 * 1024;
const TRIES = 8;
const MAX_READS = 200;
const WORD = 8;

/**
 * Memory and SMCs of a machine that stands at its boot loader's prompt, through nothing but `mw`, `md`
 * and `go`. Whatever is read has been checked against a CRC-32 that the machine made itself, and an
 * SMC is carried out once, however often its answer has to be asked for.
 */
export class ConsoleBridge implements WireMachine {
  /** A line of `md` shows 16 bytes in 75 characters, and a checksum costs about 500. */
  readonly granule = 128;
  readonly #prompt: LoaderPrompt;
  readonly #lines: LoaderLines;
  readonly #window: RamWindow;
  readonly #smcMs: number;
  readonly #page: Pa;
  #modem: LoaderModem | undefined;
  #sequence = BigInt(randomInt(1, 2 ** 32));

  private constructor(options: ConsoleBridgeOptions) {
    this.#prompt = options.prompt;
    this.#lines = new LoaderLines(options.prompt, options.lineLimit);
    this.#window = options.window;
    this.#smcMs = options.smcMs ?? SMC_MS;
    this.#page = options.window.take(CONSOLE_PAGE.size);
  }

  /**
   * Puts the program in place and proves that it runs. Throws InfrastructureError when the boot loader
   * lacks `mw`, `md` or `go` or the line is too bad, BoardFileError when the window is not free, TargetCrashError when the board is lost.
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
    const { words, upperChanged } = await this.#go(OPERATION.smc, operands, deadline, {
      busyMs: this.#smcMs,
    });
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
    await this.writeAll([{ at, bytes }], deadline);
  }

  async writeAll(writes: readonly MemoryWrite[], deadline: Deadline): Promise<void> {
    for (const { at, bytes, length = bytes.length } of writes) this.#window.check(at, length);
    for (const group of groupsOf(writes, this.#modem?.works === true ? FILE : CHUNK)) {
      const [first] = group;
      if (first?.length !== undefined)
        await this.#fill(first.at, first.bytes, first.length, deadline);
      else if (!(await this.#sendAndCheck(group, deadline))) {
        for (const part of groupsOf(group, CHUNK)) await this.#putAndCheck(part, deadline);
      }
    }
  }

  async checksums(
    at: Pa,
    size: number,
    count: number,
    deadline: Deadline,
  ): Promise<readonly number[]> {
    this.#window.check(at, size * count);
    const sums: number[] = [];
    for (let done = 0; done < count; done += MAX_BLOCKS) {
      const blocks = Math.min(MAX_BLOCKS, count - done);
      const operands = [BigInt(at + done * size), BigInt(size), BigInt(blocks)];
      const { words } = await this.#go(OPERATION.checksums, operands, deadline);
      const halves = words.flatMap((word) => [
        Number(BigInt.asUintN(32, word)),
        Number(word >> 32n),
      ]);
      sums.push(...halves.slice(0, blocks));
    }
    return sums;
  }

  async #load(program: Uint8Array, deadline: Deadline): Promise<void> {
    if (program.length > CONSOLE_PAGE.codeSize) throw new RangeError("the program is too large");
    await this.#requireCommands(deadline);
    await mustBeFree(this.#prompt, this.#window, deadline);
    const code = new Uint8Array(CONSOLE_PAGE.codeSize);
    code.set(program);
    const clear = `mw.q ${hex(this.#page + CONSOLE_PAGE.answer)} 0 ${hex(CONSOLE_PAGE.answerWords)}`;
    await this.#insist("loading the bridge's program", async () => {
      await this.#lines.run(Array.from(memoryWrites(this.#page, code)), clear, deadline);
      const rows = new WordRows(this.#page, code.length / WORD);
      return Buffer.from(bytesOf(await this.#complete(rows, deadline))).equals(code);
    });
    await this.makeFetchable(deadline);
    const own = await this.#checksum([{ at: this.#page, length: code.length }], deadline);
    if (own !== crc32(code)) throw unreliable("the bridge's program is not what was loaded");
  }

  /** Which commands there are, and whether a line may be a compound one. */
  async #requireCommands(deadline: Deadline): Promise<void> {
    const needed = ["mw", "md", "go"];
    const help = await this.#look("help mw md go loady loadx", deadline, (text) =>
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
    this.#modem = new LoaderModem(this.#prompt, help);
    const compound = /^hush$/m;
    const answer = await this.#look("if true;then echo hush;fi", deadline, (text) =>
      compound.test(text),
    );
    this.#lines.hush = compound.test(answer);
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
   * What was written may be run. The data cache may hold a program where instruction fetches do not look (Arm DDI 0487, B2.7.4).
   * `dcache flush` and `icache flush` where U-Boot has them; else so much other memory is written that
   * every line of the program has been evicted. It has never been fetched since the board's reset, so
   * no stale instruction can stand in the instruction cache.
   */
  async makeFetchable(deadline: Deadline): Promise<void> {
    const said = await this.#prompt.run("dcache flush;icache flush", deadline);
    // Both say nothing when they worked.
    if (said.every((line) => line.trim() === "")) return;
    const { base, size } = this.#window.rest;
    if (size < EVICTION)
      throw new RangeError("the board's free RAM is too small to empty its caches");
    const fill = `mw.q ${hex(base)} 0 ${hex(EVICTION / WORD)}`;
    await this.#lines.run([], fill, deadline, workMs(EVICTION));
  }

  /** The CRC-32 of at most four pieces of memory, one behind the other. */
  async #checksum(pieces: readonly Piece[], deadline: Deadline): Promise<number> {
    const { words } = await this.#go(OPERATION.checksum, operandsOf(pieces), deadline);
    return Number(words[0] ?? 0n);
  }

  /** Has the program do `operation`, once. */
  async #go(
    operation: bigint,
    operands: readonly bigint[],
    deadline: Deadline,
    options: GoOptions = {},
  ): Promise<Answer> {
    this.#sequence += 1n;
    const sequence = this.#sequence;
    const answer = this.#page + CONSOLE_PAGE.answer;
    const count = CONSOLE_PAGE.answerWords;
    const go = `go ${hex(this.#page)} ${goArguments(sequence, operation, operands)}`;
    const last = `${go};md.q ${hex(answer)} ${hex(count)}`;
    for (let turn = 0; turn < TRIES; turn += 1) {
      const rows = new WordRows(answer, count);
      const before = turn === 0 ? (options.first ?? []) : [];
      const printed = await this.#lines.run(before, last, deadline, options.busyMs);
      rows.add(printed);
      options.shown?.add(printed);
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
      rows.add(await this.#lines.run([], command, deadline));
    }
    throw unreliable("memory cannot be read");
  }

  async #upper(deadline: Deadline): Promise<readonly bigint[]> {
    const at = this.#page + CONSOLE_PAGE.upper;
    const size = CONSOLE_PAGE.upperWords * WORD;
    const bytes = await this.#readChunk(at, size, deadline);
    const view = new DataView(bytes.buffer, bytes.byteOffset, size);
    return Array.from({ length: 4 }, (_, index) => view.getBigUint64(index * WORD, true));
  }

  async #readChunk(at: number, length: number, deadline: Deadline): Promise<Uint8Array> {
    const first = at - (at % WORD);
    const count = Math.ceil((at + length - first) / WORD);
    let bytes: Uint8Array = new Uint8Array(0);
    await this.#insist(`reading 0x${at.toString(16)}`, async () => {
      const rows = new WordRows(first, count);
      const show = [`md.q ${hex(first)} ${hex(count)}`];
      const operands = operandsOf([{ at, length }]);
      const { words } = await this.#go(OPERATION.checksum, operands, deadline, {
        first: show,
        shown: rows,
      });
      const all = bytesOf(await this.#complete(rows, deadline));
      bytes = all.subarray(at - first, at - first + length);
      return BigInt(crc32(bytes)) === words[0];
    });
    return bytes;
  }

  /** Types at most four writes as `mw` commands and has the machine's own checksum of them compared. */
  async #putAndCheck(writes: readonly MemoryWrite[], deadline: Deadline): Promise<void> {
    const commands = writes.flatMap(({ at, bytes }) => Array.from(memoryWrites(at, bytes)));
    const check = BigInt(crc32(Buffer.concat(writes.map(({ bytes }) => bytes))));
    const pieces = operandsOf(writes.map(({ at, bytes }) => ({ at, length: bytes.length })));
    await this.#insist(`writing 0x${(writes[0]?.at ?? 0).toString(16)}`, async () => {
      const { words } = await this.#go(OPERATION.checksum, pieces, deadline, { first: commands });
      return words[0] === check;
    });
  }

  /** As a file, where that is faster and works: one write, checked as any. */
  async #sendAndCheck(writes: readonly MemoryWrite[], deadline: Deadline): Promise<boolean> {
    const [write, ...more] = writes;
    const modem = this.#modem;
    if (write === undefined || more.length > 0 || modem?.works !== true) return false;
    const { at, bytes } = write;
    if (!modem.pays(bytes, Array.from(memoryWrites(at, bytes)).join(";").length)) return false;
    if (!(await modem.write(at, bytes, deadline))) return false;
    if ((await this.#checksum([{ at, length: bytes.length }], deadline)) === crc32(bytes))
      return true;
    modem.giveUp();
    return false;
  }

  /** Has the program itself write `bytes` again and again; what it is told, it checks. */
  async #fill(at: number, bytes: Uint8Array, length: number, deadline: Deadline): Promise<void> {
    if (at % WORD !== 0 || length % WORD !== 0 || WORD % bytes.length !== 0) {
      throw new RangeError("only whole words can be repeated");
    }
    const word = Buffer.from(
      Uint8Array.from({ length: WORD }, (_, i) => bytes[i % bytes.length] ?? 0),
    );
    const operands = [BigInt(at), BigInt(length), word.readBigUInt64LE()];
    await this.#go(OPERATION.fill, operands, deadline, { busyMs: workMs(length) });
  }

  async #insist(what: string, attempt: () => Promise<boolean>): Promise<void> {
    for (let turn = 0; turn < TRIES; turn += 1) if (await attempt()) return;
    throw unreliable(`${what} failed ${TRIES} times`);
  }
}

interface GoOptions {
  /** Commands to type before it, which bear repetition. */
  readonly first?: readonly string[];
  /** Takes the rows that they show. */
  readonly shown?: WordRows;
  /** Milliseconds that the program may be silent for; as for any command when left out. */
  readonly busyMs?: number;
}

interface Piece {
  readonly at: number;
  readonly length: number;
}

const workMs = (length: number): number => FILL_MS + length / FILL_PER_MS;

const operandsOf = (pieces: readonly Piece[]): readonly bigint[] =>
  pieces.flatMap(({ at, length }) => [BigInt(at), BigInt(length)]);

function bytesOf(words: readonly bigint[]): Uint8Array {
  const out = Buffer.alloc(words.length * WORD);
  for (const [index, word] of words.entries()) out.writeBigUInt64LE(word, index * WORD);
  return out;
}

const hex = (value: number): string => value.toString(16);

const unreliable = (what: string): InfrastructureError =>
  new InfrastructureError(what, {
    expected: "memory that holds what was written",
    next: "Check bridge.free_ram in the board file: nothing else may use that memory.",
  });
