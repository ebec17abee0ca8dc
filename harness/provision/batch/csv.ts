import { type BatchRecord, MAX_RECORD } from "./record.ts";

const BOM = "\u00EF\u00BB\u00BF";
const QUOTE = '"';

/**
 * Reads CSV as RFC 4180 has it, with LF as well as CRLF, in pieces of any size. Bytes are taken for
 * Latin-1 characters one by one, so that what is passed on stays as it was in any encoding that
 * contains ASCII. A record that is not well formed is given as a fault, and reading goes on with the
 * next line; lines with nothing on them are left out.
 */
export class CsvReader {
  #text = "";
  #line = 1;
  #started = false;
  /** In the rest of a line that is given up. */
  #skipping = false;
  /** The next quotation mark of the text, -1 for none. */
  #quote = -1;

  /** Characters of a record that has not ended. */
  get held(): number {
    return this.#text.length;
  }

  /** The records that end in this piece. */
  push(piece: Uint8Array): BatchRecord[] {
    this.#text += Buffer.from(piece.buffer, piece.byteOffset, piece.length).toString("latin1");
    return this.#read(false);
  }

  /** What is left at the end of the file. */
  end(): BatchRecord[] {
    const out = this.#read(true);
    this.#text = "";
    return out;
  }

  #read(last: boolean): BatchRecord[] {
    if (!this.#started) {
      if (!last && this.#text.length < BOM.length) return [];
      if (this.#text.startsWith(BOM)) this.#text = this.#text.slice(BOM.length);
      this.#started = true;
    }
    const out: BatchRecord[] = [];
    let at: number | undefined = 0;
    let used = 0;
    this.#quote = this.#text.indexOf(QUOTE);
    while (at !== undefined && at < this.#text.length) {
      at = this.#skipping ? this.#skip(at) : this.#record(at, last, out);
      used = at ?? used;
    }
    this.#text = this.#text.slice(used);
    return out;
  }

  #skip(at: number): number {
    const newline = this.#text.indexOf("\n", at);
    if (newline === -1) return this.#text.length;
    this.#skipping = false;
    this.#line += 1;
    return newline + 1;
  }

  /** Reads one record at `at`; returns where the next begins, undefined where more text is needed. */
  #record(at: number, last: boolean, out: BatchRecord[]): number | undefined {
    const text = this.#text;
    if (this.#quote !== -1 && this.#quote < at) this.#quote = text.indexOf(QUOTE, at);
    const newline = text.indexOf("\n", at);
    const end = newline === -1 ? text.length : newline;
    if (this.#quote !== -1 && this.#quote < end) return this.#quoted(at, last, out);
    if (end - at > MAX_RECORD) return this.#fault(at, at, out, TOO_LONG);
    if (newline === -1 && !last) return undefined;
    const stop = end > at && text[end - 1] === "\r" ? end - 1 : end;
    if (stop > at) out.push({ line: this.#line, cells: text.slice(at, stop).split(",") });
    this.#line += 1;
    return end + 1;
  }

  #quoted(at: number, last: boolean, out: BatchRecord[]): number | undefined {
    const text = this.#text;
    const found = parseRecord(text, at);
    const open = "fault" in found ? found.fault === UNCLOSED : found.end === text.length;
    if (open && !last && text.length - at <= MAX_RECORD) return undefined;
    if ("fault" in found) return this.#fault(at, found.at, out, found.fault);
    if (found.end - at > MAX_RECORD) return this.#fault(at, at, out, UNCLOSED);
    out.push({ line: this.#line, cells: found.cells });
    this.#line += newlines(text, at, found.next);
    return found.next;
  }

  /** Gives up the record at `at` and goes on behind the line that holds `seen`. */
  #fault(at: number, seen: number, out: BatchRecord[], fault: string): number {
    out.push({ line: this.#line, cells: [], fault });
    this.#line += newlines(this.#text, at, seen);
    this.#skipping = true;
    return this.#skip(seen);
  }
}

function newlines(text: string, from: number, to: number): number {
  let count = 0;
  for (let at = text.indexOf("\n", from); at !== -1 && at < to; at = text.indexOf("\n", at + 1)) {
    count += 1;
  }
  return count;
}

const TOO_LONG = `the row is longer than ${MAX_RECORD} bytes`;
const UNCLOSED = `a quoted value does not end, or not within ${MAX_RECORD} bytes`;
const STRAY = "a quotation mark stands within a value that does not begin with one";
const AFTER = "something stands between the end of a quoted value and the comma";

interface Parsed {
  readonly cells: string[];
  /** Where its last value ends. */
  readonly end: number;
  /** Where the next record begins. */
  readonly next: number;
}

interface Fault {
  readonly fault: string;
  readonly at: number;
}

/** A record in which there are quotation marks. */
function parseRecord(text: string, start: number): Parsed | Fault {
  const cells: string[] = [];
  for (let at = start; ; at += 1) {
    const cell = text[at] === QUOTE ? quotedCell(text, at) : plainCell(text, at);
    if (cell === undefined) return { fault: UNCLOSED, at: start };
    at = cell.end;
    const whole = cell.quoted || text[at] === ",";
    const value = whole ? cell.value : cell.value.replace(/\r$/, "");
    if (!cell.quoted && value.includes(QUOTE)) return { fault: STRAY, at };
    cells.push(value);
    if (text[at] === ",") continue;
    if (text[at] === "\r" && (at + 1 === text.length || text[at + 1] === "\n")) at += 1;
    if (at === text.length) return { cells, end: at, next: at };
    if (text[at] === "\n") return { cells, end: at, next: at + 1 };
    return { fault: AFTER, at };
  }
}

interface Cell {
  readonly value: string;
  readonly end: number;
  readonly quoted: boolean;
}

function quotedCell(text: string, start: number): Cell | undefined {
  let value = "";
  for (let at = start + 1; ; at += 1) {
    const close = text.indexOf(QUOTE, at);
    if (close === -1) return undefined;
    value += text.slice(at, close);
    at = close + 1;
    if (text[at] !== QUOTE) return { value, end: at, quoted: true };
    value += QUOTE;
  }
}

function plainCell(text: string, start: number): Cell {
  let end = start;
  while (end < text.length && text[end] !== "," && text[end] !== "\n") end += 1;
  return { value: text.slice(start, end), end, quoted: false };
}

/** One record with its line end; quoted where it has to be. */
export function csvLine(cells: readonly string[]): string {
  const line = cells.map(csvCell).join(",");
  // A lone empty value would be an empty line, which is no record.
  return `${line === "" ? '""' : line}\n`;
}

const csvCell = (cell: string): string =>
  /[",\r\n]|^\s|\s$/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell;
