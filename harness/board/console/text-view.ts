/** Longest piece of a line that is handed out at once, in bytes of text. */
export const MAX_LINE_BYTES = 16 * 1024;
/** An escape sequence longer than this is noise, not a sequence. */
const MAX_SEQUENCE = 256;

const LF = 0x0a;
const CR = 0x0d;
const BEL = 0x07;
const TAB = 0x09;
const ESC = 0x1b;
const DEL = 0x7f;

type State = "text" | "escape" | "intermediate" | "csi" | "string" | "string-escape";

/**
 * The text view of a raw stream: lines without VT100 sequences and control characters, each with
 * the raw offset of its first byte. Every byte is looked at once, sequences and UTF-8 characters
 * may be split anywhere, and memory stays at one line piece whatever arrives. A line feed ends a
 * line even inside a sequence, so that noise cannot swallow what follows.
 */
export class TextView {
  readonly #onLine: (offset: number, text: string) => void;
  readonly #line = Buffer.allocUnsafe(MAX_LINE_BYTES);
  #length = 0;
  #lineStart = 0;
  #offset = 0;
  #state: State = "text";
  #sequence = 0;

  constructor(onLine: (offset: number, text: string) => void) {
    this.#onLine = onLine;
  }

  /** Raw bytes seen so far. */
  get offset(): number {
    return this.#offset;
  }

  feed(bytes: Uint8Array): void {
    const line = this.#line;
    let length = this.#length;
    let text = this.#state === "text";
    for (let i = 0; i < bytes.length; i += 1) {
      const byte = bytes[i] ?? 0;
      if (text && (byte >= 0x20 ? byte !== DEL : byte === TAB)) {
        line[length] = byte;
        length += 1;
        if (length === MAX_LINE_BYTES) {
          this.#length = length;
          this.#endPiece(this.#offset + i + 1);
          length = this.#length;
        }
      } else if (byte === LF) {
        this.#state = "text";
        text = true;
        this.#length = length;
        this.#endLine(this.#offset + i + 1);
        length = 0;
      } else if (!text) {
        this.#sequenceByte(byte);
        text = this.#state === "text";
      } else if (byte === ESC) {
        this.#restart();
        text = false;
      }
    }
    this.#length = length;
    this.#offset += bytes.length;
  }

  /** The unfinished line, or its last `limit` bytes. */
  partial(limit: number = MAX_LINE_BYTES): string {
    let from = Math.max(0, this.#length - limit);
    // Not in the middle of a UTF-8 character.
    while (from < this.#length && ((this.#line[from] ?? 0) & 0xc0) === 0x80) from += 1;
    return this.#line.toString("utf8", from, this.#length);
  }

  /** Hands out the unfinished line, if there is one: the stream has ended. */
  flush(): void {
    this.#state = "text";
    if (this.#length > 0) this.#endLine(this.#offset);
    else this.#lineStart = this.#offset;
  }

  #sequenceByte(byte: number): void {
    this.#sequence += 1;
    if (this.#sequence > MAX_SEQUENCE) {
      this.#state = "text";
      return;
    }
    switch (this.#state) {
      case "escape":
        if (byte === 0x5b) this.#state = "csi";
        else if (byte === 0x5d || byte === 0x50 || byte === 0x5e || byte === 0x5f)
          this.#state = "string";
        else if (byte >= 0x20 && byte <= 0x2f) this.#state = "intermediate";
        else if (byte !== ESC) this.#state = "text";
        break;
      case "intermediate":
        if (byte >= 0x30) this.#state = "text";
        else if (byte === ESC) this.#restart();
        break;
      case "csi":
        if (byte >= 0x40) this.#state = "text";
        else if (byte === ESC) this.#restart();
        break;
      case "string":
        if (byte === BEL) this.#state = "text";
        else if (byte === ESC) this.#state = "string-escape";
        else if (byte === CR) this.#state = "text";
        break;
      case "string-escape":
        this.#state = byte === 0x5c ? "text" : "string";
        break;
      case "text":
        break;
    }
  }

  #restart(): void {
    this.#state = "escape";
    this.#sequence = 0;
  }

  #endLine(next: number): void {
    const text = this.#line.toString("utf8", 0, this.#length);
    const start = this.#lineStart;
    this.#length = 0;
    this.#lineStart = next;
    this.#onLine(start, text);
  }

  /** The line is longer than a piece: hands out all but a UTF-8 character that is not yet complete. */
  #endPiece(next: number): void {
    const keep = unfinishedUtf8(this.#line, this.#length);
    const text = this.#line.toString("utf8", 0, this.#length - keep);
    const start = this.#lineStart;
    this.#line.copy(this.#line, 0, this.#length - keep, this.#length);
    this.#length = keep;
    this.#lineStart = next - keep;
    this.#onLine(start, text);
  }
}

/** How many bytes at the end of `bytes` begin a UTF-8 character without completing it; 0 to 3. */
function unfinishedUtf8(bytes: Uint8Array, length: number): number {
  for (let back = 1; back <= 3 && back <= length; back += 1) {
    const byte = bytes[length - back] ?? 0;
    if (byte >= 0xc0) {
      const size = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2;
      return back < size ? back : 0;
    }
    if (byte < 0x80) return 0;
  }
  return 0;
}
