import type { KnownSecrets } from "./known-secrets.ts";
import { LineScanner, type Span } from "./line-scanner.ts";

/** Bytes that may go to disk, and what was overwritten in them (`offset` counts from the stream's start). */
export interface Masked {
  readonly bytes: Buffer;
  readonly redactions: readonly {
    readonly offset: number;
    readonly length: number;
    readonly reason: string;
  }[];
}

/** Longest unfinished line that is waited for, and the most of a line that is looked back on. */
const LINE_LIMIT = 1024;
/** Shortest beginning of a secret that is masked when the stream ends or stalls in the middle of it. */
const PREFIX_BYTES = 4;
const ASTERISK = 0x2a;

/**
 * Overwrites secrets in a byte stream at equal length, before anything is kept. Bytes that may be
 * the beginning of a secret are held back until the rest decides, or until `release`.
 */
export class StreamMasker {
  readonly #known: KnownSecrets;
  readonly #scanner: LineScanner;
  /** Already handed out, kept unmasked to recognise what spans the border. */
  #context = Buffer.alloc(0);
  #held = Buffer.alloc(0);
  /** Start of the current line within context + held. */
  #line = 0;
  /** Stream offset of the first held byte. */
  #offset = 0;
  /** Spans of finished lines that are held still. */
  #found: Span[] = [];

  constructor(known: KnownSecrets) {
    this.#known = known;
    this.#scanner = new LineScanner(known);
  }

  /** Bytes taken in but not yet handed out. */
  get held(): number {
    return this.#held.length;
  }

  push(chunk: Uint8Array): Masked {
    return this.#advance(chunk, false);
  }

  /** Hands out what is held: masked where it is the beginning of a secret, else as it is. */
  release(): Masked {
    return this.#advance(Buffer.alloc(0), true);
  }

  #advance(chunk: Uint8Array, release: boolean): Masked {
    const start = this.#context.length;
    const all = Buffer.concat([this.#context, this.#held, chunk]);
    const line = this.#scanLines(all);
    const spans = [...this.#found, ...this.#literalSpans(all)];
    const rest = all.toString("latin1", line);
    for (const span of this.#scanner.peek(rest)) spans.push(shift(span, line));

    let end = all.length - this.#openPrefix(all);
    if (release) {
      if (all.length - end >= PREFIX_BYTES) {
        spans.push({ from: end, to: all.length, reason: "beginning of a known secret" });
      }
      end = all.length;
    } else if (rest.length > 0 && rest.length <= LINE_LIMIT && this.#scanner.mayGrow(rest)) {
      end = Math.min(end, line);
    }
    end = Math.max(end, start);

    const masked = this.#cut(all, start, end, spans);
    const back = Math.min(end - this.#longest(), Math.max(line, end - LINE_LIMIT));
    const from = Math.min(Math.max(0, back), end);
    this.#context = Buffer.from(all.subarray(from, end));
    this.#held = Buffer.from(all.subarray(end));
    this.#line = Math.max(0, line - from);
    this.#found = this.#found.filter((span) => span.to > end).map((span) => shift(span, -from));
    this.#offset += end - start;
    return masked;
  }

  #literalSpans(all: Buffer): Span[] {
    const spans: Span[] = [];
    for (const secret of this.#known.literals) {
      for (let at = all.indexOf(secret); at !== -1; at = all.indexOf(secret, at + 1)) {
        spans.push({ from: at, to: at + secret.length, reason: "known secret" });
      }
    }
    return spans;
  }

  /** Scans the lines that have ended; returns where the unfinished one starts. */
  #scanLines(all: Buffer): number {
    let line = this.#line;
    for (let end = all.indexOf(0x0a, line); end !== -1; end = all.indexOf(0x0a, line)) {
      const text = all.toString("latin1", Math.max(line, end - 64 * LINE_LIMIT), end);
      for (const span of this.#scanner.scan(text)) this.#found.push(shift(span, end - text.length));
      line = end + 1;
    }
    return Math.max(line, all.length - 64 * LINE_LIMIT);
  }

  /** Length of the longest ending of `all` that is a proper beginning of a known secret. */
  #openPrefix(all: Buffer): number {
    let longest = 0;
    for (const secret of this.#known.literals) {
      const first = secret[0] ?? 0;
      const from = Math.max(0, all.length - secret.length + 1);
      for (let at = all.indexOf(first, from); at !== -1; at = all.indexOf(first, at + 1)) {
        const length = all.length - at;
        if (length <= longest) break;
        if (all.compare(secret, 0, length, at) === 0) longest = length;
      }
    }
    return longest;
  }

  #longest(): number {
    return this.#known.literals[0]?.length ?? 0;
  }

  #cut(all: Buffer, start: number, end: number, spans: Span[]): Masked {
    const bytes = Buffer.from(all.subarray(start, end));
    const redactions: { offset: number; length: number; reason: string }[] = [];
    let covered = start;
    for (const span of spans.toSorted((a, b) => a.from - b.from || b.to - a.to)) {
      const [from, to] = [Math.max(span.from, covered), Math.min(span.to, end)];
      if (from >= to) continue;
      bytes.fill(ASTERISK, from - start, to - start);
      covered = to;
      const offset = this.#offset + from - start;
      const last = redactions.at(-1);
      if (last !== undefined && last.reason === span.reason && last.offset + last.length === offset)
        last.length += to - from;
      else redactions.push({ offset, length: to - from, reason: span.reason });
    }
    return { bytes, redactions };
  }
}

function shift(span: Span, by: number): Span {
  return { from: span.from + by, to: span.to + by, reason: span.reason };
}
