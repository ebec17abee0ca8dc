import { crc32 } from "node:zlib";
import { Random } from "../../base/index.ts";
import { FakeReceiver } from "./fake-receiver.ts";
import type { LoaderConsole } from "../loader-console.ts";

export interface FakeLoaderOptions {
  readonly seed?: number;
  /** Of a thousand characters in each direction, how many are changed, lost or doubled. */
  readonly noise?: number;
  /** Commands that this boot loader does not have. */
  readonly without?: readonly string[];
  /** No compound commands, as U-Boot's old parser. */
  readonly plain?: boolean;
  /** Every character arrives alone. */
  readonly split?: boolean;
  /** Addresses from the first to before the second hold nothing that is written to them. */
  readonly hole?: readonly [number, number];
  /** Commands that not every boot loader has: `smc`, `loady`, `loadx`. */
  readonly with?: readonly string[];
  /** What `bdinfo` prints; it does not have that command when left out. */
  readonly bdinfo?: readonly string[];
  readonly smc: (x: readonly bigint[]) => readonly bigint[] | "never returns";
}

const PROMPT = "=> ";
const PAGE = 4096;
const KNOWN = ["mw", "md", "go", "help", "echo"];

/**
 * A boot loader's command line over a bad wire, with RAM and the bridge's program at work: what `go`
 * runs does here what boards/bridge/console.s does on the real thing. Only for faults that a real
 * one does not produce on demand.
 */
export class FakeLoader implements LoaderConsole {
  readonly executed: (readonly bigint[])[] = [];
  readonly #pages = new Map<number, Buffer>();
  /** Bytes written so far. */
  written = 0;
  /** `go` to an address where no program is. */
  crashed = false;
  readonly #options: FakeLoaderOptions;
  readonly #random: Random;
  readonly #listeners = new Set<(bytes: Uint8Array) => void>();
  readonly #lost = new Set<(what: string) => void>();
  #line = "";
  #continuing = "";
  #hung = false;
  #receiver: FakeReceiver | undefined;
  /** Bytes of these that came as files. */
  loaded = 0;

  constructor(options: FakeLoaderOptions) {
    this.#options = options;
    this.#random = new Random(options.seed ?? 1);
  }

  async type(bytes: Uint8Array): Promise<void> {
    for (const byte of this.#wire(bytes)) this.#key(byte);
  }

  onBytes(listener: (bytes: Uint8Array) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  onLost(listener: (what: string) => void): () => void {
    this.#lost.add(listener);
    return () => this.#lost.delete(listener);
  }

  lose(what: string): void {
    for (const listener of this.#lost) listener(what);
  }

  #wire(bytes: Uint8Array): number[] {
    const noise = this.#options.noise ?? 0;
    return Array.from(bytes).flatMap((byte) => {
      if (this.#random.below(1000) >= noise) return [byte];
      const kind = this.#random.below(8);
      if (kind === 0) return [];
      return kind === 1 ? [byte, byte] : [this.#random.below(256)];
    });
  }

  #say(text: string): void {
    const bytes = Uint8Array.from(this.#wire(Buffer.from(text, "latin1")));
    if (this.#options.split === true) {
      for (const byte of bytes) this.#deliver(Uint8Array.of(byte));
    } else this.#deliver(bytes);
  }

  #deliver(bytes: Uint8Array): void {
    setImmediate(() => {
      for (const listener of this.#listeners) listener(bytes);
    });
  }

  /** What the secure world writes. */
  poke(at: number, bytes: Uint8Array): void {
    for (const [index, byte] of bytes.entries()) {
      this.#page(at + index)[(at + index) % PAGE] = byte;
    }
  }

  #key(byte: number): void {
    if (this.#hung) return;
    if (this.#receiver !== undefined) {
      this.#receiver.take(byte);
      return;
    }
    const character = String.fromCharCode(byte);
    if (byte === 3) {
      this.#line = "";
      this.#continuing = "";
      this.#say(`<INTERRUPT>\r\n${PROMPT}`);
    } else if (byte === 13 || byte === 10) {
      this.#say("\r\n");
      const whole = `${this.#continuing}${this.#line}`;
      this.#line = "";
      this.#continuing = "";
      this.#command(whole);
    } else {
      this.#line += character;
      this.#say(character);
    }
  }

  #command(line: string): void {
    let body = line;
    if (this.#options.plain !== true && line.startsWith("if ")) {
      const [, inner] = /^if true;then (.*);fi$/.exec(line) ?? [];
      if (inner === undefined) {
        this.#continuing = `${line};`;
        this.#say("> ");
        return;
      }
      body = inner;
    }
    for (const one of body.split(";")) if (!this.#hung) this.#run(one.trim().split(/\s+/));
    if (!this.#hung && this.#receiver === undefined) this.#say(PROMPT);
  }

  #run([name = "", ...args]: readonly string[]): void {
    const [command = "", size] = name.split(".");
    if (name === "") return;
    if (name === "bdinfo" && this.#options.bdinfo !== undefined) {
      this.#say(this.#options.bdinfo.map((line) => `${line}\r\n`).join(""));
      return;
    }
    const known = [...KNOWN, ...(this.#options.with ?? [])];
    if (!known.includes(command) || this.#options.without?.includes(command) === true) {
      this.#say(`Unknown command '${name}' - try 'help'\r\n`);
    } else if (command === "help") {
      for (const one of args) {
        const has = known.includes(one) && this.#options.without?.includes(one) !== true;
        this.#say(has ? `${one} - does that\r\n` : `Unknown command '${one}'\r\n`);
      }
    } else if (command === "echo") this.#say(`${args.join(" ")}\r\n`);
    else if (command === "smc") this.#smc(args.map(parse));
    else if (command === "loady" || command === "loadx")
      this.#load(command, Number(parse(args[0] ?? "")));
    else if (command === "mw") this.#write(size, args);
    else if (command === "md") this.#show(args);
    else this.#go(args);
  }

  #write(size: string | undefined, [at = "", value = "", count = "1"]: readonly string[]): void {
    const width = size === "b" ? 1 : 8;
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt.asUintN(64, parse(value)));
    const total = Math.min(Number(parse(count)), 0x10_0000) * width;
    this.written += total;
    for (let done = 0; done < total;) {
      const address = Number(parse(at)) + done;
      const page = this.#page(address);
      const room = Math.min(PAGE - (address % PAGE), total - done);
      if (width === 1 || address % 8 !== 0) page[address % PAGE] = bytes[done % width] ?? 0;
      else page.fill(bytes, address % PAGE, (address % PAGE) + room);
      done += width === 1 || address % 8 !== 0 ? 1 : room;
    }
  }

  #page(address: number): Buffer {
    const number = Math.floor(address / PAGE);
    const [from = 0, to = 0] = this.#options.hole ?? [];
    if (address >= from && address < to) return Buffer.alloc(PAGE);
    const page = this.#pages.get(number) ?? Buffer.alloc(PAGE);
    this.#pages.set(number, page);
    return page;
  }

  #show([at = "", count = "1"]: readonly string[]): void {
    const words = Math.min(Number(parse(count)), 512);
    for (let index = 0; index < words; index += 2) {
      const bytes = this.bytes(Number(parse(at)) + index * 8, Math.min(2, words - index) * 8);
      const values = Array.from({ length: bytes.length / 8 }, (_, word) =>
        bytes
          .readBigUInt64LE(word * 8)
          .toString(16)
          .padStart(16, "0"),
      );
      const text = bytes.toString("latin1").replaceAll(/[^ -~]/g, ".");
      const address = (Number(parse(at)) + index * 8).toString(16).padStart(8, "0");
      this.#say(`${address}: ${values.join(" ").padEnd(33)}  ${text}\r\n`);
    }
  }

  #smc(x: readonly bigint[]): void {
    this.executed.push(x);
    const made = this.#options.smc(Array.from({ length: 8 }, (_, index) => x[index] ?? 0n));
    if (made === "never returns") this.#hung = true;
    else {
      const signed = made.slice(0, 4).map((word) => BigInt.asIntN(64, word));
      this.#say(`Res:  ${signed.join(" ")}\r\n`);
    }
  }

  #load(command: "loadx" | "loady", at: number): void {
    this.#say(`## Ready for binary (${command}) download to 0x${at.toString(16)} ...\r\n`);
    this.#receiver = new FakeReceiver(command === "loady" ? "ymodem" : "xmodem", {
      say: (bytes) => this.#say(Buffer.from(bytes).toString("latin1")),
      store: (offset, bytes) => {
        for (const [index, byte] of bytes.entries()) {
          this.#page(at + offset + index)[(at + offset + index) % PAGE] = byte;
        }
        this.written += bytes.length;
        this.loaded += bytes.length;
      },
      end: (text) => {
        this.#receiver = undefined;
        this.#say(`${text}\r\n${PROMPT}`);
      },
    });
  }

  bytes(at: number, length: number): Buffer {
    const out = Buffer.alloc(length);
    for (let done = 0; done < length;) {
      const from = (at + done) % PAGE;
      done += this.#page(at + done).copy(out, done, from, Math.min(PAGE, from + length - done));
    }
    return out;
  }

  #go([address = "", ...args]: readonly string[]): void {
    const page = Number(parse(address));
    this.#say(`## Starting application at 0x${address} ...\r\n`);
    if (this.bytes(page, 8).readBigUInt64LE() !== PROGRAM_START) {
      this.crashed = true;
      this.#hung = true;
      return;
    }
    this.#program(page, args.map(parse));
    if (!this.#hung) this.#say("## Application terminated, rc = 0x0\r\n");
  }

  #program(page: number, words: readonly bigint[]): void {
    const [sequence = 0n, operation = 0n, ...operands] = words.slice(0, -1);
    if (words.length < 3 || words.at(-1) !== checkOf(words.slice(0, -1))) return;
    if (this.bytes(page + 0x400, 8).readBigUInt64LE() === sequence) return;
    let answer: readonly bigint[];
    let changed = 0n;
    if (operation === 1n) {
      const x = Array.from({ length: 8 }, (_, index) => operands[index] ?? 0n);
      this.executed.push(x);
      const made = this.#options.smc(x);
      if (made === "never returns") {
        this.#hung = true;
        return;
      }
      answer = made.slice(0, 4);
      const upper = x.slice(4).map((value, index) => made[4 + index] ?? value);
      changed = upper.some((value, index) => value !== x[4 + index]) ? 1n : 0n;
      this.#store(page + 0x438, [...upper, checkOf(upper)]);
    } else answer = this.#memory(operation, operands.map(Number), operands[2] ?? 0n);
    const block = [sequence, operation | (changed << 32n), ...answer];
    this.#store(page + 0x400, [...block, checkOf(block)]);
  }

  #memory(
    operation: bigint,
    [at = 0, length = 0, count = 0, ...more]: readonly number[],
    word: bigint,
  ): readonly bigint[] {
    if (operation === 3n) {
      const sums = Array.from({ length: 8 }, (_, index) =>
        index < count ? BigInt(crc32(this.bytes(at + index * length, length))) : 0n,
      );
      return [0, 2, 4, 6].map((index) => (sums[index] ?? 0n) | ((sums[index + 1] ?? 0n) << 32n));
    }
    if (operation === 4n) {
      this.#write(
        "q",
        [at, word, length / 8].map((value) => value.toString(16)),
      );
      return [0n, 0n, 0n, 0n];
    }
    const pieces = [at, length, count, ...more];
    let sum = 0;
    for (let index = 0; index < pieces.length; index += 2) {
      sum = crc32(this.bytes(pieces[index] ?? 0, pieces[index + 1] ?? 0), sum);
    }
    return [BigInt(sum), 0n, 0n, 0n];
  }

  #store(at: number, words: readonly bigint[]): void {
    for (const [index, word] of words.entries()) {
      this.#write("q", [(at + index * 8).toString(16), word.toString(16)]);
    }
  }
}

const parse = (text: string): bigint => (/^[0-9a-f]+$/i.test(text) ? BigInt(`0x${text}`) : 0n);

function checkOf(words: readonly bigint[]): bigint {
  const bytes = Buffer.alloc(words.length * 8);
  for (const [index, word] of words.entries()) {
    bytes.writeBigUInt64LE(BigInt.asUintN(64, word), index * 8);
  }
  return BigInt(crc32(bytes));
}

/** Stands for the assembled program. */
export const FAKE_PROGRAM: Uint8Array = Buffer.from("fd7bbaa9f35301a9".repeat(20), "hex");
const PROGRAM_START = Buffer.from(FAKE_PROGRAM).readBigUInt64LE();
