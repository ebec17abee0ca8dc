import { Buffer } from "node:buffer";

/** Where a command's output ended and how. */
export interface FrameEnd {
  /** The exit code that the shell printed; undefined if what arrived fails its own check. */
  readonly code: number | undefined;
  /** False if the output's beginning was never recognised: the output is not complete. */
  readonly complete: boolean;
}

/** The trailer holds two numbers; the second proves the first. */
const CHECK_FACTOR = 7919;
const MAX_TRAILER = 64;
const TRAILER = /^ (\d{1,3}) (\d{1,8})\r*$/;
const NOTHING = Buffer.alloc(0);
const LF = 0x0a;
const CR = 0x0d;

/** The names of one frame: two tokens that the echo shows apart and the output joined, and a key. */
export interface FrameTokens {
  readonly first: string;
  readonly second: string;
  /** 0 to 99999: enters the check number, so that an old trailer cannot be taken for a new one. */
  readonly key: number;
}

/**
 * Finds a command's output in the raw bytes of a console: everything behind the line
 * `<first><second>` up to `<second><first> <code> <check>`. The line that was typed holds the
 * tokens apart, so its echo is neither. Every byte is searched once; memory stays at one chunk.
 * The terminal's CR LF is given out as LF.
 */
export class FrameReader {
  readonly #begin: Buffer;
  readonly #end: Buffer;
  readonly #key: number;
  readonly #onOutput: (bytes: Uint8Array) => void;
  #state: "begin" | "begin-line" | "output" | "trailer" | "ended" = "begin";
  #pending: Buffer = NOTHING;
  #complete = false;
  #heldCr = false;

  constructor(tokens: FrameTokens, onOutput: (bytes: Uint8Array) => void) {
    this.#begin = Buffer.from(tokens.first + tokens.second);
    this.#end = Buffer.from(tokens.second + tokens.first);
    this.#key = tokens.key;
    this.#onOutput = onOutput;
  }

  /** True once the shell has begun the command. */
  get begun(): boolean {
    return this.#complete;
  }

  /** Takes the next bytes; returns the end once, with the chunk that completed it. */
  feed(bytes: Uint8Array): FrameEnd | undefined {
    let data: Buffer =
      this.#pending.length === 0
        ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
        : Buffer.concat([this.#pending, bytes]);
    this.#pending = NOTHING;
    if (this.#state === "begin") {
      // Without its beginning, the end still tells the exit code.
      const begin = data.indexOf(this.#begin);
      const end = data.indexOf(this.#end);
      if (end >= 0 && (begin < 0 || end < begin)) {
        this.#state = "trailer";
        data = data.subarray(end + this.#end.length);
      } else if (begin >= 0) {
        this.#state = "begin-line";
        data = data.subarray(begin + this.#begin.length);
      } else {
        this.#hold(data, Math.max(suffix(data, this.#begin), suffix(data, this.#end)));
        return undefined;
      }
    }
    if (this.#state === "begin-line") {
      const lf = data.indexOf(LF);
      if (lf < 0) return undefined;
      this.#state = "output";
      this.#complete = true;
      data = data.subarray(lf + 1);
    }
    if (this.#state === "output") {
      const end = data.indexOf(this.#end);
      if (end < 0) {
        const held = suffix(data, this.#end);
        this.#emit(data.subarray(0, data.length - held));
        this.#hold(data, held);
        return undefined;
      }
      this.#emit(data.subarray(0, end));
      if (this.#heldCr) this.#onOutput(Buffer.of(CR));
      this.#heldCr = false;
      this.#state = "trailer";
      data = data.subarray(end + this.#end.length);
    }
    if (this.#state === "trailer") {
      const lf = data.indexOf(LF);
      if (lf >= 0 || data.length > MAX_TRAILER) {
        this.#state = "ended";
        const text = data.toString("latin1", 0, lf < 0 ? MAX_TRAILER : lf);
        return { code: this.#check(text), complete: this.#complete };
      }
      this.#hold(data, data.length);
    }
    return undefined;
  }

  #check(trailer: string): number | undefined {
    const [, code, check] = TRAILER.exec(trailer) ?? [];
    if (code === undefined || Number(check) !== Number(code) * CHECK_FACTOR + this.#key)
      return undefined;
    return Number(code);
  }

  #hold(data: Buffer, length: number): void {
    if (length === 0) return;
    this.#pending = Buffer.from(data.subarray(data.length - length));
  }

  #emit(data: Buffer): void {
    if (data.length === 0) return;
    const out = Buffer.allocUnsafe(data.length + 1);
    let length = 0;
    let heldCr = this.#heldCr;
    for (let i = 0; i < data.length; i += 1) {
      const byte = data[i] ?? 0;
      if (heldCr && byte !== LF) {
        out[length] = CR;
        length += 1;
      }
      heldCr = byte === CR;
      if (!heldCr) {
        out[length] = byte;
        length += 1;
      }
    }
    this.#heldCr = heldCr;
    if (length > 0) this.#onOutput(out.subarray(0, length));
  }
}

/** Length of the longest end of `data` that is a proper beginning of `token`. */
function suffix(data: Buffer, token: Buffer): number {
  for (let length = Math.min(data.length, token.length - 1); length > 0; length -= 1) {
    if (data.subarray(data.length - length).equals(token.subarray(0, length))) return length;
  }
  return 0;
}
